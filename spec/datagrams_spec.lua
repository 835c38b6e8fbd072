local core = require "p2pd.core"
local helper = require "spec.helper"
local task = require "p2pd.task"

local function bind(ip)
  return assert(core.udp.bind { ip = ip or "127.0.0.1" })
end

-- Two carriers that talk to each other, and what closes them.
local function pair(ip)
  local a, b = bind(ip), bind(ip)
  local a_ip, a_port = a:getsockname()
  local near = assert(a:datagrams(b:getsockname()))
  local far = assert(b:datagrams(a_ip, a_port))
  return task.hold(near, far), near, far
end

describe("a carrier of datagrams", function()
  for _, ip in ipairs { "127.0.0.1", "::1" } do
    it("takes both ways over " .. ip, helper.task(function()
      local _ <close>, near, far = pair(ip)
      for _, data in ipairs { "", "hello", ("\0x"):rep(1024) } do
        assert.is_true(near:send(data))
        assert.equal(data, far:receive(5))
        assert.is_true(far:send(data))
        assert.equal(data, near:receive(5))
      end
    end))
  end

  it("keeps their borders when many come at once", helper.task(function()
    local _ <close>, near, far = pair()
    far:receive(0)
    for i = 1, 100 do assert(near:send(("x"):rep(i % 7 * 50))) end
    for i = 1, 100 do assert.equal(i % 7 * 50, #assert(far:receive(5))) end
  end))

  it("takes the socket over", helper.task(function()
    local socket <close> = bind()
    local carrier <close> = assert(socket:datagrams("127.0.0.1", 9))
    assert.equal("EBADF", select(3, socket:sendto("x", "127.0.0.1", 9)))
    assert.equal("EBADF", select(3, socket:datagrams("127.0.0.1", 9)))
    assert.matches("^datagrams %(open%)", tostring(carrier))
  end))

  it("hears nobody but its peer", helper.task(function()
    local socket <close> = bind()
    local ip, port = socket:getsockname()
    local stranger <close> = bind()
    local peer <close> = bind()
    local carrier <close> = assert(socket:datagrams(peer:getsockname()))
    carrier:receive(0)
    assert(stranger:sendto("psst", ip, port))
    assert(peer:sendto("hello", ip, port))
    assert.equal("hello", carrier:receive(5))
    assert.equal("ETIMEDOUT", select(3, carrier:receive(0)))
  end))

  it("outlives a port where nobody listens", helper.task(function()
    local socket <close> = bind()
    local ip, port = socket:getsockname()
    local gone <close> = bind()
    local peer_ip, peer_port = gone:getsockname()
    local carrier <close> = assert(socket:datagrams(peer_ip, peer_port))
    gone:close()
    assert(carrier:send "x")
    assert.equal("ECONNREFUSED", select(3, carrier:receive(5)))
    local peer <close> = assert(core.udp.bind { ip = peer_ip, port = peer_port })
    assert(carrier:send "y")
    assert.equal("y", (peer:recvfrom(5)))
    assert(peer:sendto("z", ip, port))
    assert.equal("z", carrier:receive(5))
  end))

  it("refuses what is too long, and an address of another family", helper.task(function()
    local _ <close>, near = pair()
    assert.equal("EMSGSIZE", select(3, near:send(("x"):rep(2049))))
    local socket <close> = bind()
    local carrier, message, code = socket:datagrams("::1", 9)
    assert.is_nil(carrier)
    assert.matches("^connect to %[::1%]:9: ", message)
    assert.equal("EAFNOSUPPORT", code)
    assert(socket:getsockname())
    assert.error_matches(function() socket:datagrams("127.0.0.1", 0) end, "a port from 1 to 65535")
    assert.error_matches(function() socket:datagrams("nowhere", 1) end, "'nowhere'")
  end))

  it("is closed under a task that waits", helper.task(function()
    local _ <close>, near = pair()
    local waiting = core.task.spawn(function() return near:receive() end)
    task.sleep(0)
    near:close()
    near:close()
    assert.equal("EBADF", select(3, waiting:join(5)))
    assert.equal("EBADF", select(3, near:send "x"))
    assert.matches("^datagrams %(closed%)", tostring(near))
  end))

  describe("pair()", function()
    it("carries both ways", helper.task(function()
      local a, b = core.datagrams.pair(100)
      local _ <close> = task.hold(a, b)
      for _, data in ipairs { "", "x", ("y"):rep(100) } do
        assert(a:send(data))
        assert.equal(data, b:receive(5))
        assert(b:send(data))
        assert.equal(data, a:receive(5))
      end
      assert.equal("EMSGSIZE", select(3, a:send(("y"):rep(101))))
    end))

    it("has an end", helper.task(function()
      local a, b = core.datagrams.pair()
      local _ <close> = b
      a:send "last"
      a:close()
      assert.equal("last", b:receive(5))
      local data, message, code = b:receive(5)
      assert.same({ nil, "the other end is closed", "EPIPE" }, { data, message, code })
      assert.equal("EPIPE", select(3, b:send "x"))
    end))

    it("holds no more than fits, and goes on", helper.task(function()
      local a, b = core.datagrams.pair()
      local _ <close> = task.hold(a, b)
      local count = 0
      while a:send(("x"):rep(1000)) do count = count + 1 end
      assert.is_true(count > 50 and count < 70)
      for _ = 1, count do assert.equal(1000, #b:receive(5)) end
      assert(a:send "more")
      assert.equal("more", b:receive(5))
    end))

    it("refuses a length that makes no sense", function()
      assert.error_matches(function() core.datagrams.pair(0) end, "1 to 2048")
      assert.error_matches(function() core.datagrams.pair(9000) end, "1 to 2048")
    end)
  end)

  describe("channel()", function()
    it("carries its datagrams apart from all others", helper.task(function()
      local _ <close>, near, far = pair()
      local one <close> = assert(near:channel(0x4000))
      local two <close> = assert(near:channel(0x4001))
      one:receive(0)
      two:receive(0)
      assert(far:send "\x40\x01\0\3two!")  -- with padding
      assert(far:send "\x40\0\0\3one")
      assert(far:send "\x40\2\0\5other")
      assert(far:send "\x40\0\0\9short")
      assert(far:send "\0\1")
      assert.equal("two", two:receive(5))
      assert.equal("one", one:receive(5))
      assert.equal("\x40\2\0\5other", near:receive(5))
      assert.equal("\x40\0\0\9short", near:receive(5))
      assert.equal("\0\1", near:receive(5))
      assert(one:send "hello")
      assert.equal("\x40\0\0\5hello", far:receive(5))
      assert.equal("EMSGSIZE", select(3, one:send(("x"):rep(2045))))
    end))

    it("is one at a time, of the numbers there are", helper.task(function()
      local _ <close>, near = pair()
      local one = assert(near:channel(0x4000))
      assert.equal("EADDRINUSE", select(3, near:channel(0x4000)))
      one:close()
      local again <close> = assert(near:channel(0x4000))
      assert.is_truthy(again)
      assert.error_matches(function() near:channel(0x3fff) end, "0x4000")
      assert.error_matches(function() near:channel(0x5000) end, "0x4000")
    end))

    it("ends with the carrier, and says why", helper.task(function()
      local _ <close>, near = pair()
      local one <close> = assert(near:channel(0x4000))
      local waiting = task.spawn(function() return one:receive() end)
      task.sleep(0)
      near:close "the relay is gone"
      local data, message, code = waiting:join(5)
      assert.same({ nil, "the relay is gone", "EPIPE" }, { data, message, code })
    end))

    it("tells when none is open any more", helper.task(function()
      local _ <close>, near = pair()
      assert.is_true(near:idle())
      local one = assert(near:channel(0x4000))
      assert.equal("ETIMEDOUT", select(3, near:idle(0)))
      local waiting = task.spawn(function() return near:idle() end)
      task.sleep(0)
      one:close()
      assert.is_true(waiting:join(5))
    end))
  end)
end)
