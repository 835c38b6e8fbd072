local core = require "p2pd.core"
local helper = require "spec.helper"
local nodes = require "spec.nodes"
local streams = require "spec.streams"
local task = require "p2pd.task"
local in_task = helper.task

local WAIT = 10

describe("p2pd.core.simplex_pair", function()
  -- One joined end, its ending, and the insecure other ends of its two halves.
  local function half(pulse)
    local hold_in, near_in, far_out = streams.pair()
    local hold_out, near_out, far_in = streams.pair()
    local ending = assert(core.simplex_pair.join(near_in, near_out, pulse))
    for _, stream in ipairs { near_in, far_out, far_in } do stream:settimeout(WAIT) end
    return task.hold(hold_in, hold_out), near_in, ending, far_in, far_out
  end

  -- Both ends joined, with their endings.
  local function pair(pulse)
    local held, near, near_end, far_in, far_out = half(pulse)
    local far_end = assert(core.simplex_pair.join(far_in, far_out, pulse))
    return held, near, far_in, near_end, far_end
  end

  it("carries bytes both ways", in_task(function()
    local _ <close>, near, far = pair()
    assert(near:write("one\ntwo", "\n"))
    assert.same({ "one", "two" }, { far:read("l", "l") })
    assert(far:write "back\n")
    assert.equal("back", near:read "l")
  end))

  it("is lengths and bytes on the wire, an end, and an answer to the other's end", in_task(function()
    local _ <close>, near, ending, far_in, far_out = half()
    near:write "hello"
    near:write(("x"):rep(70000))
    near:shutdown()
    assert.equal("\0\5hello\xff\xfd", far_in:read(9))
    assert.equal(("x"):rep(65533) .. "\x11\x73" .. ("x"):rep(4467) .. "\0\0",
      far_in:read(65533 + 2 + 4467 + 2))
    far_out:write "\0\2ab\0\0"
    assert.equal("ab", near:read "a")
    assert.equal("\xff\xff", far_in:read(2))
    near:close()
    assert.equal("ETIMEDOUT", select(3, ending:wait(0)))
    far_out:write "\xff\xff"
    assert.is_true(ending:wait(WAIT))
  end))

  it("reads what comes in single bytes, and what came before it was made", in_task(function()
    local hold_in <close>, near, far = streams.pair()
    local hold_out <close>, near_out = streams.pair()
    far:write "\0\3a"
    assert.equal("\0", near:peek(1):sub(1, 1))
    assert(core.simplex_pair.join(near, near_out))
    local _ <close> = task.spawn(function()
      for byte in ("bc\0\1d\0\0"):gmatch "." do
        far:write(byte)
        task.sleep(0)
      end
    end)
    near:settimeout(WAIT)
    assert.equal("abcd", near:read "a")
    assert.is_not_nil(hold_in)
    assert.is_not_nil(hold_out)
  end))

  describe("signs of life", function()
    local PULSE = 0.05

    it("are lengths without bytes, again and again", in_task(function()
      local _ <close>, near, _, far_in = half(PULSE)
      assert.equal("\xff\xfe\xff\xfe", far_in:read(4))
      assert.is_not_nil(near)
    end))

    it("let a reader, and a writer, notice that the peer has vanished", in_task(function()
      local _ <close>, near, _, _, far_out = half(PULSE)
      near:setsilence(1)
      local writing <close> = task.spawn(function()
        local ok, message, code
        repeat
          ok, message, code = near:write "x"
          task.sleep(PULSE)
        until not ok
        return message, code
      end)
      far_out:write "\0\5hello"
      assert.equal("hello", near:read(5))
      assert.same({ n = 3, nil, "read: the peer vanished", "ETIMEDOUT" }, table.pack(near:read()))
      assert.same({ n = 2, "write: the peer vanished", "ETIMEDOUT" }, table.pack(writing:join(WAIT)))
    end))

    it("keep a pair on which nobody reads or writes, and lose nothing of what waits", in_task(function()
      local _ <close>, near, far = pair(PULSE)
      near:setsilence(1)
      far:setsilence(1)
      far:write(("x"):rep(1000))
      task.sleep(1.5)
      assert.equal(("x"):rep(1000), near:read(1000))
      near:write "y\n"
      assert.equal("y", far:read "l")
    end))

    it("are not missed where more is unread than is looked through", in_task(function()
      local _ <close>, near, far = pair(PULSE)
      near:setsilence(1)
      local count = 4 * 1024 * 1024
      local writing <close> = task.spawn(function() return far:write(("x"):rep(count)) end)
      task.sleep(1.5)
      assert.equal(count, #near:read(count))
      assert.is_not_nil(writing:join(WAIT))
    end))
  end)

  it("ends one direction while the other goes on", in_task(function()
    local _ <close>, near, far = pair()
    near:write "question"
    near:shutdown()
    assert.equal("question", far:read "a")
    assert(far:write(("answer"):rep(100000)))
    far:shutdown()
    assert.equal(600000, #near:read "a")
    assert.equal("EPIPE", select(3, near:write "more"))
  end))

  it("takes no end without the mark for one", in_task(function()
    for _, bytes in ipairs { "", "\0", "\0\5", "\0\5hell", "\xff\xff" } do
      local _ <close>, near, _, _, far_out = half()
      far_out:write(bytes)
      far_out:close()
      assert.equal("ECONNRESET", select(3, near:read "a"))
    end
  end))

  it("takes nothing after the mark", in_task(function()
    local _ <close>, near, ending, _, far_out = half()
    far_out:write "\0\0\0\1x"
    assert.is_nil((near:read "l"))
    near:close()
    assert.is_true(ending:wait(WAIT))
  end))

  it("hears when what it writes reaches nobody", in_task(function()
    local _ <close>, near, _, far_in = half()
    far_in:abort()
    local deadline = core.clock.monotonic() + WAIT
    local code
    repeat
      code = select(3, near:write(("x"):rep(1000)))
      task.sleep(0)
    until code or core.clock.monotonic() > deadline
    assert.is_true(code == "EPIPE" or code == "ECONNRESET", code)
  end))

  it("moves much both ways at once", in_task(function()
    local _ <close>, near, far = pair()
    local size = 8000000
    local data = ("0123456789abcdef"):rep(size // 16)
    local function send(stream)
      return function()
        assert(stream:write(data))
        assert(stream:shutdown())
        return true
      end
    end
    local function receive(stream)
      return function() return stream:read "a" == data end
    end
    assert.same({ true, true, true, true },
      { task.all { send(near), send(far), receive(near), receive(far) } })
  end))

  describe("ending", function()
    it("comes when both sides have closed", in_task(function()
      local _ <close>, near, far, near_end, far_end = pair()
      near:close()
      assert.equal("ETIMEDOUT", select(3, near_end:wait(0)))
      assert.is_nil((far:read "l"))
      far:close()
      assert.is_true(near_end:wait(WAIT))
      assert.is_true(far_end:wait(WAIT))
      assert.is_true(far_end:wait())
    end))

    it("comes when the peer has gone", in_task(function()
      local _ <close>, near, ending, far_in, far_out = half()
      near:write "x"
      near:close()
      far_in:close()
      far_out:close()
      assert.is_true(ending:wait(WAIT))
    end))

    it("comes at once when the stream is aborted, which the peer can tell from an end", in_task(function()
      local _ <close>, near, far, ending = pair()
      near:abort()
      assert.is_true(ending:wait(WAIT))
      assert.equal("ECONNRESET", select(3, far:read "a"))
    end))

    it("lets everything out first, whatever the peer still says", in_task(function()
      local _ <close>, near, far, ending = pair()
      local size = 8000000
      local _ <close> = task.spawn(function()
        near:write(("x"):rep(size))
        near:close()
      end)
      far:write(("y"):rep(100000))
      assert.equal(size, streams.swallow(far))
      far:close()
      assert.is_true(ending:wait(WAIT))
    end))

    it("does not come before the peer has read everything", in_task(function()
      local _ <close>, near, far, ending = pair()
      far:shutdown()
      assert.is_nil((near:read "l"))
      near:write "last words"
      near:close()
      assert.equal("ETIMEDOUT", select(3, ending:wait(0.05)))
      assert.equal("last words", far:read "a")
      assert.is_true(ending:wait(WAIT))
      far:close()
    end))

    it("can be forced, and then reads and writes fail", in_task(function()
      local _ <close>, near, far, ending = pair()
      local reader = task.spawn(function() return select(3, near:read "l") end)
      task.sleep(0)
      ending:fail()
      assert.equal("ECONNABORTED", reader:join(WAIT))
      assert.equal("ECONNABORTED", select(3, near:write "x"))
      near:close()
      assert.is_true(ending:wait(WAIT))
      ending:fail()
      assert.equal("ECONNRESET", select(3, far:read "a"))
    end))

    it("of a closed stream can be forced as well", in_task(function()
      local _ <close>, near, far, ending = pair()
      near:close()
      ending:fail()
      assert.is_true(ending:wait(WAIT))
      far:close()
    end))
  end)

  describe("below TLS", function()
    local alice, bob = nodes.new(("a"):rep(32)), nodes.new(("b"):rep(32))

    it("carries it, with its halves and its end", in_task(function()
      local _ <close>, near, far, near_end = pair()
      nodes.encrypt(near, alice, far, bob)
      local size = 3000000
      local _ <close> = task.spawn(function()
        near:write(("x"):rep(size))
        near:shutdown()
      end)
      assert.equal(size, #far:read "a")
      far:write(("y"):rep(size))
      far:close()
      assert.equal(size, #near:read "a")
      near:close()
      assert.is_true(near_end:wait(WAIT))
    end))
  end)

  it("needs two open streams with empty buffers", in_task(function()
    local _ <close>, near, far = streams.pair()
    assert.has_error(function() core.simplex_pair.join(near, near) end)
    near:write "x"
    far:peek(1)
    assert.has_error(function() core.simplex_pair.join(near, far) end)
    streams.stuff(near)
    assert.equal("EBUSY", select(3, core.simplex_pair.join(near, far)))
    near:abort()
    assert.has_error(function() core.simplex_pair.join(far, near) end)
  end))
end)
