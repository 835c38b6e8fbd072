local handshake = require "p2pd.handshake"
local helper = require "spec.helper"
local streams = require "spec.streams"
local task = require "p2pd.task"
local in_task = helper.task

local HELLO = { role = "dial", pipe = "pipe1", from = "alice", to = "bob" }

-- What fn(stream) returns when the peer has sent these bytes, and ended its half unless it `stays`.
local function hear(bytes, fn, stays)
  local _ <close>, near, far = streams.pair()
  assert(far:write(bytes))
  if not stays then far:shutdown() end
  return fn(near)
end

local function verify(stream) return handshake.verify(stream, "pipe1", "bob") end
local function answer(stream) return handshake.answer(stream, "pipe1", "bob") end

describe("p2pd.handshake", function()
  it("agrees on a pipe, and leaves what follows to the application", in_task(function()
    local _ <close>, near, far = streams.pair()
    local answering = task.spawn(function()
      assert.same(HELLO, handshake.receive(far))
      return handshake.answer(far, "pipe1", "bob")
    end)
    assert.is_truthy(handshake.announce(near, HELLO))
    assert.is_true(handshake.verify(near, "pipe1", "bob"))
    assert.is_truthy(handshake.go(near))
    near:write "first bytes\n"
    assert.is_true(answering:join())
    assert.equal("first bytes", far:read "l")
    far:write(("x"):rep(1000), "\n")
    assert.equal(1000, #near:read "l")
  end))

  describe("receive()", function()
    it("takes both roles", in_task(function()
      assert.equal("back", hear("P2PD/1 back p a b\n", handshake.receive).role)
    end))

    it("refuses a stranger", in_task(function()
      for _, line in ipairs { "GET / HTTP/1.1\r\n", "\n", "P2PD/2 dial p a b\n", "P2PD/1x\n", "\0\0\n" } do
        assert.same({ nil, "not a p2pd peer", "EPROTO", n = 3 },
          table.pack(hear(line, handshake.receive)))
      end
    end))

    it("refuses a malformed line", in_task(function()
      for _, rest in ipairs { "", " dial", " dial p a", " dial p a b c", " else p a b", " dial p a b\r",
        " dial p_ a b", (" dial p a %s"):format(("b"):rep(65)) } do
        local _, message, code = hear("P2PD/1" .. rest .. "\n", handshake.receive)
        assert.same({ "a malformed first line", "EPROTO" }, { message, code })
      end
    end))

    it("refuses a line that is too long, before its end", in_task(function()
      local _, _, code = hear("P2PD/1 dial " .. ("x"):rep(400), handshake.receive, true)
      assert.equal("EMSGSIZE", code)
    end))

    it("says when the peer hangs up, also in the middle of a line", in_task(function()
      for _, bytes in ipairs { "", "P2PD/1 dial pi", "P2PD/1 dial p a b" } do
        assert.same({ nil, "the peer hung up", "ECONNRESET", n = 3 },
          table.pack(hear(bytes, handshake.receive)))
      end
    end))

    it("ends within the stream's timeout", in_task(function()
      assert.equal("ETIMEDOUT", select(3, hear("P2PD/1", function(stream)
        stream:settimeout(0.01)
        return handshake.receive(stream)
      end, true)))
    end))
  end)

  describe("verify()", function()
    it("tells why the peer refuses, in printable characters", in_task(function()
      local ok, message, code = hear("P2PD/1 refused too \27[31mbusy\n", verify)
      assert.same({ nil, "refused by the peer: too ?[31mbusy", "EACCES" }, { ok, message, code })
    end))

    it("refuses another pipe, another word, another node, another protocol", in_task(function()
      assert.same({ nil, "an unexpected answer", "EPROTO" }, { hear("P2PD/1 ready pipe2 bob\n", verify) })
      assert.same({ nil, "an unexpected answer", "EPROTO" }, { hear("P2PD/1 go\n", verify) })
      assert.same({ nil, "another node answered: eve", "EPROTO" },
        { hear("P2PD/1 ready pipe1 eve\n", verify) })
      assert.same({ nil, "another node answered: ?", "EPROTO" }, { hear("P2PD/1 ready pipe1\n", verify) })
      assert.same({ nil, "not a p2pd peer", "EPROTO" }, { hear("SSH-2.0\n", verify) })
    end))

    it("says when the peer hangs up", in_task(function()
      assert.equal("ECONNRESET", select(3, hear("", verify)))
    end))
  end)

  describe("answer()", function()
    it("says when the dialer chose another stream", in_task(function()
      assert.same({ nil, "the dialer chose another stream", "ECANCELED" }, { hear("", answer) })
    end))

    it("says when the dialer does not wait any more", in_task(function()
      assert.equal("ECANCELED", select(3, hear("P2PD/1 refused nobody waits\n", answer)))
    end))

    it("refuses anything but go", in_task(function()
      for _, line in ipairs { "go\n", "P2PD/1 go now\n", "P2PD/1\n" } do
        assert.equal("EPROTO", select(3, hear(line, answer)))
      end
    end))
  end)

  describe("refuse()", function()
    it("tells the other side", in_task(function()
      local _ <close>, near, far = streams.pair()
      handshake.refuse(far, "too busy")
      assert.equal("refused by the peer: too busy", select(2, verify(near)))
    end))
  end)

  it("fails on a closed stream", in_task(function()
    local _ <close>, near = streams.pair()
    near:close()
    assert.equal("EBADF", select(3, handshake.announce(near, HELLO)))
    assert.equal("EBADF", select(3, handshake.receive(near)))
    assert.equal("EBADF", select(3, verify(near)))
    assert.equal("EBADF", select(3, answer(near)))
    assert.equal("EBADF", select(3, handshake.go(near)))
  end))
end)
