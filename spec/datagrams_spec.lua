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
    assert.equal("ETIMEDOUT", select(3, carrier:receive(0.05)))
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
end)
