local core = require "p2pd.core"
local server = require "spec.turn_server"

local kinds, waits = server.kinds, server.waits
local PEER = { ip = "192.0.2.9", port = 7000 }
local TCP = { reliable = true, tcp = true }

describe("core.turn", function()
  describe("allocation", function()
    it("asks without credentials, and with them when it is challenged", function()
      local client = server.client { lifetime = 900, family = "ipv6" }
      local first = server.take(client, 0)
      assert.same({ "allocate", 17, 900, 2 },
        { first.name, first.requested_transport, first.lifetime, first.requested_family })
      assert.is_nil(first.username)
      client:feed(server.challenge(first), 0, 0.1)
      local second = server.take(client, 0.1)
      assert.same({ server.USER, server.REALM, server.NONCE, true },
        { second.username, second.realm, second.nonce, second.integrity })
      assert.not_equal(first.id, second.id)
    end)

    it("asks for both families, by the standard's number and the draft's", function()
      local m = server.take(server.client { family = "both" }, 0)
      assert.same({ 2, false }, { m.additional_family, m.requested_family or false })
      assert.matches("\x80\x00\0\4\2\0\0\0", m.bytes, 1, true)
      assert.matches("\x80\x32\0\4\2\0\0\0", m.bytes, 1, true)
      assert.is_nil(server.take(server.client { family = "ipv4" }, 0).additional_family)
    end)

    it("takes no address without a port for a relayed one", function()
      local client = server.challenged { family = "both" }
      client:feed(server.success(server.take(client, 0), { relayed = { ip = "0.0.0.0", port = 0 } }), 0, 0)
      assert.same({ "failed", "EPROTO" }, (function(e) return { e.kind, e.code } end)(client:event()))
    end)

    it("gives the relayed and the mapped address, the lifetime and the round trip", function()
      local client = server.client()
      client:feed(server.challenge(server.take(client, 0)), 0, 0.1)
      client:feed(server.success(server.take(client, 0.2),
        { relayed = server.RELAYED, mapped = server.MAPPED, lifetime = 500 }), 0, 0.25)
      local event = client:event()
      assert.near(0.05, event.rtt, 1e-9)
      event.rtt = nil
      assert.same({ kind = "allocated", ip = server.RELAYED.ip, port = server.RELAYED.port, lifetime = 500,
        mapped_ip = server.MAPPED.ip, mapped_port = server.MAPPED.port }, event)
    end)

    it("needs no credentials where none are asked for", function()
      local client = server.client()
      client:feed(server.success(server.take(client, 0),
        { relayed = server.RELAYED, lifetime = 600, key = false }), 0, 0)
      assert.equal("allocated", client:event().kind)
    end)

    it("asks for TCP (RFC 6062)", function()
      assert.equal(6, server.take(server.client(TCP), 0).requested_transport)
    end)

    it("takes SHA-256 where the server offers it (RFC 8489)", function()
      local client = server.client()
      client:feed(server.refuse(server.take(client, 0), 401, { realm = server.REALM, nonce = "obMatJos2AAAA",
        password_algorithms = { 1, 2 } }), 0, 0)
      local action, bytes = client:poll(0)
      local m = core.stun.decode(bytes, server.key(nil, "sha256"))
      assert.same({ "send", true, 2, { 1, 2 } },
        { action, m.integrity, m.password_algorithm, m.password_algorithms })
    end)

    it("is sent again over UDP until the timer ends, and then has failed", function()
      local client = server.client()
      local sent, now = 0, 0
      repeat
        local action, value = client:poll(now)
        if action == "send" then sent = sent + 1 else now = value end
      until now == math.huge
      local event = client:event()
      assert.same({ 7, "failed", "allocate", "ETIMEDOUT" }, { sent, event.kind, event.request, event.code })
    end)

    it("is sent once over a stream", function()
      local client = server.client { reliable = true, ti = 5 }
      server.take(client, 0)
      assert.equal(5, waits(client, 0))
      waits(client, 5)
      assert.equal("ETIMEDOUT", client:event().code)
    end)

    it("follows a stale nonce, a few times", function()
      local client = server.challenged()
      for i = 1, 3 do client:feed(server.challenge(server.take(client, 0), 438, "nonce " .. i), 0, 0) end
      assert.equal("nonce 3", server.take(client, 0).nonce)
    end)

    it("gives up a server that finds every nonce stale", function()
      local client = server.challenged()
      for i = 1, 4 do client:feed(server.challenge(server.take(client, 0), 438, "nonce " .. i), 0, 0) end
      assert.same({ "failed", 438 }, { (function(e) return e.kind, e.number end)(client:event()) })
      assert.equal(math.huge, waits(client, 0))
    end)

    local refusals = {
      { 401, "EACCES", "wrong user or password" },
      { 403, "EPERM", "forbidden" },
      { 437, "EBADFD", "allocation mismatch" },
      { 440, "EAFNOSUPPORT", "address family not supported" },
      { 442, "EPROTONOSUPPORT", "transport not supported" },
      { 486, "EDQUOT", "allocation quota reached" },
      { 508, "ENOSPC", "insufficient capacity" },
      { 599, "EPROTO", "unknown" },
    }
    for _, case in ipairs(refusals) do
      it("is refused by " .. case[1] .. " in words", function()
        local client = server.challenged()
        client:feed(server.refuse(server.take(client, 0), case[1]), 0, 0)
        local event = client:event()
        assert.same({ "failed", "allocate", case[1], case[2] },
          { event.kind, event.request, event.number, event.code })
        assert.matches(case[3], event.reason)
      end)
    end

    it("shows nobody's control characters", function()
      local client = server.client()
      client:feed(server.refuse(server.take(client, 0), 500, { error = { code = 500, reason = "a\27[2J" } }),
        0, 0)
      assert.equal('500 server error ("a")', client:event().reason)
    end)

    it("proves its password to no realm but the given one", function()
      local client = server.challenged { realm = "other.org" }
      local event = client:event()
      assert.same({ "failed", "EACCES" }, { event.kind, event.code })
      assert.matches('another realm than "other.org"', event.reason)
    end)

    it("is sent to an alternate server", function()
      local client = server.client()
      client:feed(server.refuse(server.take(client, 0), 300, { alternate_server = PEER }), 0, 0)
      local event = client:event()
      assert.same({ kind = "redirected", ip = PEER.ip, port = PEER.port }, event)
      assert.equal(math.huge, waits(client, 0))
    end)

    it("fails when no alternate server is named, or no relayed address", function()
      local client = server.client()
      client:feed(server.refuse(server.take(client, 0), 300), 0, 0)
      assert.equal("failed", client:event().kind)
      client = server.challenged()
      client:feed(server.success(server.take(client, 0), { mapped = server.MAPPED }), 0, 0)
      assert.equal("EPROTO", client:event().code)
    end)
  end)

  describe("answers that are not to be believed", function()
    local function asked()
      local client = server.challenged()
      return client, server.take(client, 0)
    end

    local GRANT = { relayed = server.RELAYED, mapped = server.MAPPED, lifetime = 600 }
    local function grant(extra)
      local fields = {}
      for _, part in ipairs { GRANT, extra } do
        for name, value in pairs(part) do fields[name] = value end
      end
      return fields
    end

    it("has a forged MESSAGE-INTEGRITY", function()
      local client, request = asked()
      assert.is_false(client:feed(server.success(request, grant { key = server.key "guess" }), 0, 0))
      assert.is_nil(client:event())
      client:feed(server.success(request, GRANT), 0, 0)
      assert.equal("allocated", client:event().kind)
    end)

    it("has no MESSAGE-INTEGRITY", function()
      local client, request = asked()
      assert.is_false(client:feed(server.success(request, grant { key = false }), 0, 0))
      assert.is_nil(client:event())
    end)

    it("is for another transaction, or another method", function()
      local client, request = asked()
      assert.is_false(client:feed(server.success({ method = 3, id = ("x"):rep(12) }, GRANT), 0, 0))
      assert.is_false(client:feed(server.success({ method = 4, id = request.id }, GRANT), 0, 0))
      assert.is_nil(client:event())
    end)

    it("came on a data connection", function()
      local client, request = asked()
      assert.is_false(client:feed(server.success(request, GRANT), 77, 0))
      assert.is_nil(client:event())
    end)

    it("comes twice", function()
      local client, request = asked()
      client:feed(server.success(request, GRANT), 0, 0)
      client:feed(server.success(request, GRANT), 0, 0)
      assert.same({ "allocated" }, kinds(client))
    end)

    it("is garbage", function()
      local client = asked()
      for _, bytes in ipairs { "", "x", ("\xff"):rep(40), ("\0"):rep(19), ("\0"):rep(20) } do
        assert.same({ nil, "EBADMSG" }, { (function(d, _, code) return d, code end)(client:feed(bytes)) })
      end
    end)
  end)

  it("refuses options that make no sense", function()
    assert.has_error(function() core.turn.client { rto = -1 } end)
    assert.has_error(function() core.turn.client { user = ("x"):rep(800) } end)
    assert.has_error(function() core.turn.client { user = ("x"):rep(600) } end)
    assert.has_error(function() core.turn.client { family = "ipx" } end)
    assert.has_error(function() core.turn.client { lifetime = -1 } end)
  end)
end)
