local core = require "p2pd.core"
local handshake = require "p2pd.handshake"
local helper = require "spec.helper"
local nodes = require "spec.nodes"
local streams = require "spec.streams"
local task = require "p2pd.task"
local in_task = helper.task

local alice, bob, eve = nodes.new(), nodes.new(), nodes.new()

local function dialer(changes)
  local about = { pipe = "pipe1", from = alice.id, to = bob.id, context = alice.context }
  for key, value in pairs(changes or {}) do about[key] = value end
  return about
end

local function answerer(changes)
  local about = { to = bob.id, context = bob.context }
  for key, value in pairs(changes or {}) do about[key] = value end
  return about
end

local function answer(stream, about)
  local hello, message, code = handshake.receive(stream)
  if not hello then return nil, message, code end
  local found
  found, message, code = handshake.answer(stream, hello, about)
  if not found then stream:close() end -- as whoever holds it does
  return found, message, code
end

-- Both parts at once, the dialer's with its go: what each returns, in two tables.
local function shake(near, far, mine, theirs)
  local answering <close> = task.spawn(answer, far, theirs)
  local result = table.pack(handshake.dial(near, mine))
  if result[1] then handshake.go(near, { pipe = mine.go or mine.pipe }) end
  return result, table.pack(answering:join(5))
end

-- What fn(stream) returns when the peer has sent these bytes, and ended its half unless it `stays`.
local function hear(bytes, fn, stays)
  local _ <close>, near, far = streams.pair()
  assert(far:write(bytes))
  if not stays then far:shutdown() end
  return fn(near)
end

local INSECURE = { insecure = true }

