local core = require "p2pd.core"
local server = require "spec.turn_server"

local PEER = { ip = "192.0.2.9", port = 7000 }

describe("core.turn", function()
  local function allocated(options)
    local client = server.client(options)
    server.allocate(client)
    return client
  end

  local function kinds(client)
    local list = {}
    for event in function() return (client:event()) end do list[#list + 1] = event.kind end
    return list
  end

  local function waits(client, now)
    local action, due = client:poll(now)
    assert.equal("wait", action)
    return due
  end

  local TCP = { reliable = true, tcp = true }

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
      local client = server.client()
      client:feed(server.challenge(server.take(client, 0)), 0, 0)
      for i = 1, 3 do client:feed(server.challenge(server.take(client, 0), 438, "nonce " .. i), 0, 0) end
      assert.equal("nonce 3", server.take(client, 0).nonce)
    end)

    it("gives up a server that finds every nonce stale", function()
      local client = server.client()
      client:feed(server.challenge(server.take(client, 0)), 0, 0)
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
        local client = server.client()
        client:feed(server.challenge(server.take(client, 0)), 0, 0)
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
      local client = server.client { realm = "other.org" }
      client:feed(server.challenge(server.take(client, 0)), 0, 0)
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
      client = server.client()
      client:feed(server.challenge(server.take(client, 0)), 0, 0)
      client:feed(server.success(server.take(client, 0), { mapped = server.MAPPED }), 0, 0)
      assert.equal("EPROTO", client:event().code)
    end)
  end)

  describe("answers that are not to be believed", function()
    local function asked()
      local client = server.client()
      client:feed(server.challenge(server.take(client, 0)), 0, 0)
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

  describe("peers", function()
    local function permitted(client, now)
      assert.is_true(client:permit(PEER.ip))
      client:feed(server.success(server.take(client, now or 0)), 0, now or 0)
      return client:event()
    end

    it("are permitted, once each", function()
      local client = allocated()
      assert.is_true(client:permit(PEER.ip))
      local request = server.take(client, 0)
      assert.same({ "permit", PEER.ip, true }, { request.name, request.peer.ip, request.integrity })
      client:permit(PEER.ip)
      waits(client, 0)
      client:feed(server.success(request), 0, 0)
      assert.same({ kind = "permitted", ip = PEER.ip, port = 0 }, client:event())
      client:permit(PEER.ip)
      assert.equal("permitted", client:event().kind)
    end)

    it("can be wanted early: on a stream in one flight with the allocation, else right after it", function()
      for _, reliable in ipairs { true, false } do
        local client = server.client { reliable = reliable }
        assert.is_true(client:permit(PEER.ip))
        client:feed(server.challenge(server.take(client, 0)), 0, 0)
        local allocate = server.take(client, 0)
        local permit = reliable and server.take(client, 0)
        waits(client, 0)
        client:feed(server.success(allocate, { relayed = server.RELAYED, lifetime = 600 }), 0, 0)
        permit = permit or server.take(client, 0)
        assert.same({ "permit", PEER.ip, true }, { permit.name, permit.peer.ip, permit.integrity })
        client:feed(server.success(permit), 0, 0)
        waits(client, 0)
        assert.same({ "allocated", "permitted" }, kinds(client))
      end
    end)

    it("wanted early go with an allocation that fails", function()
      local client = server.client { reliable = true }
      client:permit(PEER.ip)
      client:feed(server.challenge(server.take(client, 0)), 0, 0)
      local allocate, permit = server.take(client, 0), server.take(client, 0)
      client:feed(server.refuse(allocate, 486), 0, 0)
      client:feed(server.refuse(permit, 437), 0, 0)
      assert.same({ "failed" }, kinds(client))
    end)

    it("may be refused, and asked for again", function()
      local client = allocated()
      client:permit(PEER.ip)
      client:feed(server.refuse(server.take(client, 0), 403), 0, 0)
      local event = client:event()
      assert.same({ "failed", "permit", PEER.ip, "EPERM" },
        { event.kind, event.request, event.ip, event.code })
      assert.equal("permitted", permitted(client).kind)
    end)

    it("are of the relayed address's family", function()
      local client = allocated()
      assert.same({ nil, "EAFNOSUPPORT" },
        { (function(ok, _, code) return ok, code end)(client:permit "2001:db8::1") })
    end)

    it("are not too many", function()
      local client = allocated()
      for i = 1, 64 do assert.is_true(client:permit("192.0.2." .. i)) end
      assert.equal("ENOBUFS", select(3, client:permit "192.0.2.65"))
    end)

    it("send and get datagrams by indications", function()
      local client = allocated()
      permitted(client)
      local m = core.stun.decode(client:wrap("hello", PEER.ip, PEER.port))
      assert.same({ "indication", 6, PEER, "hello" }, { m.class, m.method, m.peer, m.data })
      assert.same({ "world", PEER.ip, PEER.port },
        { client:feed(server.indicate("data", { peer = PEER, data = "world" })) })
      assert.equal("", (client:feed(server.indicate("data", { peer = PEER, data = "" }))))
    end)

    it("that are not permitted are not heard", function()
      local client = allocated()
      permitted(client)
      assert.is_false(client:feed(server.indicate("data", { peer = server.MAPPED, data = "x" })))
      assert.is_false(client:feed(server.indicate("data", { peer = PEER })))
    end)

    local function bound(options)
      local client = allocated(options)
      client:bind(PEER.ip, PEER.port)
      local request = server.take(client, 0)
      assert.same({ "bind", 0x4000, PEER }, { request.name, request.channel, request.peer })
      client:feed(server.success(request), 0, 0)
      assert.same({ kind = "bound", ip = PEER.ip, port = PEER.port }, client:event())
      return client
    end

    it("send and get datagrams by channels", function()
      local client = bound()
      assert.equal("\x40\0\0\5hello", client:wrap("hello", PEER.ip, PEER.port))
      assert.same({ "abc", PEER.ip, PEER.port }, { client:feed "\x40\0\0\3abc" })
      assert.same({ "abc", PEER.ip, PEER.port }, { client:feed "\x40\0\0\3abc\0" })
      assert.equal("x", (client:feed(server.indicate("data", { peer = PEER, data = "x" }))))
    end)

    it("have channels padded on streams", function()
      assert.equal("\x40\0\0\5hello\0\0\0", bound({ reliable = true }):wrap("hello", PEER.ip, PEER.port))
    end)

    it("have channels whose length has to fit", function()
      local client = bound()
      for _, bytes in ipairs { "\x40", "\x40\0\0", "\x40\0\0\4abc", "\x40\0\0\3abcdefg", "\x40\0\xff\xff" } do
        assert.equal("EBADMSG", select(3, client:feed(bytes)))
      end
      assert.is_false(client:feed "\x41\0\0\3abc")
      assert.is_false(client:feed "\x7f\xff\0\3abc")
    end)

    it("take no datagram that is too long", function()
      assert.equal("EMSGSIZE", select(3, bound():wrap(("x"):rep(65468), PEER.ip, PEER.port)))
    end)
  end)

  describe("frame_length()", function()
    it("tells STUN from ChannelData", function()
      assert.equal(20, core.turn.frame_length "\0\1\0\0")
      assert.equal(28, core.turn.frame_length "\1\1\0\8")
      assert.equal(4, core.turn.frame_length "\x40\0\0\0")
      assert.equal(8, core.turn.frame_length "\x40\0\0\1")
      assert.equal(65540, core.turn.frame_length "\x40\0\xff\xff")
    end)

    it("refuses what is neither", function()
      assert.equal("EBADMSG", select(3, core.turn.frame_length "\x80\0\0\0"))
      assert.equal("EBADMSG", select(3, core.turn.frame_length "\0\1\0\1"))
      assert.equal("EBADMSG", select(3, core.turn.frame_length "\x50\0\0\1"))
      assert.has_error(function() core.turn.frame_length "abc" end)
    end)
  end)

  describe("TCP connections (RFC 6062)", function()
    local ATTEMPT = server.indicate("attempt", { peer = PEER, connection = 77 })

    local function with_peer()
      local client = allocated(TCP)
      client:permit(PEER.ip)
      client:feed(server.success(server.take(client, 0)), 0, 0)
      client:event()
      return client
    end

    it("are announced, and joined on a connection of their own", function()
      local client = with_peer()
      client:feed(ATTEMPT)
      assert.same({ kind = "attempt", ip = PEER.ip, port = PEER.port, connection = 77 }, client:event())
      assert.is_true(client:join(77))
      local request = server.take(client, 0)
      assert.same({ "join", 77, 77, true },
        { request.name, request.on, request.connection, request.integrity })
      client:feed(server.success(request), 77, 0)
      assert.same({ kind = "joined", connection = 77 }, client:event())
    end)

    it("are joined again after a stale nonce, on the same connection", function()
      local client = with_peer()
      client:feed(ATTEMPT)
      client:event()
      client:join(77)
      client:feed(server.challenge(server.take(client, 0), 438, "fresh"), 77, 0)
      local request = server.take(client, 0)
      assert.same({ "join", 77, "fresh" }, { request.name, request.on, request.nonce })
    end)

    it("can fail to be joined", function()
      local client = with_peer()
      client:join(77)
      client:feed(server.refuse(server.take(client, 0), 447), 77, 0)
      local event = client:event()
      assert.same({ "failed", "join", 77, "ECONNREFUSED" },
        { event.kind, event.request, event.connection, event.code })
    end)

    it("are made by the server on demand", function()
      local client = with_peer()
      assert.is_true(client:connect(PEER.ip, PEER.port))
      local request = server.take(client, 0)
      assert.same({ "connect", PEER, 0 }, { request.name, request.peer, request.on })
      client:feed(server.success(request, { connection = 78 }), 0, 0)
      assert.same({ kind = "connected", ip = PEER.ip, port = PEER.port, connection = 78 }, client:event())
    end)

    it("of strangers are not heard of, nor endless ones", function()
      local client = with_peer()
      client:feed(server.indicate("attempt", { peer = server.MAPPED, connection = 1 }))
      assert.is_nil(client:event())
      for i = 1, 1000 do client:feed(server.indicate("attempt", { peer = PEER, connection = i })) end
      assert.equal(128, #kinds(client))
    end)

    it("need a TCP allocation, and that a stream", function()
      local client = allocated()
      assert.equal("ENOTCONN", select(3, client:connect(PEER.ip, PEER.port)))
      assert.equal("ENOTCONN", select(3, client:join(1)))
      assert.has_error(function() core.turn.client { tcp = true } end)
    end)
  end)

  describe("time", function()
    -- What goes out, as { instant, name }, with everything answered, until `stop`.
    local function run(client, stop)
      local log, now = {}, 0
      while now <= stop do
        local action, value = client:poll(now)
        if action == "wait" then
          now = math.max(now, value)
        else
          local m = core.stun.decode(value, server.key())
          local name = ({ binding = "binding", [4] = "refresh", [8] = "permit", [9] = "bind" })[m.method]
          log[#log + 1] = { now, name }
          client:feed(server.success(m, { lifetime = 600, key = m.method ~= "binding" and server.key() }), 0,
            now)
        end
      end
      return log
    end

    local function instants(log, name)
      local list = {}
      for _, entry in ipairs(log) do
        if entry[2] == name then list[#list + 1] = entry[1] end
      end
      return list
    end

    it("renews the allocation a minute before its end", function()
      assert.same({ 540, 1080 }, instants(run(allocated(), 1100), "refresh"))
    end)

    it("renews permissions and channels before 5 minutes have passed", function()
      local client = allocated()
      client:permit(PEER.ip)
      client:bind(PEER.ip, PEER.port)
      local log = run(client, 500)
      assert.same({ 0, 240, 480 }, instants(log, "permit"))
      assert.same({ 0, 240, 480 }, instants(log, "bind"))
      assert.same({ "permitted", "bound" }, kinds(client))
    end)

    it("is never silent for more than 25 s", function()
      local last = 0
      for _, entry in ipairs(run(allocated(), 300)) do
        assert.is_true(entry[1] - last <= 25)
        last = entry[1]
      end
    end)

    it("tells when the server has died", function()
      local client = allocated()
      local now = 0
      while now < math.huge do
        local action, value = client:poll(now)
        if action == "wait" then now = value end
      end
      local event = client:event()
      assert.same({ "lost", "ETIMEDOUT" }, { event.kind, event.code })
      assert.equal("ENOTCONN", select(3, client:permit(PEER.ip)))
      assert.equal("ENOTCONN", select(3, client:wrap("x", PEER.ip, PEER.port)))
    end)

    it("tells when the server has forgotten the allocation", function()
      local client = allocated()
      client:permit(PEER.ip)
      client:feed(server.refuse(server.take(client, 0), 437), 0, 0)
      local event = client:event()
      assert.same({ "lost", 437 }, { event.kind, event.number })
    end)

    it("takes an error in answer to a keep-alive as a sign of life", function()
      local client = allocated()
      local request = server.take(client, 25)
      assert.equal("binding", request.name)
      client:feed(server.refuse(request, 401), 0, 25)
      assert.is_nil(client:event())
      assert.equal(50, waits(client, 25))
    end)

    it("never makes a loop of a lifetime of 0", function()
      local client = server.client()
      server.allocate(client, { lifetime = 0 })
      assert.equal(1, waits(client, 0))
    end)
  end)

  describe("close()", function()
    it("gives the allocation back", function()
      local client = allocated()
      client:permit(PEER.ip)
      client:close()
      local request = server.take(client, 0)
      assert.same({ "refresh", 0, true }, { request.name, request.lifetime, request.integrity })
      client:feed(server.success(request, { lifetime = 0 }), 0, 0)
      assert.same({ "closed" }, kinds(client))
      assert.equal(math.huge, waits(client, 1000))
    end)

    it("follows a stale nonce", function()
      local client = allocated()
      client:close()
      client:feed(server.challenge(server.take(client, 0), 438, "fresh"), 0, 0)
      assert.equal("fresh", server.take(client, 0).nonce)
    end)

    it("asks a dead server a few times, and is over in 1.5 s", function()
      local client = allocated()
      client:close()
      local sent, now = 0, 0
      repeat
        local action, value = client:poll(now)
        if action == "send" then sent = sent + 1 else now = value end
        assert.is_true(now == math.huge or now <= 1.5 + 1e-9)
      until now == math.huge
      assert.equal(3, sent)
      assert.same({ "closed" }, kinds(client))
    end)

    it("gives back what may have been granted unheard", function()
      local client = server.client()
      client:feed(server.challenge(server.take(client, 0)), 0, 0)
      server.take(client, 0)
      client:close()
      assert.equal("refresh", server.take(client, 0).name)
    end)

    it("asks again when the server heard of that before it heard of the allocation", function()
      local client = server.client()
      client:feed(server.challenge(server.take(client, 0)), 0, 0)
      server.take(client, 0)
      client:close()
      client:feed(server.refuse(server.take(client, 0), 437), 0, 0)
      assert.same({}, kinds(client))
      local again = server.take(client, 0.2)
      client:feed(server.success(again, { lifetime = 0 }), 0, 0.2)
      assert.same({ "closed" }, kinds(client))
    end)

    it("takes the second word for it that there is no allocation", function()
      local client = server.client()
      client:feed(server.challenge(server.take(client, 0)), 0, 0)
      server.take(client, 0)
      client:close()
      client:feed(server.refuse(server.take(client, 0), 437), 0, 0)
      client:feed(server.refuse(server.take(client, 0.2), 437), 0, 0.2)
      assert.same({ "closed" }, kinds(client))
    end)

    it("has nothing to give back before that", function()
      local client = server.client()
      server.take(client, 0)
      client:close()
      assert.same({ "closed" }, kinds(client))
      client:close()
      assert.equal(math.huge, waits(client, 0))
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
