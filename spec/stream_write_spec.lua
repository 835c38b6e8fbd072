local helper = require "spec.helper"
local streams = require "spec.streams"
local task = require "p2pd.task"
local in_task = helper.task

local QUEUE_MAX = 256 * 1024

describe("p2pd.core.stream", function()
  describe("write()", function()
    it("takes strings and numbers and gives itself", in_task(function()
      local _ <close>, near, far = streams.pair()
      assert.equal(near, near:write("a", 1, "b", 2.5, "\0\n"))
      assert.equal("a1b2.5\0", far:read "l")
      assert.equal(near, near:write())
      assert.equal(near, near:write "")
    end))

    it("refuses other values", in_task(function()
      local _ <close>, near = streams.pair()
      for _, bad in ipairs { {}, true, print } do
        assert.has_error(function() near:write("good", bad) end)
      end
      assert.has_error(function() near:write(nil) end)
    end))

    it("sends 20 MB to a slow reader and queues little", in_task(function()
      local _ <close>, near, far = streams.pair()
      local size, most = 20 * 1024 * 1024, 0
      local _ <close> = task.spawn(function()
        assert(far:write(("0123456789abcdef"):rep(size // 32)))
        for _ = 1, size // 2 // 65536 do assert(far:write(("x"):rep(65536))) end
        far:close()
      end)
      local count = 0
      while true do
        local data = near:recv(50000)
        if not data then break end
        count = count + #data
        local stats = far:stats()
        if stats then most = math.max(most, stats.queued) end
        if count % 7 == 0 then task.sleep(0) end
      end
      assert.equal(size, count)
      assert.is_true(most > 0 and most <= QUEUE_MAX, most)
    end))

    it("counts what it sent and what waits", in_task(function()
      local _ <close>, near, far = streams.pair()
      local taken = streams.stuff(near)
      local stats = near:stats()
      assert.equal(taken, stats.sent)
      assert.is_true(stats.queued <= QUEUE_MAX)
      assert.is_number(stats.rtt)
      near:close()
      assert.equal(taken, streams.swallow(far))
      assert.equal(taken, far:stats().received)
    end))

    it("gives up when the time is over and tells how much it took", in_task(function()
      local _ <close>, near = streams.pair()
      near:settimeout(0.02)
      local ok, message, code, taken = near:write(("x"):rep(20 * 1024 * 1024))
      assert.same({ nil, "timed out", "ETIMEDOUT" }, { ok, message, code })
      assert.equal(near:stats().sent, taken)
      near:abort()
    end))

    it("keeps the writes of two tasks apart and in order", in_task(function()
      local _ <close>, near, far = streams.pair()
      local size = 3 * 1024 * 1024
      local a = task.spawn(near.write, near, ("a"):rep(size))
      local b = task.spawn(near.write, near, ("b"):rep(size))
      local _ <close> = task.spawn(function()
        a:join()
        b:join()
        near:close()
      end)
      local data = far:read "a"
      assert.equal(2 * size, #data)
      assert.equal(size, #data:match "^a*")
      assert.equal(size, #data:match("b*$"))
    end))

    it("keeps them apart when the second's time is over, or when it is woken for nothing", in_task(function()
      local _ <close>, near, far = streams.pair()
      local size = 6 * 1024 * 1024
      local first = task.spawn(near.write, near, ("a"):rep(size))
      task.sleep(0)
      near:settimeout(0.01)
      local second = task.spawn(near.write, near, "b")
      local third = task.spawn(function()
        for _ = 1, 50 do
          near:write ""
          task.sleep(0)
        end
      end)
      assert.equal("ETIMEDOUT", select(3, second:join()))
      near:settimeout(nil)
      local last = task.spawn(near.write, near, "c")
      local _ <close> = task.spawn(function()
        first:join()
        third:join()
        last:join()
        near:close()
      end)
      local data = far:read "a"
      assert.equal(("a"):rep(10) .. "c", data:sub(-11))
      assert.equal(size, #data:match "^a*")
    end))

    it("lets the next writer in when one is cancelled in the middle", in_task(function()
      local _ <close>, near, far = streams.pair()
      local first = task.spawn(near.write, near, ("a"):rep(20 * 1024 * 1024))
      local second = task.spawn(function()
        near:write "b"
        near:close()
      end)
      task.sleep(0.01)
      first:cancel()
      local data = far:read "a"
      assert.matches("^a+b$", data:sub(-10))
      assert.is_true(#data < 20 * 1024 * 1024)
      second:join()
    end))

    it("fails after the peer has reset the connection", in_task(function()
      local _ <close>, near, far = streams.pair()
      near:write "unread"
      task.sleep(0.01)
      far:abort()
      local ok, message, code
      repeat
        ok, message, code = near:write "x"
        task.sleep(0)
      until not ok
      assert.is_true(code == "ECONNRESET" or code == "EPIPE", code)
      assert.same({ nil, message, code }, { near:write "again" })
    end))

    it("wakes a blocked writer when the peer goes", in_task(function()
      local _ <close>, near, far = streams.pair()
      local writer = task.spawn(near.write, near, ("x"):rep(20 * 1024 * 1024))
      task.sleep(0.01)
      far:abort()
      assert.is_nil((writer:join(5)))
      assert.matches("^E[CP]", select(3, writer:join()))
    end))
  end)

  describe("a peer process that is killed", function()
    it("in mid-pipe ends the reads and fails the writes", in_task(function()
      local core, child = require "p2pd.core", require "spec.child"
      local listener <close> = core.tcp.listen { ip = "127.0.0.1" }
      local _, port = listener:getsockname()
      local process <close> = child.spawn(([[
        task.run(function()
          local s = core.tcp.connect("127.0.0.1", %d)
          while true do s:write(("x"):rep(1000)) task.sleep(0.001) end
        end)
      ]]):format(port))
      local stream <close> = listener:accept(5)
      assert.equal(10000, #stream:read(10000))
      process:kill "KILL"
      local count, _, code = streams.swallow(stream)
      assert.is_true(count ~= nil or code == "ECONNRESET")
      local ok
      repeat
        ok = stream:write(("x"):rep(1000))
        task.sleep(0)
      until not ok
    end))
  end)
end)
