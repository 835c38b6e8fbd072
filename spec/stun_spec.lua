local core = require "p2pd.core"
local helper = require "spec.helper"
local stun = require "p2pd.stun"

local ID = "0123456789ab"
local CLASSIC_ID = "0123456789abcdef"

local function splice(data, at, piece)
  return data:sub(1, at - 1) .. piece .. data:sub(at + #piece)
end

describe("p2pd.stun", function()
  local function bind()
    return assert(core.udp.bind { ip = "127.0.0.1" })
  end

  local function address_of(socket)
    local ip, port = socket:getsockname()
    return { ip = ip, port = port }
  end

  -- A task that answers each request on `socket` with what `reply(request, ip, port)` returns.
  local function serve(socket, reply)
    return core.task.spawn(function()
      while true do
        local data, ip, port = socket:recvfrom()
        if not data then return end
        local answer = reply(assert(core.stun.decode(data)), ip, port)
        if answer then socket:sendto(answer, ip, port) end
      end
    end)
  end

  local function success(request, ip, port)
    return (core.stun.encode { class = "success", id = request.id, mapped = { ip = ip, port = port } })
  end

  local QUICK = { rto = 0.01, rc = 3, rm = 2 }

  -- Runs query() against one server that answers so.
  local function query_one(reply, options)
    local server <close> = bind()
    local client <close> = bind()
    local _ <close> = serve(server, reply)
    return stun.query(client, { address_of(server) }, options or QUICK)
  end

  describe("query()", function()
    it("gives the address that the server sees", function()
      helper.in_task(function()
        local server <close> = bind()
        local client <close> = bind()
        local _ <close> = serve(server, success)
        local servers = { address_of(server) }
        local answer = assert(stun.query(client, servers))
        assert.same(address_of(client), { ip = answer.ip, port = answer.port })
        assert.equal(servers[1], answer.server)
        assert.is_true(answer.rtt >= 0 and answer.rtt < 30)
      end)
    end)

    it("works over IPv6, however the address is spelt", function()
      helper.in_task(function()
        local server <close> = assert(core.udp.bind { ip = "::1" })
        local client <close> = assert(core.udp.bind { ip = "::1" })
        local _ <close> = serve(server, success)
        local _, port = server:getsockname()
        assert.equal("::1", assert(stun.query(client, { { ip = "0:0::0:1", port = port } })).ip)
      end)
    end)

    it("takes the first good answer of several servers", function()
      helper.in_task(function()
        local silent <close> = bind()
        local good <close> = bind()
        local client <close> = bind()
        local _ <close> = serve(good, success)
        local servers = { address_of(silent), address_of(good) }
        assert.equal(servers[2], assert(stun.query(client, servers)).server)
      end)
    end)

    it("asks again when a request is lost", function()
      helper.in_task(function()
        local count = 0
        local answer = query_one(function(...)
          count = count + 1
          return count == 2 and success(...)
        end)
        assert.is_table(answer)
        assert.equal(2, count)
      end)
    end)

    it("gives up when nobody answers", function()
      helper.in_task(function()
        local answer, message, code = query_one(function() end)
        assert.is_nil(answer)
        assert.matches("timed out", message)
        assert.equal("ETIMEDOUT", code)
      end)
    end)

    it("gives up when its time is over", function()
      helper.in_task(function()
        local _, _, code = query_one(function() end, { timeout = 0.02 })
        assert.equal("ETIMEDOUT", code)
      end)
    end)

    it("notices at once that nobody listens", function()
      helper.in_task(function()
        local gone <close> = bind()
        local client <close> = bind()
        local server = address_of(gone)
        gone:close()
        local _, message, code = stun.query(client, { server })
        assert.equal("ECONNREFUSED", code)
        assert.matches("refused", message)
      end)
    end)

    it("is not held up by a server that refuses", function()
      helper.in_task(function()
        local gone <close> = bind()
        local good <close> = bind()
        local client <close> = bind()
        local _ <close> = serve(good, success)
        local refusing = address_of(gone)
        gone:close()
        assert.is_table(stun.query(client, { refusing, address_of(good) }))
      end)
    end)

    it("tells each server's reason", function()
      helper.in_task(function()
        local answer, message, code = query_one(function(request)
          return (core.stun.encode {
            class = "error", id = request.id, error = { code = 500, reason = "Tired" },
          })
        end)
        assert.is_nil(answer)
        assert.matches("error 500 Tired", message)
        assert.equal("EPROTO", code)
      end)
    end)

    it("skips garbage and other transactions", function()
      helper.in_task(function()
        local server <close> = bind()
        local client <close> = bind()
        local _ <close> = serve(server, function(request, ip, port)
          for _, junk in ipairs { "", "junk", ("\0"):rep(65507) } do server:sendto(junk, ip, port) end
          server:sendto(success({ id = ID }, "192.0.2.1", 1), ip, port)
          return success(request, ip, port)
        end)
        local answer = assert(stun.query(client, { address_of(server) }))
        assert.equal("127.0.0.1", answer.ip)
      end)
    end)

    it("skips an answer from another address", function()
      helper.in_task(function()
        local stranger <close> = bind()
        local _, _, code = query_one(function(request, ip, port)
          stranger:sendto(success(request, ip, port), ip, port)
        end)
        assert.equal("ETIMEDOUT", code)
      end)
    end)

    it("does not take an answer without an address, or with a demand it does not know", function()
      helper.in_task(function()
        local _, message = query_one(function(request)
          return (core.stun.encode { class = "success", id = request.id })
        end)
        assert.matches("without an address", message)
        _, message = query_one(function(request, ip, port)
          local data = success(request, ip, port) .. string.pack(">I2I2", 0x7ff0, 0)
          return splice(data, 3, string.pack(">I2", #data - 20))
        end)
        assert.matches("unknown attribute 0x7ff0", message)
      end)
    end)

    it("says so when the socket is closed or of the other family", function()
      helper.in_task(function()
        local client <close> = bind()
        local _, message, code = stun.query(client, { { ip = "::1", port = 3478 } }, QUICK)
        assert.equal("EAFNOSUPPORT", code)
        assert.matches("::1", message)
        client:close()
        _, _, code = stun.query(client, { { ip = "127.0.0.1", port = 3478 } }, QUICK)
        assert.equal("EBADF", code)
      end)
    end)

    it("raises without servers", function()
      helper.in_task(function()
        local client <close> = bind()
        assert.has_error(function() stun.query(client, {}) end)
        assert.has_error(function() stun.query(client, { "127.0.0.1" }) end)
      end)
    end)
  end)

  describe("query_tcp()", function()
    -- What query_tcp() makes of a server that does `act(stream, request)` and hangs up.
    local function query_tcp(act, options)
      local listener <close> = assert(core.tcp.listen { ip = "127.0.0.1" })
      local _ <close> = core.task.spawn(function()
        local stream <close> = assert(listener:accept())
        act(stream, assert(core.stun.decode(stream:read(20))))
      end)
      local ip, port = listener:getsockname()
      local stream <close> = assert(core.tcp.connect(ip, port))
      return stun.query_tcp(stream, options)
    end

    it("gives the address that the server sees, past other messages", function()
      helper.in_task(function()
        local answer = assert(query_tcp(function(stream, request)
          stream:write(success({ id = ID }, "192.0.2.1", 1))
          stream:write(success(request, "192.0.2.2", 2))
        end))
        assert.same({ "192.0.2.2", 2 }, { answer.ip, answer.port })
      end)
    end)

    for _, case in ipairs {
      { "a server that hangs up", function() end, "ECONNRESET" },
      { "a server that hangs up in the middle", function(s) s:write("\1\1\0\8") end, "ECONNRESET" },
      { "a server that speaks something else", function(s) s:write(("HTTP"):rep(5)) end, "EBADMSG" },
      { "an error response", function(stream, request)
        stream:write((core.stun.encode { class = "error", id = request.id, error = { code = 400 } }))
      end, "EPROTO" },
      { "a server that keeps silent", function(stream) stream:read(1) end, "ETIMEDOUT" },
    } do
      it("fails with " .. case[1], function()
        helper.in_task(function()
          local timeout = case[3] == "ETIMEDOUT" and 0.02 or nil
          local answer, message, code = query_tcp(case[2], { timeout = timeout })
          assert.is_nil(answer)
          assert.is_string(message)
          assert.equal(case[3], code)
        end)
      end)
    end
  end)

  describe("with coturn", function()
    local server, endpoint

    setup(function()
      server = helper.coturn {}
      endpoint = { ip = server.host, port = server.port }
    end)
    teardown(function() helper.close_all() end)

    it("learns its address and the server's other one over UDP", function()
      helper.in_task(function()
        local client <close> = bind()
        local answer = assert(stun.query(client, { endpoint }, { fingerprint = true, software = "p2pd" }))
        assert.same(address_of(client), { ip = answer.ip, port = answer.port })
        assert.same({ ip = server.alt_host, port = server.alt_port }, answer.message.other)
        assert.same(endpoint, answer.message.origin)
        assert.is_true(answer.message.fingerprint)
      end)
    end)

    it("learns its address over TCP", function()
      helper.in_task(function()
        local stream <close> = assert(core.tcp.connect(endpoint.ip, endpoint.port))
        local ip, port = stream:getsockname()
        local answer = assert(stun.query_tcp(stream))
        assert.same({ ip, port }, { answer.ip, answer.port })
      end)
    end)

    it("is answered by the server although another one is dead", function()
      helper.in_task(function()
        local dead <close> = bind()
        local client <close> = bind()
        local answer = assert(stun.query(client, { address_of(dead), endpoint }))
        assert.equal(endpoint, answer.server)
      end)
    end)

    it("does not take the answer that CHANGE-REQUEST sends from elsewhere", function()
      helper.in_task(function()
        local client <close> = bind()
        local _, _, code = stun.query(client, { endpoint },
          { rto = 0.02, rc = 2, rm = 2, change = { ip = true, port = true } })
        assert.equal("ETIMEDOUT", code)
      end)
    end)

    -- What coturn answers to the fields of a request, and from where.
    local function ask(fields)
      local client <close> = bind()
      client:sendto((core.stun.encode(fields)), endpoint.ip, endpoint.port)
      local data, ip, port = assert(client:recvfrom(5))
      return assert(core.stun.decode(data)), { ip = ip, port = port }, address_of(client)
    end

    local changes = { ip = { ip = true }, port = { port = true }, both = { ip = true, port = true } }
    for name, change in pairs(changes) do
      it("is answered from the other address when it asks for that: " .. name, function()
        helper.in_task(function()
          local message, from, own = ask { change = change }
          assert.same(own, message.mapped)
          assert.same({ ip = change.ip and server.alt_host or server.host,
            port = change.port and server.alt_port or server.port }, from)
        end)
      end)
    end

    it("is answered by RFC 3489 when it asks so", function()
      helper.in_task(function()
        local message, _, own = ask { id = CLASSIC_ID }
        assert.same({ true, CLASSIC_ID, "success" }, { message.classic, message.id, message.class })
        assert.same(own, message.mapped)
      end)
    end)

    it("hears of an error response over TCP", function()
      helper.in_task(function()
        local stream <close> = assert(core.tcp.connect(endpoint.ip, endpoint.port))
        assert(stream:write((core.stun.encode { change = { ip = true } })))
        local head = stream:read(20)
        local m = assert(core.stun.decode(head .. stream:read(core.stun.frame_length(head) - 20)))
        assert.same({ "error", 400 }, { m.class, m.error.code })
      end)
    end)
  end)
end)
