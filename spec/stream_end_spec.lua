local core = require "p2pd.core"
local helper = require "spec.helper"
local streams = require "spec.streams"
local task = require "p2pd.task"
local in_task = helper.task

describe("p2pd.core.stream", function()
  describe("shutdown()", function()
    it("ends one direction; the other goes on", in_task(function()
      local _ <close>, near, far = streams.pair()
      near:write "question"
      assert.equal(near, near:shutdown())
      assert.equal("question", far:read "a")
      far:write "answer"
      far:close()
      assert.equal("answer", near:read "a")
    end))

    it("comes after what is queued", in_task(function()
      local _ <close>, near, far = streams.pair()
      local taken = streams.stuff(near)
      assert.is_true(near:stats().queued > 0)
      near:shutdown()
      assert.equal(taken, streams.swallow(far))
    end))

    it("may be called twice; later writes fail", in_task(function()
      local _ <close>, near = streams.pair()
      near:shutdown()
      assert.equal(near, near:shutdown())
      assert.equal("EPIPE", select(3, near:write "x"))
    end))

    it("fails a write that waits", in_task(function()
      local _ <close>, near = streams.pair()
      local writer = task.spawn(near.write, near, ("x"):rep(20 * 1024 * 1024))
      task.sleep(0.01)
      near:shutdown()
      assert.equal("EPIPE", select(3, writer:join(5)))
    end))
  end)

  describe("close()", function()
    it("sends what is queued, to the last byte", in_task(function()
      local _ <close>, near, far = streams.pair()
      local taken = streams.stuff(near)
      assert.is_true(near:stats().queued > 0)
      near:close()
      assert.equal(1, core.stream.lingering())
      assert.equal(taken, streams.swallow(far))
      while core.stream.lingering() > 0 do task.sleep(0) end
    end))

    it("does not lose what was sent when there is unread input", in_task(function()
      local _ <close>, near, far = streams.pair()
      far:write(("noise"):rep(1000))
      task.sleep(0.01)
      near:write "the last words"
      near:close()
      assert.equal("the last words", far:read "a")
    end))

    it("ends a peer that never reads after a while", in_task(function()
      local _ <close>, near, far = streams.pair()
      streams.stuff(near)
      near:close()
      assert.equal(1, core.stream.lingering())
      far:abort()
      while core.stream.lingering() > 0 do task.sleep(0) end
    end))

    it("may be called twice", in_task(function()
      local _ <close>, near = streams.pair()
      assert.is_true(near:close())
      assert.is_nil(near:close())
      near:abort()
    end))

    it("fails a read that waits", in_task(function()
      local _ <close>, near, far = streams.pair()
      for _, method in ipairs { "read", "recv" } do
        local s = method == "read" and near or far
        local reader = task.spawn(s[method], s)
        task.sleep(0)
        s:close()
        assert.equal("EBADF", select(3, reader:join()))
      end
    end))

    it("fails writes that wait", in_task(function()
      local _ <close>, near, far = streams.pair()
      local a = task.spawn(near.write, near, ("x"):rep(20 * 1024 * 1024))
      local b = task.spawn(near.write, near, "y")
      task.sleep(0.01)
      near:close()
      assert.equal("EBADF", select(3, a:join()))
      assert.equal("EBADF", select(3, b:join()))
      far:abort()
    end))

    it("leaves methods that fail, and never crash", in_task(function()
      local _ <close>, near = streams.pair()
      near:close()
      for _, method in ipairs { "read", "recv", "write", "shutdown", "detach", "stats",
        "getsockname", "getpeername" } do
        local ok, message, code = near[method](near)
        assert.same({ nil, "the stream is closed", "EBADF" }, { ok, message, code })
      end
      near:settimeout(1)
      near:setlimit(1)
      assert.matches("^stream %(closed%)", tostring(near))
    end))

    it("comes with the collector", in_task(function()
      local near = task.spawn(function()
        local both, near, far = streams.pair()
        both:release()
        far:write "bye"
        return near
      end):join()
      local _ <close> = near
      collectgarbage()
      collectgarbage()
      assert.equal("bye", near:read "a")
    end))

    it("may come from a finaliser while a read makes its string", in_task(function()
      local _ <close>, near, far = streams.pair()
      far:write(("x"):rep(2000))
      near:read(1)
      collectgarbage "generational" -- each step is a whole collection
      setmetatable({}, { __gc = function() near:close() end })
      collectgarbage "restart" -- the next new string makes one
      local data = near:read(1000)
      collectgarbage "incremental"
      assert.equal(1000, #data)
      assert.equal("EBADF", select(3, near:read(1)))
    end))
  end)

  describe("abort()", function()
    it("drops what is queued", in_task(function()
      local _ <close>, near, far = streams.pair()
      local taken = streams.stuff(near)
      near:abort()
      assert.equal(0, core.stream.lingering())
      assert.is_true((streams.swallow(far) or 0) < taken)
    end))
  end)

  describe("detach()", function()
    it("gives a descriptor that works", in_task(function()
      local _ <close>, near, far = streams.pair()
      local fd = near:detach()
      assert.matches("^stream %(closed%)", tostring(near))
      local again <close> = core.stream.fd(fd, true)
      again:write "over the same connection\n"
      assert.equal("over the same connection", far:read "l")
    end))

    it("is refused while bytes are buffered", in_task(function()
      local _ <close>, near, far = streams.pair()
      far:write "one\ntwo\n"
      near:read "l"
      assert.equal("EBUSY", select(3, near:detach()))
      assert.equal("two", near:read "l")
      streams.stuff(near)
      assert.equal("EBUSY", select(3, near:detach()))
      near:abort()
    end))

    it("fails a read that waits", in_task(function()
      local _ <close>, near = streams.pair()
      local reader = task.spawn(near.read, near)
      task.sleep(0)
      local _ <close> = core.stream.fd(near:detach(), true)
      assert.equal("EBADF", select(3, reader:join()))
    end))
  end)

  describe("getsockname() and getpeername()", function()
    it("name both ends", in_task(function()
      local _ <close>, near, far = streams.pair()
      assert.same({ near:getsockname() }, { far:getpeername() })
      assert.same({ near:getpeername() }, { far:getsockname() })
    end))
  end)
end)
