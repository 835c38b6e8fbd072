local core = require "p2pd.core"
local helper = require "spec.helper"

local function bind(options)
  return assert(core.udp.bind(options or { ip = "127.0.0.1" }))
end

-- Where nobody listens.
local function closed_place()
  local socket <close> = bind()
  return socket:getsockname()
end

describe("core.udp", function()
  describe("bind()", function()
    it("takes a free port and tells which", function()
      local socket <close> = bind()
      local ip, port = socket:getsockname()
      assert.equal("127.0.0.1", ip)
      assert.is_true(port > 0)
      assert.matches("127%.0%.0%.1:" .. port, tostring(socket))
    end)

    it("refuses a port in use, unless both reuse it", function()
      local first <close> = bind()
      local _, port = first:getsockname()
      local second, message, code = core.udp.bind { ip = "127.0.0.1", port = port }
      assert.is_nil(second)
      assert.matches("127%.0%.0%.1:" .. port, message)
      assert.equal("EADDRINUSE", code)
    end)

    it("shares a port that both reuse", function()
      local first <close> = bind { ip = "127.0.0.1", reuse = true }
      local _, port = first:getsockname()
      local second <close> = bind { ip = "127.0.0.1", port = port, reuse = true }
      assert.equal(port, select(2, second:getsockname()))
    end)

    it("binds to an interface", function()
      local socket <close> = bind { ip = "127.0.0.1", interface = "lo" }
      assert.equal("127.0.0.1", (socket:getsockname()))
    end)

    it("refuses an interface that is not there", function()
      local socket, _, code = core.udp.bind { ip = "127.0.0.1", interface = "nothere0" }
      assert.is_nil(socket)
      assert.equal("ENODEV", code)
    end)

    it("refuses an address that is not ours", function()
      assert.equal("EADDRNOTAVAIL", select(3, core.udp.bind { ip = "192.0.2.1" }))
    end)

    it("raises for what is no address, no port or no table", function()
      assert.error_matches(function() core.udp.bind { ip = "300.1.1.1" } end, "'300%.1%.1%.1'")
      assert.error_matches(function() core.udp.bind { ip = "127.0.0.1", port = 65536 } end, "'port'")
      assert.has_error(function() core.udp.bind() end)
    end)
  end)

  describe("sendto() and recvfrom()", function()
    -- Sends `data` from one socket to another; what arrives.
    local function carry(data, ip)
      local a <close> = bind { ip = ip }
      local b <close> = bind { ip = ip }
      assert(a:sendto(data, b:getsockname()))
      local got, from, port = b:recvfrom(5)
      assert.same({ a:getsockname() }, { from, port })
      return got
    end

    it("carry datagrams, with who sent them", function()
      helper.in_task(function()
        assert.equal("hello", carry("hello", "127.0.0.1"))
        assert.equal("hello", carry("hello", "::1"))
      end)
    end)

    it("carry an empty datagram and the largest one", function()
      helper.in_task(function()
        assert.equal("", carry("", "127.0.0.1"))
        local largest = ("\0x"):rep(65506 // 2) .. "z"
        assert.equal(largest, carry(largest, "127.0.0.1"))
      end)
    end)

    it("wait until something comes, each waiting task one datagram", function()
      helper.in_task(function()
        local a <close> = bind()
        local b <close> = bind()
        local first = core.task.spawn(function() return (b:recvfrom()) end)
        local second = core.task.spawn(function() return (b:recvfrom()) end)
        core.task.sleep(0)
        for _, data in ipairs { "one", "two" } do a:sendto(data, b:getsockname()) end
        local got = { first:join(), (second:join()) }
        table.sort(got)
        assert.same({ "one", "two" }, got)
      end)
    end)

    it("tell when the time is over", function()
      helper.in_task(function()
        local socket <close> = bind()
        assert.equal("ETIMEDOUT", select(3, socket:recvfrom(0)))
        assert.equal("ETIMEDOUT", select(3, socket:recvfrom(0.01)))
      end)
    end)

    it("report a port where nobody listens, and go on", function()
      helper.in_task(function()
        local a <close> = bind()
        local b <close> = bind()
        local ip, port = closed_place()
        assert(a:sendto("x", ip, port))
        local data, _, code, about_ip, about_port = a:recvfrom(5)
        assert.same({ nil, "ECONNREFUSED", ip, port }, { data, code, about_ip, about_port })
        assert(a:sendto("y", b:getsockname()))
        assert.equal("y", (b:recvfrom(5)))
      end)
    end)

    it("do not blame the next datagram for the last one's error", function()
      helper.in_task(function()
        local a <close> = bind()
        local b <close> = bind()
        local ip, port = closed_place()
        assert(a:sendto("x", ip, port))
        assert(a:sendto("y", b:getsockname()))
        assert.equal("y", (b:recvfrom(5)))
        assert.equal("ECONNREFUSED", select(3, a:recvfrom(5)))
        assert.equal("ETIMEDOUT", select(3, a:recvfrom(0)))
      end)
    end)

    it("refuse what does not fit, and the other family", function()
      local socket <close> = bind()
      assert.equal("EMSGSIZE", select(3, socket:sendto(("x"):rep(65508), "127.0.0.1", 9)))
      assert.equal("EAFNOSUPPORT", select(3, socket:sendto("x", "::1", 9)))
    end)

    it("raise for what is no address, no port or a negative time", function()
      helper.in_task(function()
        local socket <close> = bind()
        assert.has_error(function() socket:sendto("x", "nobody", 9) end)
        assert.has_error(function() socket:sendto("x", "127.0.0.1", 0) end)
        assert.has_error(function() socket:sendto("x", "127.0.0.1", 65536) end)
        assert.has_error(function() socket:sendto(nil, "127.0.0.1", 9) end)
        assert.has_error(function() socket:recvfrom(-1) end)
      end)
    end)

    it("raise outside a task", function()
      local socket <close> = bind()
      assert.has_error(function() socket:recvfrom(0) end)
    end)
  end)

  describe("close()", function()
    it("can be called twice; everything else then fails", function()
      helper.in_task(function()
        local socket <close> = bind()
        socket:close()
        socket:close()
        assert.matches("closed", tostring(socket))
        assert.equal("EBADF", select(3, socket:getsockname()))
        assert.equal("EBADF", select(3, socket:sendto("x", "127.0.0.1", 9)))
        assert.equal("EBADF", select(3, socket:recvfrom(0)))
      end)
    end)

    it("wakes who waits", function()
      helper.in_task(function()
        local socket <close> = bind()
        local waiter = core.task.spawn(function() return select(3, socket:recvfrom()) end)
        core.task.sleep(0)
        socket:close()
        assert.equal("EBADF", (waiter:join()))
      end)
    end)

    it("happens to a socket that a cancelled task held", function()
      helper.in_task(function()
        local held
        local waiter = core.task.spawn(function()
          local socket <close> = bind()
          held = socket
          socket:recvfrom()
        end)
        core.task.sleep(0)
        waiter:cancel()
        assert.matches("closed", tostring(held))
      end)
    end)
  end)
end)
