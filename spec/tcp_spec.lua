local core = require "p2pd.core"
local child = require "spec.child"
local helper = require "spec.helper"
local task = require "p2pd.task"
local in_task = helper.task
local connect, listen = core.tcp.connect, core.tcp.listen

local LOOPBACK = "127.0.0.1"

local function listener_on(options)
  options = options or {}
  options.ip = options.ip or LOOPBACK
  local listener = assert(listen(options))
  return listener, select(2, listener:getsockname())
end

-- A listener that answers no further SYN: its queue holds one connection, and has it.
local function full_listener()
  local listener, port = listener_on { backlog = 0 }
  return task.hold(listener, assert(connect(LOOPBACK, port, nil, 5))), port
end

describe("p2pd.core.tcp", function()
  describe("connect()", function()
    it("gives a stream to the listener", in_task(function()
      local listener <close>, port = listener_on()
      local near <close> = connect(LOOPBACK, port)
      local far <close>, ip, from = listener:accept()
      assert.same({ ip, from }, { near:getsockname() })
      assert.same({ LOOPBACK, port }, { near:getpeername() })
      near:write "hello\n"
      assert.equal("hello", far:read "l")
    end))

    it("is refused where nobody listens", in_task(function()
      local port = helper.free_port()
      local stream, message, code = connect(LOOPBACK, port)
      assert.is_nil(stream)
      assert.equal(("connect to 127.0.0.1 port %d: Connection refused"):format(port), message)
      assert.equal("ECONNREFUSED", code)
    end))

    it("gives up after the timeout", in_task(function()
      local _ <close>, port = full_listener()
      assert.equal("ETIMEDOUT", select(3, connect(LOOPBACK, port, nil, 0.05)))
    end))

    it("leaves nothing behind when it is cancelled", in_task(function()
      local _ <close>, port = full_listener()
      local t = task.spawn(connect, LOOPBACK, port)
      task.sleep(0.01)
      assert.is_true(t:cancel())
    end))

    it("leaves from the address and port it is told", in_task(function()
      local listener <close>, port = listener_on()
      local from = helper.free_port()
      local near <close> = assert(connect(LOOPBACK, port, { ip = "127.0.0.3", port = from }))
      assert.same({ "127.0.0.3", from }, { near:getsockname() })
      local far <close>, ip, peer_port = listener:accept()
      assert.same({ "127.0.0.3", from, "127.0.0.3" }, { ip, peer_port, (far:getpeername()) })
    end))

    it("leaves from the interface it is told", in_task(function()
      local _ <close>, port = listener_on()
      local _ <close> = assert(connect(LOOPBACK, port, { interface = "lo" }))
      assert.equal("ENODEV", select(3, connect(LOOPBACK, port, { interface = "nosuch0" })))
      assert.equal("ENODEV", select(3, connect(LOOPBACK, port, { interface = ("lo"):rep(50) })))
    end))

    it("says that a port is in use", in_task(function()
      local _ <close>, port = listener_on()
      local _, _, code = connect(LOOPBACK, port, { ip = LOOPBACK, port = port })
      assert.equal("EADDRINUSE", code)
    end))

    it("takes a connection to itself for none", in_task(function()
      local port = helper.free_port()
      local _, _, code = connect(LOOPBACK, port, { ip = LOOPBACK, port = port })
      assert.equal("ECONNREFUSED", code)
    end))

    it("says when the families differ", in_task(function()
      assert.equal("EAFNOSUPPORT", select(3, connect(LOOPBACK, 9, { ip = "::1" })))
    end))

    it("works over IPv6", in_task(function()
      local listener <close> = listen { ip = "::1" }
      if not listener then return pending "no IPv6 here" end
      local ip, port = listener:getsockname()
      assert.equal("::1", ip)
      local near <close> = assert(connect("::1", port))
      local far <close>, from = listener:accept()
      assert.equal("::1", from)
      far:write "six\n"
      assert.equal("six", near:read())
    end))

    it("refuses what is no address, no port, no option", in_task(function()
      for _, ip in ipairs { "", "localhost", "1.2.3", "1.2.3.4.5", "127.0.0.1\0x", ("1"):rep(1000) } do
        assert.error_matches(function() connect(ip, 80) end, "IP address")
      end
      for _, port in ipairs { 0, -1, 65536, 1.5, "x", 1 << 40 } do
        assert.has_error(function() connect(LOOPBACK, port) end)
      end
      assert.error_matches(function() connect(LOOPBACK, 80, { port = 70000 }) end, "option 'port'")
      assert.error_matches(function() connect(LOOPBACK, 80, { port = 7 }) end, "needs option 'ip'")
      assert.error_matches(function() connect(LOOPBACK, 80, { ip = 7 }) end, "option 'ip'")
      assert.error_matches(function() connect(LOOPBACK, 80, { ip = "x" }) end, "not an IP address")
      assert.error_matches(function() connect(LOOPBACK, 80, 5) end, "table expected")
      assert.error_matches(function() connect(LOOPBACK, 80, nil, -1) end, "timeout")
    end))
  end)

  describe("listen()", function()
    it("refuses a port in use", function()
      local _ <close>, port = listener_on()
      local other, message, code = listen { ip = LOOPBACK, port = port }
      assert.is_nil(other)
      assert.equal(("listen on 127.0.0.1:%d: Address already in use"):format(port), message)
      assert.equal("EADDRINUSE", code)
    end)

    it("shares a port when it is told so", function()
      local _ <close>, port = listener_on { reuse_port = true }
      local _ <close> = assert(listen { ip = LOOPBACK, port = port, reuse_port = true })
    end)

    it("says that an address is not ours", function()
      assert.equal("EADDRNOTAVAIL", select(3, listen { ip = "192.0.2.1" }))
    end)

    it("refuses wrong options", function()
      assert.error_matches(function() listen() end, "table expected")
      assert.error_matches(function() listen {} end, "option 'ip' expected")
      assert.error_matches(function() listen { ip = "x" } end, "not an IP address")
      assert.error_matches(function() listen { ip = LOOPBACK, port = -1 } end, "option 'port'")
      assert.error_matches(function() listen { ip = LOOPBACK, backlog = 1 << 40 } end, "option 'backlog'")
    end)
  end)

  describe("accept()", function()
    it("gives up after the timeout", in_task(function()
      local listener <close> = listener_on()
      assert.same({ nil, "timed out", "ETIMEDOUT", n = 3 }, table.pack(listener:accept(0.01)))
      assert.same({ nil, "timed out", "ETIMEDOUT", n = 3 }, table.pack(listener:accept(0)))
    end))

    it("gives each connection to one of those who wait, in their order", in_task(function()
      local listener <close>, port = listener_on()
      local order, tasks, clients = {}, {}, task.hold()
      local _ <close> = clients
      for i = 1, 3 do
        tasks[i] = task.spawn(function()
          local _ <close> = listener:accept()
          order[#order + 1] = i
        end)
      end
      task.sleep(0)
      for i = 1, 3 do
        clients[i], clients.n = connect(LOOPBACK, port), i
        tasks[i]:join()
      end
      assert.same({ 1, 2, 3 }, order)
    end))

    it("can be cancelled; the next one gets the connection", in_task(function()
      local listener <close>, port = listener_on()
      local t = task.spawn(listener.accept, listener)
      task.sleep(0)
      t:cancel()
      local _ <close> = connect(LOOPBACK, port)
      local _ <close> = assert(listener:accept(5))
    end))

    it("fails when the listener is closed meanwhile", in_task(function()
      local listener = listener_on()
      local t = task.spawn(listener.accept, listener)
      task.sleep(0)
      listener:close()
      assert.equal("EBADF", select(3, t:join()))
      assert.equal("EBADF", select(3, listener:accept()))
      assert.equal("EBADF", select(3, listener:getsockname()))
      listener:close()
      assert.matches("closed", tostring(listener))
    end))

    it("says when there are no descriptors left, and works again afterwards", in_task(function()
      local result = child.run([[
        print(task.run(function()
          local listener <close> = core.tcp.listen { ip = "127.0.0.1" }
          local _, port = listener:getsockname()
          local open = {}
          local stream, _, code
          repeat
            stream, _, code = core.tcp.connect("127.0.0.1", port)
            open[#open + 1] = stream
          until not stream
          local _, _, accept_code = listener:accept(1)
          for _, s in ipairs(open) do s:abort() end
          local far <close> = assert(listener:accept(1))
          return code, accept_code, #open > 5
        end))
      ]], { shell = "ulimit -n 40" })
      assert.equal("EMFILE\tEMFILE\ttrue\n", result.out)
    end))

    it("resets whom it has no descriptor for, and then waits for others", in_task(function()
      local result = child.run([[
        print(task.run(function()
          local listener <close> = core.tcp.listen { ip = "127.0.0.1" }
          local _, port = listener:getsockname()
          local open = {}
          repeat
            local stream = core.tcp.connect("127.0.0.1", port)
            open[#open + 1] = stream
          until not stream
          local refused, code = -1
          repeat
            refused, code = refused + 1, select(3, listener:accept(0.05))
          until code ~= "EMFILE"
          local reset = 0
          for _, s in ipairs(open) do
            local _, _, why = s:read(1)
            if why == "ECONNRESET" then reset = reset + 1 end
            s:abort()
          end
          local near <close> = assert(core.tcp.connect("127.0.0.1", port))
          local far <close> = assert(listener:accept(1))
          near:write "hello\n"
          return code, refused == #open, reset == #open, far:read "l"
        end))
      ]], { shell = "ulimit -n 40" })
      assert.equal("ETIMEDOUT\ttrue\ttrue\thello\n", result.out)
    end))
  end)

  describe("close()", function()
    it("refuses what is no listener", function()
      local listener <close> = listener_on()
      assert.has_error(function() listener.close() end)
      assert.has_error(function() listener.close(5) end)
      assert.has_error(function() getmetatable(listener).__gc(io.stdout) end)
    end)
  end)
end)