describe("p2pd.handshake", function()
  for what, change in pairs { ["with TLS"] = {}, insecure = INSECURE } do
    describe(what, function()
      it("agrees on a pipe, and leaves what follows to the application", in_task(function()
        local _ <close>, near, far = streams.pair()
        local mine, theirs = shake(near, far, dialer(change), answerer(change))
        assert.is_true(mine[1])
        assert.same({ from = alice.id, pipe = "pipe1", strategy = "unknown", kind = "pipe",
          insecure = change.insecure or false }, theirs[1])
        near:write "first bytes\n"
        assert.equal("first bytes", far:read "l")
        far:write(("x"):rep(1000), "\n")
        assert.equal(1000, #near:read "l")
      end))

      it("says when the dialer chose another stream", in_task(function()
        local _ <close>, near, far = streams.pair()
        local answering <close> = task.spawn(answer, far, answerer(change))
        assert(handshake.dial(near, dialer(change)))
        near:close()
        assert.same({ n = 3, nil, "the dialer chose another stream", "ECANCELED" },
          table.pack(answering:join(5)))
      end))

      it("refuses who is not allowed, before it has chosen", in_task(function()
        local _ <close>, near, far = streams.pair()
        local asked
        local about = answerer(change)
        function about.allow(from) asked = from return false, "not you" end
        local _, theirs = shake(near, far, dialer(change), about)
        assert.equal("not you", theirs[1].refused)
        assert.equal(alice.id, asked)
      end))

      it("refuses another pipe than the one that was asked for", in_task(function()
        local _ <close>, near, far = streams.pair()
        local about = answerer { insecure = change.insecure, pipe = "pipe1", from = alice.id }
        local mine = dialer { insecure = change.insecure, go = "pipe2" }
        assert.same({ n = 3, nil, "another pipe's go", "EPROTO" }, select(2, shake(near, far, mine, about)))
      end))

      it("refuses anything but go", in_task(function()
        for _, line in ipairs { "go\n", "P2PD/1 go\n", "P2PD/1 go a b c\n", "P2PD/1 go a b*c\n", "P2PD/1\n",
          "P2PD/1 go a\r\n", "P2PD/1 go a b pipe c d\n",
          "P2PD/1 go a b session\n", "P2PD/1 go a b resume -\n" } do
          local _ <close>, near, far = streams.pair()
          local answering <close> = task.spawn(answer, far, answerer(change))
          assert(handshake.dial(near, dialer(change)))
          near:write(line)
          assert.equal("EPROTO", select(3, answering:join(5)))
        end
      end))

      it("does not take another node for the peer", in_task(function()
        local _ <close>, near, far = streams.pair()
        local about = answerer { insecure = change.insecure, to = eve.id, context = eve.context }
        local mine, theirs = shake(near, far, dialer(change), about)
        assert.is_nil(mine[1])
        assert.is_nil(theirs[1])
      end))

      it("does not take another node for the dialer that was asked for", in_task(function()
        local _ <close>, near, far = streams.pair()
        local about = answerer { insecure = change.insecure, from = eve.id, pipe = "pipe1" }
        assert.is_nil(select(2, shake(near, far, dialer(change), about))[1])
      end))
    end)
  end

  it("never goes on without TLS when one side wants it", in_task(function()
    local _ <close>, near, far = streams.pair()
    local mine, theirs = shake(near, far, dialer(INSECURE), answerer())
    assert.same({ n = 3, nil, "refused by the peer: only encrypted pipes here", "EACCES" }, mine)
    assert.same({ n = 3, nil, "a stream without TLS", "EPROTO" }, theirs)
  end))

  it("takes TLS also where it could be without", in_task(function()
    local _ <close>, near, far = streams.pair()
    local _, theirs = shake(near, far, dialer(), answerer(INSECURE))
    assert.is_false(theirs[1].insecure)
  end))

  it("does not tell who does not know our id that there is no room", in_task(function()
    for _, bytes in ipairs { "\x16\3\1\0\5hello", "\x16", "\x16\3\1\0\100" .. ("x"):rep(100),
      ("P2PD/1 dial pipe1 %s %s\n"):format(alice.id, eve.id), "P2PD/1 back pipe1\n" } do
      local _ <close>, near, far = streams.pair()
      near:write(bytes)
      near:shutdown()
      handshake.refuse_busy(far, assert(handshake.receive(far)), answerer())
      far:close()
      assert.equal("", near:read "a")
    end
    local _ <close>, near, far = streams.pair()
    local busy <close> = task.spawn(function()
      handshake.refuse_busy(far, (handshake.receive(far)), answerer())
      far:close()
    end)
    assert.equal("ECONNRESET", select(3, handshake.dial(near, dialer { to = eve.id })))
    assert(busy)
  end))

  it("tells who speaks without TLS and knows our id", in_task(function()
    local _ <close>, near, far = streams.pair()
    near:write(("P2PD/1 dial pipe1 %s %s\n"):format(alice.id, bob.id))
    handshake.refuse_busy(far, assert(handshake.receive(far)), answerer())
    assert.equal("P2PD/1 refused too busy", near:read "l")
  end))

  it("tells a TLS client, too, that there is no room", in_task(function()
    local _ <close>, near, far = streams.pair()
    local busy <close> = task.spawn(function()
      handshake.refuse_busy(far, (handshake.receive(far)), answerer())
    end)
    local _, message, code = handshake.dial(near, dialer())
    assert.matches("refused by the peer: it is too busy", message)
    assert.equal("EBUSY", code)
    assert(busy)
  end))

  describe("receive()", function()
    it("leaves TLS as it is, and takes one line otherwise", in_task(function()
      hear("\x16\3\1", function(stream)
        assert.same({ role = "tls" }, handshake.receive(stream))
        assert.equal("\x16\3\1", stream:read(3))
      end)
      hear("P2PD/1 back pipe1\n\x16", function(stream)
        assert.same({ role = "back", pipe = "pipe1" }, handshake.receive(stream))
        assert.same({ role = "tls" }, handshake.receive(stream))
      end)
      assert.same({ role = "dial", pipe = "p", from = "a", to = "b" },
        hear("P2PD/1 dial p a b\n", handshake.receive))
    end))

    it("refuses a stranger", in_task(function()
      for _, line in ipairs { "GET / HTTP/1.1\r\n", "\n", "P2PD/2 dial p a b\n", "P2PD/1x\n", "\0\0\n" } do
        assert.same({ nil, "not a p2pd peer", "EPROTO", n = 3 },
          table.pack(hear(line, handshake.receive)))
      end
    end))

    it("refuses a malformed line", in_task(function()
      for _, rest in ipairs { "", " dial", " dial p a", " dial p a b c", " else p a b", " dial p a b\r",
        " dial p_ a b", (" dial p a %s"):format(("b"):rep(65)), " back", " back p a", " back p_" } do
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

    it("tells why the peer refuses, in printable characters", in_task(function()
      assert.same({ nil, "refused by the peer: too ?[31mbusy", "EACCES", n = 3 },
        table.pack(hear("P2PD/1 refused too \27[31mbusy\n", handshake.receive)))
    end))

    it("ends within the stream's timeout", in_task(function()
      for _, bytes in ipairs { "", "P2PD/1" } do
        assert.equal("ETIMEDOUT", select(3, hear(bytes, function(stream)
          stream:settimeout(0.01)
          return handshake.receive(stream)
        end, true)))
      end
    end))
  end)

  describe("dial(), insecure", function()
    local function dial(stream)
      return handshake.dial(stream, { insecure = true, pipe = "pipe1", from = "alice", to = "bob" })
    end

    it("tells why the peer refuses, in printable characters", in_task(function()
      local ok, message, code = hear("P2PD/1 refused too \27[31mbusy\n", dial)
      assert.same({ nil, "refused by the peer: too ?[31mbusy", "EACCES" }, { ok, message, code })
    end))

    it("refuses another pipe, another word, another node, another protocol", in_task(function()
      assert.same({ nil, "an unexpected answer", "EPROTO" }, { hear("P2PD/1 ready pipe2 bob\n", dial) })
      assert.same({ nil, "an unexpected answer", "EPROTO" }, { hear("P2PD/1 go\n", dial) })
      assert.same({ nil, "another node answered: eve", "EPROTO" },
        { hear("P2PD/1 ready pipe1 eve\n", dial) })
      assert.same({ nil, "another node answered: ?", "EPROTO" }, { hear("P2PD/1 ready pipe1\n", dial) })
      assert.same({ nil, "not a p2pd peer", "EPROTO" }, { hear("SSH-2.0\n", dial) })
    end))

    it("says when the peer hangs up", in_task(function()
      assert.equal("ECONNRESET", select(3, hear("", dial)))
    end))
  end)

  it("fails on a closed stream", in_task(function()
    local _ <close>, near = streams.pair()
    near:close()
    assert.equal("EBADF", select(3, handshake.back(near, "pipe1")))
    assert.equal("EBADF", select(3, handshake.receive(near)))
    assert.equal("EBADF", select(3, handshake.dial(near, dialer())))
    assert.equal("EBADF", select(3, handshake.dial(near, dialer(INSECURE))))
    assert.equal("EBADF", select(3, handshake.answer(near, { role = "tls" }, answerer())))
    assert.equal("EBADF", select(3, handshake.go(near, { pipe = "pipe1" })))
    assert.equal("EBADF", select(3, core.tls.client(near, alice.context, bob.id)))
  end))
end)
