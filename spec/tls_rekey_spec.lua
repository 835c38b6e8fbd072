local core = require "p2pd.core"
local task = require "p2pd.task"
local encryption = require "spec.encryption"
local helper = require "spec.helper"
local nodes = require "spec.nodes"
local streams = require "spec.streams"
local in_task = helper.task

local MEGABYTE, alice, bob = encryption.MEGABYTE, encryption.alice, encryption.bob
local encrypted = encryption.encrypted

describe("p2pd.core.tls", function()
  describe("rekey()", function()
    it("changes our keys, or both, in mid-stream", in_task(function()
      local _ <close>, near, far = encrypted()
      for round = 1, 20 do
        assert.is_true(core.tls.rekey(near, round % 2 == 0))
        assert(near:write(round, "\n"))
        assert.equal(tostring(round), far:read "l")
        assert(far:write(-round, "\n"))
        assert.equal(tostring(-round), near:read "l")
      end
    end))

    it("does not disturb what waits on both sides", in_task(function()
      local _ <close>, near, far = encrypted()
      local up, down = ("u"):rep(20 * MEGABYTE), ("d"):rep(20 * MEGABYTE)
      assert.is_true(core.tls.rekey(near, true))
      assert.is_true(core.tls.rekey(far, true))
      local writers = { task.spawn(function() assert(near:write(up)) near:shutdown() end),
        task.spawn(function() assert(far:write(down)) far:shutdown() end) }
      task.sleep(0.02) -- both are stuck now, and owe each other new keys
      local reader <close> = task.spawn(far.read, far, "a")
      assert.is_true(near:read "a" == down)
      assert.is_true(reader:join() == up)
      for _, writer in ipairs(writers) do writer:join() end
    end))

    it("asked for without end is an error at the peer, who does not go on for long", in_task(function()
      local _ <close>, near, far = encrypted()
      for _ = 1, 10000 do
        if not core.tls.rekey(near, true) then break end
      end
      local _ <close> = task.spawn(near.write, near, "x\n")
      local data, message, code = far:read "l"
      assert.is_nil(data)
      assert.equal("read: key updates without end", message)
      assert.equal("EPROTO", code)
      assert.equal("EPROTO", select(3, far:write "y\n"))
    end))

    it("asked for often is answered, as long as there is something to read as well", in_task(function()
      local _ <close>, near, far = encrypted()
      for _ = 1, 5 do
        for _ = 1, 30 do assert.is_true(core.tls.rekey(near, true)) end
        assert(near:write "x\n")
        assert.equal("x", far:read "l")
        assert(far:write "y\n")
        assert.equal("y", near:read "l")
      end
    end))

    it("happens by itself when a key has been used for so many records", in_task(function()
      local worn = { key = alice.key, id = alice.id,
        context = assert(core.tls.context(alice.key, { key_records = 3 })) }
      local _ <close>, near, far = streams.pair()
      nodes.encrypt(near, worn, far, bob)
      for i = 1, 10 do
        assert(near:write(i, "\n"))
        assert.equal(tostring(i), far:read "l")
        assert.equal((i + 2) // 3, near:stats().tls.keys)
      end
      local up, down = ("u"):rep(20 * MEGABYTE), ("d"):rep(20 * MEGABYTE)
      local _ <close> = task.spawn(function() assert(near:write(up)) near:shutdown() end)
      local other <close> = task.spawn(function() assert(far:write(down)) far:shutdown() end)
      local reader <close> = task.spawn(far.read, far, "a")
      assert.is_true(near:read "a" == down)
      assert.is_true(reader:join() == up)
      assert.is_true(near:stats().tls.keys > 20 * MEGABYTE // 16384 // 3)
      assert.equal(1, far:stats().tls.keys)
      other:join()
    end))

    it("happens after 1 to 2^23 records", function()
      for _, records in ipairs { 0, -1, 2 ^ 23 + 1 } do
        local options = { key_records = math.tointeger(records) }
        assert.error_matches(function() core.tls.context(alice.key, options) end, "out of range")
      end
      assert(core.tls.context(alice.key, { key_records = 1 << 23 }))
    end)

    it("is refused without TLS and after the end", in_task(function()
      local _ <close>, near, far = streams.pair()
      assert.equal("EOPNOTSUPP", select(3, core.tls.rekey(near)))
      nodes.encrypt(near, alice, far, bob)
      near:shutdown()
      assert.equal("EPIPE", select(3, core.tls.rekey(near)))
    end))
  end)
end)
