local encryption = require "spec.encryption"

local core, in_task, nodes, relays, streams, task = encryption.tools()
local MEGABYTE, alice, bob, eve = encryption.MEGABYTE, encryption.alice, encryption.bob, encryption.eve
local encrypted, random = encryption.encrypted, encryption.random

describe("p2pd.core.tls", function()
  describe("server() for anybody", function()
    it("tells who has come", in_task(function()
      local _ <close>, near, far = streams.pair()
      local mine, theirs = nodes.shake({ stream = near, node = eve, peer = bob.id },
        { stream = far, node = bob })
      assert.same({ true, bob.id }, { mine[1], mine[2] })
      assert.same({ true, eve.id }, { theirs[1], theirs[2] })
      near:write "hello\n"
      assert.equal("hello", far:read "l")
    end))

    it("is for servers alone", in_task(function()
      local _ <close>, near = streams.pair()
      assert.error_matches(function() core.tls.client(near, alice.context) end, "string expected")
    end))
  end)

  describe("client() and server()", function()
    it("encrypt a stream, which stays the same object", in_task(function()
      local _ <close>, near, far = encrypted()
      near:write "hello\n"
      assert.equal("hello", far:read "l")
      far:write "you too\n"
      assert.equal("you too", near:read "l")
    end))

    it("take either role, whichever end has connected", in_task(function()
      local _ <close>, near, far = streams.pair()
      nodes.encrypt(far, alice, near, bob)
      near:write "hello\n"
      assert.equal("hello", far:read "l")
    end))

    it("leave addresses as they are, and tell protocol and cipher", in_task(function()
      local _ <close>, near, far = encrypted()
      assert.equal(select(2, near:getsockname()), select(2, far:getpeername()))
      local tls = near:stats().tls
      assert.equal("TLSv1.3", tls.protocol)
      assert.matches("^TLS_.+_SHA", tls.cipher)
      assert.equal(1, tls.keys)
    end))

    it("show nothing of what is written on the way", in_task(function()
      local relay <close>, near, far = relays.new()
      local seen = {}
      relay.filter = function(data) seen[#seen + 1] = data return data end
      nodes.encrypt(near, alice, far, bob)
      near:write "a secret\n"
      assert.equal("a secret", far:read "l")
      local wire = table.concat(seen)
      assert.is_nil(wire:find("secret", 1, true))
      assert.is_nil(wire:find(alice.key:public(), 1, true), "the client's key in clear")
      assert.is_nil(wire:find(bob.key:public(), 1, true), "the server's key in clear")
    end))

    it("take one round trip: the third flight ends it", in_task(function()
      local relay <close>, near, far = relays.new()
      nodes.encrypt(near, alice, far, bob)
      assert.equal(3, relay:flights())
    end))

    it("begin with what was read too early", in_task(function()
      local _ <close>, near, far = streams.pair()
      local other <close> = task.spawn(function()
        near:write "P2PD/1 first\n"
        assert(core.tls.client(near, alice.context, bob.id, 5))
        near:write "second\n"
      end)
      assert.equal("P2PD/1 first", far:read "l")
      far:settimeout(0.05)
      assert.equal("ETIMEDOUT", select(3, far:read(100000))) -- buffers the client's first message
      far:settimeout(nil)
      assert.is_true(core.tls.server(far, bob.context, alice.id, 5))
      assert.equal("second", far:read "l")
      other:join()
    end))

    it("let queued bytes leave before", in_task(function()
      local _ <close>, near, far = streams.pair()
      local count = streams.stuff(near)
      assert.is_true(near:stats().queued > 0)
      local client <close> = task.spawn(core.tls.client, near, alice.context, bob.id, 5)
      assert.equal(count, #far:read(count))
      assert.is_true(core.tls.server(far, bob.context, alice.id, 5))
      assert.is_true(client:join())
    end))

    it("send what is written during the handshake after it", in_task(function()
      local _ <close>, near, far = streams.pair()
      local _ <close> = task.spawn(core.tls.client, near, alice.context, bob.id, 5)
      task.sleep(0)
      near:write "at once\n"
      assert.is_true(core.tls.server(far, bob.context, alice.id, 5))
      assert.equal("at once", far:read "l")
    end))

    it("work over TLS again", in_task(function()
      local _ <close>, near, far = encrypted()
      nodes.encrypt(near, bob, far, eve)
      near:write "deep\n"
      assert.equal("deep", far:read "l")
    end))

    it("raise for what is no stream, no context, no id, or a stream in use", in_task(function()
      local _ <close>, near = streams.pair()
      assert.error_matches(function() core.tls.client({}, alice.context, bob.id) end, "p2pd.stream")
      assert.error_matches(function() core.tls.client(near, {}, bob.id) end, "p2pd.tls.context")
      assert.error_matches(function() core.tls.client(near, alice.context, "bob") end, "node id")
      local _ <close> = task.spawn(near.read, near, "l")
      task.sleep(0)
      assert.error_matches(function() core.tls.client(near, alice.context, bob.id) end,
        "another task is reading")
    end))

    it("say that a stream is closed", in_task(function()
      local _ <close>, near = streams.pair()
      near:close()
      assert.equal("EBADF", select(3, core.tls.client(near, alice.context, bob.id)))
    end))
  end)

  describe("data", function()
    -- Writes a pattern on one end and compares what comes out of the other.
    local function flood(from, to, bytes)
      local block = random(16411)
      local sent = block:rep(bytes // #block)
      local writer = task.spawn(function()
        assert(from:write(sent))
        assert(from:shutdown())
      end)
      return function()
        local ok = sent == to:read "a"
        writer:join()
        return ok
      end
    end

    it("passes 5 MB both ways at once", in_task(function()
      local _ <close>, near, far = encrypted()
      local up, down = flood(near, far, 5 * MEGABYTE), flood(far, near, 5 * MEGABYTE)
      local first <close> = task.spawn(up)
      assert.is_true(down())
      assert.is_true(first:join())
    end))

    it("passes through a reader that takes odd bits", in_task(function()
      local _ <close>, near, far = encrypted()
      local sent = random(9973):rep(60)
      local _ <close> = task.spawn(function() assert(near:write(sent)) near:shutdown() end)
      local parts, sizes = {}, { 1, 7, 16384, 100, 65536, 3 }
      for i = 1, math.huge do
        local data = far:recv(sizes[i % #sizes + 1])
        if not data then break end
        parts[i] = data
      end
      assert.is_true(table.concat(parts) == sent)
    end))

    it("stays whole after a write that timed out", in_task(function()
      local _ <close>, near, far = encrypted()
      local first, second = ("1"):rep(20 * MEGABYTE), ("2"):rep(100)
      near:settimeout(0.05)
      local ok, _, code, taken = near:write(first)
      assert.is_nil(ok)
      assert.equal("ETIMEDOUT", code)
      near:settimeout(nil)
      local _ <close> = task.spawn(function() assert(near:write(second)) near:shutdown() end)
      local got = far:read "a"
      assert.equal(taken + #second, #got)
      assert.is_true(got == first:sub(1, taken) .. second)
    end))

    it("that is queued outlives the close", in_task(function()
      local _ <close>, near, far = encrypted()
      local count = streams.stuff(near)
      near:close()
      assert.equal(count, streams.swallow(far))
    end))
  end)

  describe("the end", function()
    it("of one half leaves the other", in_task(function()
      local _ <close>, near, far = encrypted()
      near:write "question"
      near:shutdown()
      assert.equal("question", far:read "a")
      far:write "answer"
      far:shutdown()
      assert.equal("answer", near:read "a")
      assert.is_nil((near:read "l"))
    end))

    it("comes with close()", in_task(function()
      local _ <close>, near, far = encrypted()
      near:write "last"
      near:close()
      assert.equal("last", far:read "a")
      assert.same({ n = 1 }, table.pack(far:read "l"))
    end))

    it("is told from a truncation, after the data before it", in_task(function()
      local relay <close>, near, far = relays.new()
      nodes.encrypt(near, alice, far, bob)
      near:write "whole\n"
      assert.equal("whole", far:read "l")
      relay:cut()
      local data, message, code = far:read "l"
      assert.is_nil(data)
      assert.matches("truncated", message)
      assert.equal("ECONNRESET", code)
      assert.equal("ECONNRESET", select(3, far:read "l"))
    end))

    it("of a peer that is still reading does not cut off what is on its way to it", in_task(function()
      local _ <close>, near, far = encrypted()
      local count = streams.stuff(near)
      near:close()
      far:shutdown() -- its close_notify finds the other end closed
      assert.is_true(core.stream.lingering() > 0)
      assert.equal(count, streams.swallow(far))
    end))

    it("of a stream that is broken off is none: the peer learns that something is missing", in_task(function()
      local _ <close>, near, far = encrypted()
      assert(near:write "half a li")
      assert.equal("half", far:read(4))
      near:abort()
      local data, message, code = far:read "l"
      assert.is_nil(data)
      assert.equal("read: truncated: the stream ended without close_notify", message)
      assert.equal("ECONNRESET", code)
    end))

    it("of a shutdown before the handshake is over comes after it", in_task(function()
      local _ <close>, near, far = streams.pair()
      local _ <close> = task.spawn(core.tls.client, near, alice.context, bob.id, 5)
      task.sleep(0)
      near:write "only"
      near:shutdown()
      assert.is_true(core.tls.server(far, bob.context, alice.id, 5))
      assert.equal("only", far:read "a")
    end))
  end)

  describe("somebody on the way", function()
    -- What the reader of a stream gets when one byte is flipped at an offset from now.
    local function tampered(offset)
      local relay <close>, near, far = relays.new()
      nodes.encrypt(near, alice, far, bob)
      local at = offset
      relay.filter = function(data)
        local from = at
        at = at - #data
        if from < 1 or from > #data then return data end
        return data:sub(1, from - 1) .. string.char(data:byte(from) ~ 1) .. data:sub(from + 1)
      end
      near:write(("x"):rep(1000))
      near:shutdown()
      return far:read "a"
    end

    for offset, what in pairs { [1] = "the record's type", [2] = "its version", [5] = "its length",
      [6] = "its first byte", [500] = "its middle", [1022] = "its tag" } do
      it("who flips a bit of " .. what .. " causes an error, never data", in_task(function()
        local data, message, code = tampered(offset)
        assert.is_nil(data)
        assert.is_string(message)
        assert.is_true(({ EBADMSG = true, ECONNRESET = true })[code], code)
      end))
    end

    it("who changes the handshake ends it", in_task(function()
      for _, offset in ipairs { 6, 60, 120, 200 } do
        local relay <close>, near, far = relays.new()
        local done
        relay.filter = function(data, upwards)
          if upwards or done or #data < offset then return data end
          done = true
          return data:sub(1, offset - 1) .. string.char(data:byte(offset) ~ 4) .. data:sub(offset + 1)
        end
        local mine = nodes.shake({ stream = near, node = alice, peer = bob.id },
          { stream = far, node = bob, peer = alice.id })
        assert.is_nil(mine[1])
        assert.equal("EPROTO", mine[3])
      end
    end))

    it("who replays a record causes an error", in_task(function()
      local relay <close>, near, far = relays.new()
      nodes.encrypt(near, alice, far, bob)
      relay.filter = function(data) return data .. data end
      near:write "once\n"
      assert.equal("once", far:read "l")
      assert.equal("EBADMSG", select(3, far:read "l"))
    end))

    it("who drops a record causes an error", in_task(function()
      local relay <close>, near, far = relays.new()
      nodes.encrypt(near, alice, far, bob)
      relay.filter = function() relay.filter = nil return "" end
      near:write "lost\n"
      while relay.filter do task.sleep(0.001) end
      near:write "next\n"
      assert.equal("EBADMSG", select(3, far:read "l"))
    end))
  end)

  describe("another node", function()
    it("as the server hangs up: the client does not know its id", in_task(function()
      local _ <close>, near, far = streams.pair()
      local mine, theirs = nodes.shake({ stream = near, node = alice, peer = bob.id },
        { stream = far, node = eve, peer = alice.id })
      assert.is_nil(mine[1])
      assert.matches("hung up in the TLS handshake", mine[2])
      assert.equal("ECONNRESET", mine[3])
      assert.matches("no proof that the peer knows the node id", theirs[2])
      assert.equal("EPROTO", theirs[3])
      assert.equal("EBADF", select(3, near:read "l"))
    end))

    it("as the client is refused, with its id, and told", in_task(function()
      local _ <close>, near, far = streams.pair()
      local mine, theirs = nodes.shake({ stream = near, node = eve, peer = bob.id },
        { stream = far, node = bob, peer = alice.id })
      assert.is_true(mine[1]) -- it knows when it reads
      assert.is_nil(theirs[1])
      assert.matches("of another node: " .. eve.id, theirs[2], 1, true)
      assert.equal("EACCES", theirs[3])
      local _, message, code = near:read "l"
      assert.matches("refused by the peer: bad certificate", message)
      assert.equal("EACCES", code)
    end))
  end)

  describe("waiting", function()
    local function cpu()
      local file <close> = assert(io.open "/proc/self/schedstat")
      return tonumber(file:read "a":match "%d+") / 1e9
    end

    it("costs no CPU, also with half a record there", in_task(function()
      local relay <close>, near, far = relays.new()
      nodes.encrypt(near, alice, far, bob)
      relay.filter = function(data) return data:sub(1, 20) end
      local _ <close> = task.spawn(far.read, far, "l")
      near:write "never\n"
      task.sleep(0.05)
      local before = cpu()
      task.sleep(0.3)
      assert.is_true(cpu() - before < 0.1)
    end))
  end)
end)
