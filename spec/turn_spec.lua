local core = require "p2pd.core"
local helper = require "spec.helper"
local task = require "p2pd.task"
local turn = require "p2pd.turn"
local turn_server = require "spec.turn_server"
local in_task = helper.task

local LOCAL = "127.0.0.1"
local WAIT = 10

describe("p2pd.turn", function()
  local server

  setup(function() server = helper.coturn { tls = true } end)
  teardown(helper.close_all)

  local function allocate(transport, relay, options)
    local all = { relay = relay, timeout = WAIT }
    for name, value in pairs(options or {}) do all[name] = value end
    return turn.allocate(server:turn(transport), all)
  end

  local function refusal(change, options)
    local entry = server:turn(change.transport)
    for name, value in pairs(change) do entry[name] = value end
    local allocation, reason, code = turn.allocate(entry, options or { timeout = WAIT })
    assert.is_nil(allocation)
    assert.matches(("relay %s:%d"):format(entry.host, entry.port), reason, 1, true)
    return code, reason
  end

  local function closed(allocation)
    allocation:close()
    return select(2, allocation:wait(WAIT))
  end

  describe("allocate()", function()
    for _, transport in ipairs { "udp", "tcp", "tls" } do
      it("gets an address for datagrams over " .. transport, in_task(function()
        local allocation <close> = assert(allocate(transport))
        assert.same({ LOCAL, LOCAL, 600 }, { allocation.ip, allocation.mapped.ip, allocation.lifetime })
        assert.is_true(allocation.port > 0 and allocation.mapped.port > 0)
        assert.equal("EBADF", closed(allocation))
      end))
    end

    it("takes the server's name", in_task(function()
      local entry = server:turn "tls"
      entry.host = "localhost"
      local allocation <close> = assert(turn.allocate(entry, { relay = "tcp" }))
      assert.equal(LOCAL, allocation.ip)
    end))

    it("tells of a wrong password", in_task(function()
      local code, reason = refusal { pass = "wrong" }
      assert.equal("EACCES", code)
      assert.matches("401 wrong user or password", reason)
    end))

    it("tells of an unknown user", in_task(function()
      assert.equal("EACCES", (refusal { user = "nobody", transport = "tcp" }))
    end))

    it("tells of another realm", in_task(function()
      local code, reason = refusal { realm = "elsewhere.org" }
      assert.equal("EACCES", code)
      assert.matches("another realm", reason)
    end))

    it("takes no server whose certificate is not good", in_task(function()
      local code, reason = refusal { transport = "tls", ca = helper.certificate(helper.scratch()) }
      assert.equal("EACCES", code)
      assert.matches("certificate is not good", reason)
      assert.equal("ENOENT", (refusal { transport = "tls", ca = "/nonexistent" }))
    end))

    it("tells of a port where nobody is", in_task(function()
      for _, transport in ipairs { "udp", "tcp", "tls" } do
        assert.equal("ECONNREFUSED", (refusal { transport = transport, port = helper.free_port() }))
      end
    end))

    it("tells of a name that nobody has", in_task(function()
      local allocation, reason = turn.allocate { host = "nobody.invalid", port = 3478 }
      assert.is_nil(allocation)
      assert.matches("relay nobody.invalid:3478", reason, 1, true)
    end))

    it("asks for no TCP relay over UDP", in_task(function()
      assert.equal("EPROTONOSUPPORT", (refusal({}, { relay = "tcp" })))
    end))

    it("gives up a server that is silent, in time", in_task(function()
      local silent <close> = assert(core.udp.bind { ip = LOCAL })
      local _, port = silent:getsockname()
      assert.equal("ETIMEDOUT", (refusal({ port = port }, { timeout = 0.05 })))
      local listener <close> = assert(core.tcp.listen { ip = LOCAL })
      _, port = listener:getsockname()
      assert.equal("ETIMEDOUT", (refusal({ transport = "tcp", port = port }, { timeout = 0.05 })))
    end))

    it("tells of a quota that is reached", in_task(function()
      local other <close> = helper.coturn { quota = 1 }
      local first <close> = assert(turn.allocate(other:turn "udp"))
      local _, reason, code = turn.allocate(other:turn "udp")
      assert.equal("EDQUOT", code)
      assert.matches("486 allocation quota reached", reason)
      closed(first)
    end))

    -- How many allocations a server has granted and not yet forgotten; nil while it has told of none.
    local function held_by(coturn)
      local log, sessions, count = coturn:log(), {}, 0
      for session in log:gmatch "session (%d+): new, realm" do sessions[session] = true end
      if not next(sessions) then return nil end
      for session in log:gmatch "session (%d+): delete: realm" do sessions[session] = nil end
      for _ in pairs(sessions) do count = count + 1 end
      return count
    end

    it("leaves nothing on the server when it is cancelled, whenever that is", in_task(function()
      local other <close> = helper.coturn { quota = 100 }
      for i = 1, 100 do
        local transport = i % 2 == 0 and "udp" or "tcp"
        local child <close> = task.spawn(function()
          local allocation <close> = assert(turn.allocate(other:turn(transport)))
          allocation:permit(LOCAL)
          allocation:wait()
        end)
        child:join(i % 10 * 0.0003)
      end
      local deadline = core.clock.monotonic() + WAIT
      local left
      repeat
        task.sleep(0.1)
        left = held_by(other)
      until left == 0 or core.clock.monotonic() > deadline
      assert.equal(0, left)
    end))
  end)

  describe("probe()", function()
    it("tells what a server can do, and how fast", in_task(function()
      local result = turn.probe(server:turn "tcp", WAIT)
      for _, relay in ipairs { "udp", "tcp" } do
        assert.same({ true, LOCAL }, { result[relay].ok, result[relay].ip })
        assert.is_true(result[relay].rtt >= 0 and result[relay].seconds >= result[relay].rtt)
      end
    end))

    it("tells what it cannot do, and why", in_task(function()
      local result = turn.probe(server:turn "udp", WAIT)
      assert.same({ true, false, "EPROTONOSUPPORT" }, { result.udp.ok, result.tcp.ok, result.tcp.code })
      local entry = server:turn "udp"
      entry.pass = "wrong"
      assert.same({ false, "EACCES" }, { (function(r) return r.ok, r.code end)(turn.probe(entry, WAIT).udp) })
    end))
  end)

  describe("datagrams", function()
    for _, transport in ipairs { "udp", "tcp", "tls" } do
      it("go both ways, by indications and by channels, over " .. transport, in_task(function()
        local allocation <close> = assert(allocate(transport))
        local peer <close> = assert(core.udp.bind { ip = LOCAL })
        local _, port = peer:getsockname()
        assert(allocation:permit(LOCAL, WAIT))
        for _, data in ipairs { "one", "" } do
          assert(allocation:send(data, LOCAL, port))
          assert.same({ data, LOCAL, allocation.port }, { peer:recvfrom(WAIT) })
        end
        assert(allocation:bind(LOCAL, port, WAIT))
        for _, size in ipairs { 1, 2, 3, 4, 1200 } do
          assert(allocation:send(("x"):rep(size), LOCAL, port))
          assert.equal(size, #peer:recvfrom(WAIT))
          peer:sendto(("y"):rep(size), allocation.ip, allocation.port)
          assert.same({ ("y"):rep(size), LOCAL, port }, { allocation:receive(WAIT) })
        end
        assert.equal("ETIMEDOUT", select(3, allocation:receive(0)))
      end))
    end

    it("come from nobody who is not permitted", in_task(function()
      local allocation <close> = assert(allocate "udp")
      local stranger <close> = assert(core.udp.bind { ip = "127.0.0.3" })
      local peer <close> = assert(core.udp.bind { ip = LOCAL })
      assert(allocation:permit(LOCAL, WAIT))
      stranger:sendto("no", allocation.ip, allocation.port)
      peer:sendto("yes", allocation.ip, allocation.port)
      assert.equal("yes", (allocation:receive(WAIT)))
    end))
  end)

  describe("families", function()
    local function families(allocation)
      local list = {}
      for i, one in ipairs(allocation.relayed) do list[i] = one.ip end
      return list
    end

    local function has_both(coturn, transport, relay)
      local options = { relay = relay, family = "both" }
      local allocation <close> = assert(turn.allocate(coturn:turn(transport), options))
      assert.same({ LOCAL, "::1" }, families(allocation))
      assert.same({ LOCAL, "::1" }, { allocation:serves("ipv4").ip, allocation:serves("ipv6").ip })
      for _, ip in ipairs { LOCAL, "::1" } do assert(allocation:permit(ip, WAIT)) end
    end

    it("are both to be had where the server has both", in_task(function()
      local both <close> = helper.coturn { host6 = "::1" }
      for _, transport in ipairs { "udp", "tcp" } do has_both(both, transport, "udp") end
      has_both(both, "tcp", "tcp")
    end))

    it("carry datagrams each", in_task(function()
      local both <close> = helper.coturn { host6 = "::1" }
      local allocation <close> = assert(turn.allocate(both:turn "udp", { family = "both" }))
      for _, ip in ipairs { LOCAL, "::1" } do
        local peer <close> = assert(core.udp.bind { ip = ip })
        local _, port = peer:getsockname()
        local own = allocation:serves(ip == LOCAL and "ipv4" or "ipv6")
        assert(allocation:bind(ip, port, WAIT))
        assert(allocation:send("to you", ip, port))
        assert.same({ "to you", own.ip, own.port }, { peer:recvfrom(WAIT) })
        peer:sendto("and back", own.ip, own.port)
        assert.same({ "and back", ip, port }, { allocation:receive(WAIT) })
      end
    end))

    it("are one where the server has one", in_task(function()
      local old <close> = assert(turn.allocate(server:turn "udp", { family = "both" }))
      assert.same({ LOCAL }, families(old))
      assert.is_nil(old:serves "ipv6")
      assert.equal("EAFNOSUPPORT", select(3, old:permit("::1", WAIT)))
      assert.equal("EAFNOSUPPORT", (refusal({}, { family = "ipv6" })))
      local new <close> = helper.coturn { host6 = "::1", no_ipv4_relay = true }
      local six <close> = assert(turn.allocate(new:turn "udp", { family = "both" }))
      assert.same({ "::1" }, families(six))
      local _, reason, code = turn.allocate(new:turn "udp", { family = "ipv4" })
      assert.matches("440 address family not supported", reason)
      assert.equal("EAFNOSUPPORT", code)
    end))

    -- Has IPv6 for who asks for that by name, and says 440 to everybody else.
    local function strict(socket, asked)
      for data, ip, port in function() return socket:recvfrom() end do
        local m = assert(core.stun.decode(data))
        asked[#asked + 1] = m.requested_family or 0
        local grant = { relayed = { ip = "::1", port = 50000 }, lifetime = 600, key = false }
        local answer = m.requested_family == 2 and turn_server.success(m, grant) or turn_server.refuse(m, 440)
        socket:sendto(answer, ip, port)
      end
    end

    it("are asked for one after the other when the server says 440", in_task(function()
      local socket <close> = assert(core.udp.bind { ip = LOCAL })
      local asked = {}
      local _ <close> = task.spawn(strict, socket, asked)
      local entry = server:turn "udp"
      entry.port = select(2, socket:getsockname())
      local allocation <close> = assert(turn.allocate(entry, { family = "both", timeout = WAIT }))
      assert.same({ "::1" }, families(allocation))
      assert.same({ 0, 2 }, { asked[1], asked[2] })
      assert.equal("EAFNOSUPPORT", select(3, turn.allocate(entry, { family = "ipv4", timeout = WAIT })))
    end))
  end)

  describe("streams (RFC 6062)", function()
    local function permitted(transport)
      local allocation = assert(allocate(transport, "tcp"))
      local held <close> = task.hold(allocation)
      assert(allocation:permit(LOCAL, WAIT))
      return held:release()
    end

    local function exchange(a, b)
      assert(a:write "to you\n")
      assert.equal("to you", b:read "l")
      assert(b:write "and back\n")
      assert.equal("and back", a:read "l")
    end

    for _, transport in ipairs { "tcp", "tls" } do
      it("come to the relayed address, over " .. transport, in_task(function()
        local allocation <close> = permitted(transport)
        for i = 1, 2 do
          if i == 2 then allocation:prepare(1) end
          local peer <close> = assert(core.tcp.connect(allocation.ip, allocation.port))
          local stream, ip, port = assert(allocation:accept(WAIT))
          local _ <close> = stream
          assert.same({ peer:getsockname() }, { ip, port })
          exchange(peer, stream)
        end
      end))

      it("go out from it, over " .. transport, in_task(function()
        local allocation <close> = permitted(transport)
        local listener <close> = assert(core.tcp.listen { ip = LOCAL })
        local _, port = listener:getsockname()
        local stream <close> = assert(allocation:connect(LOCAL, port, WAIT))
        local peer <close> = assert(listener:accept(WAIT))
        exchange(peer, stream)
      end))
    end

    it("come from nobody who is not permitted", in_task(function()
      local allocation <close> = assert(allocate("tcp", "tcp"))
      local peer <close> = core.tcp.connect(allocation.ip, allocation.port) -- the reset may be faster
      if peer then
        peer:settimeout(WAIT)
        assert.is_nil((peer:read "l"))
      end
      assert.equal("ETIMEDOUT", select(3, allocation:accept(0)))
    end))

    it("cannot be made to where nobody listens", in_task(function()
      local allocation <close> = permitted "tcp"
      assert.equal("ECONNREFUSED", select(3, allocation:connect(LOCAL, helper.free_port(), WAIT)))
    end))

    it("need a server that relays TCP", in_task(function()
      local other <close> = helper.coturn { no_tcp_relay = true }
      local _, reason, code = turn.allocate(other:turn "tcp", { relay = "tcp" })
      assert.matches("relay", reason)
      assert.is_true(code == "EPROTONOSUPPORT" or code == "EPROTO" or code == "EPERM", code)
    end))
  end)

  describe("trouble", function()
    it("with a nonce that expires is nobody's concern", in_task(function()
      local other <close> = helper.coturn { stale_nonce = 1 }
      local allocation <close> = assert(turn.allocate(other:turn "tcp"))
      local deadline = core.clock.monotonic() + WAIT
      local i = 0
      repeat
        i = i + 1
        assert(allocation:permit("127.0.0." .. i % 60 + 1, WAIT))
        task.sleep(0.05)
      until other:log():find "error 438" or core.clock.monotonic() > deadline
      assert.matches("error 438", other:log())
      assert(allocation:permit("127.0.0.61", WAIT))
      allocation:close()
      allocation:wait(WAIT)
    end))

    it("a server that goes away ends the allocation over TCP", in_task(function()
      local other = helper.coturn {}
      local allocation <close> = assert(turn.allocate(other:turn "tcp", { relay = "tcp" }))
      other:stop()
      local reason, code = allocation:wait(WAIT)
      assert.matches("relay 127.0.0.1:%d+ %(tcp%):", reason)
      assert.equal("ECONNRESET", code)
      assert.equal("ECONNRESET", select(3, allocation:permit(LOCAL)))
      assert.equal("ECONNRESET", select(3, allocation:accept()))
    end))

    it("a server that goes away ends the allocation over UDP", in_task(function()
      local other = helper.coturn {}
      local allocation <close> = assert(turn.allocate(other:turn "udp"))
      other:stop()
      assert.equal("ECONNREFUSED", select(3, allocation:permit(LOCAL, WAIT)))
      assert.equal("ECONNREFUSED", select(3, allocation:send("x", LOCAL, 9)))
      assert.equal("ECONNREFUSED", select(3, allocation:receive()))
    end))

    -- A server made of a function over UDP: it answers each request with what answer(request) returns.
    local function fake(answer)
      local socket = assert(core.udp.bind { ip = LOCAL })
      local _, port = socket:getsockname()
      local child = task.spawn(function()
        while true do
          local bytes, ip, from = socket:recvfrom()
          if not bytes then return end
          for _, reply in ipairs { answer(assert(core.stun.decode(bytes))) } do
            socket:sendto(reply, ip, from)
          end
        end
      end)
      return { host = LOCAL, port = port, user = turn_server.USER, pass = turn_server.PASS },
        task.hold(child, socket)
    end

    local GRANT = { relayed = turn_server.RELAYED, mapped = turn_server.MAPPED, lifetime = 600 }
    local function grant(request)
      if not request.username then return turn_server.challenge(request) end
      return turn_server.success(request, GRANT)
    end

    it("garbage between the answers is skipped", in_task(function()
      local entry, held = fake(function(request) return "garbage", "", ("\xff"):rep(1000), grant(request) end)
      local _ <close> = held
      local allocation <close> = assert(turn.allocate(entry))
      assert.equal(turn_server.RELAYED.ip, allocation.ip)
    end))

    it("forged answers are skipped", in_task(function()
      local entry, held = fake(function(request)
        if not request.username then return turn_server.challenge(request) end
        local forged = { relayed = turn_server.MAPPED, lifetime = 600, key = turn_server.key "guess" }
        return turn_server.success(request, forged), grant(request)
      end)
      local _ <close> = held
      local allocation <close> = assert(turn.allocate(entry))
      assert.equal(turn_server.RELAYED.ip, allocation.ip)
    end))

    it("an allocation mismatch is answered by another port, once", in_task(function()
      local refused = 0
      local entry, held = fake(function(request)
        if not request.username then return turn_server.challenge(request) end
        refused = refused + 1
        if refused == 1 then return turn_server.refuse(request, 437) end
        return grant(request)
      end)
      local _ <close> = held
      local allocation <close> = assert(turn.allocate(entry))
      assert.same({ 2, turn_server.RELAYED.ip }, { refused, allocation.ip })
    end))

    it("alternate servers are followed, but not in circles", in_task(function()
      local there, there_held = fake(grant)
      local function send_away(request)
        return turn_server.refuse(request, 300, { alternate_server = { ip = LOCAL, port = there.port } })
      end
      local here, here_held = fake(send_away)
      local _ <close> = there_held
      local _ <close> = here_held
      local allocation <close> = assert(turn.allocate(here))
      assert.equal(there.port, allocation.server.port)
      local circle, circle_held = fake(function(request)
        return turn_server.refuse(request, 300,
          { alternate_server = { ip = LOCAL, port = request.port or there.port } })
      end)
      local _ <close> = circle_held
      there.port = circle.port
      assert.equal("ELOOP", select(3, turn.allocate(circle)))
    end))

    it("a server that binds no channels carries datagrams by indications", in_task(function()
      local SEND, BIND = 6, 9
      local entry, held = fake(function(request)
        if request.method == BIND then return turn_server.refuse(request, 400) end
        if request.method ~= SEND then return grant(request) end
        return turn_server.indicate("data", { peer = request.peer, data = request.data .. " back" })
      end)
      local _ <close> = held
      local allocation <close> = assert(turn.allocate(entry))
      local way <close> = assert(allocation:carrier("192.0.2.9", 1234, WAIT))
      assert(way:send "there and")
      assert.equal("there and back", (way:receive(WAIT)))
    end))

    it("garbage on a stream ends the allocation", in_task(function()
      local listener <close> = assert(core.tcp.listen { ip = LOCAL })
      local _, port = listener:getsockname()
      local _ <close> = task.spawn(function()
        local stream <close> = assert(listener:accept())
        stream:write "SSH-2.0-server\r\n"
        stream:read "a"
      end)
      local _, reason, code = turn.allocate { host = LOCAL, port = port, transport = "tcp" }
      assert.equal("EBADMSG", code)
      assert.matches("not TURN", reason)
    end))
  end)
end)
