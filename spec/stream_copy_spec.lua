local core = require "p2pd.core"
local helper = require "spec.helper"
local pipe = require "p2pd.pipe"
local streams = require "spec.streams"
local task = require "p2pd.task"
local in_task = helper.task

local copy = core.splice.copy
local SIZE = 3 * 1024 * 1024

-- a - b, to be copied to c - d.
local function chain()
  local one, a, b = streams.pair()
  local two, c, d = streams.pair()
  return task.hold(one, two), a, b, c, d
end

describe("p2pd.core.splice.copy()", function()
  it("copies one way until the end, and ends neither", in_task(function()
    local _ <close>, a, b, c, d = chain()
    local text = core.random.bytes(250):rep(SIZE // 250)
    local copying <close> = task.spawn(copy, b, c)
    local reading <close> = task.spawn(d.read, d, #text)
    a:write(text)
    a:shutdown()
    assert.equal(#text, copying:join())
    assert.is_true(reading:join() == text)
    c:write "more"
    assert.equal("more", d:read(4))
    b:write "back"
    assert.equal("back", a:read(4))
  end))

  it("passes on what had been read already, and an end that was there", in_task(function()
    local _ <close>, a, b, c, d = chain()
    a:write "first\nsecond\n"
    a:shutdown()
    assert.equal("first", b:read "l")
    assert.equal(7, copy(b, c))
    assert.equal("second", d:read "l")
    assert.equal(0, copy(b, c))
  end))

  it("stops reading while the other is slow, and goes on", in_task(function()
    local _ <close>, a, b, c, d = chain()
    local copying <close> = task.spawn(copy, b, c)
    local taken = streams.stuff(a)
    assert.is_true(taken < 40 * 1024 * 1024)
    a:shutdown()
    local swallowing <close> = task.spawn(d.read, d, taken)
    assert.equal(taken, copying:join())
    assert.equal(taken, #swallowing:join())
  end))

  it("lets others write between its pieces, and read the other way", in_task(function()
    local _ <close>, a, b, c, d = chain()
    local copying <close> = task.spawn(copy, b, c)
    local reading <close> = task.spawn(function()
      local counts = { x = 0, y = 0 }
      while counts.x + counts.y < 2 * SIZE do
        local data = d:recv()
        local ys = select(2, data:gsub("y", ""))
        counts.y, counts.x = counts.y + ys, counts.x + #data - ys
      end
      return counts
    end)
    local writing <close> = task.spawn(function()
      for _ = 1, SIZE // 65536 do assert(c:write(("y"):rep(65536))) end
    end)
    a:write(("x"):rep(SIZE))
    a:shutdown()
    assert.equal(SIZE, copying:join())
    writing:join()
    assert.same({ x = SIZE, y = SIZE }, reading:join())
    d:write "back"
    assert.equal("back", c:read(4))
  end))

  it("tells which of the two has failed", in_task(function()
    local _ <close>, a, b, c = chain()
    local copying <close> = task.spawn(copy, b, c)
    a:write "x"
    task.sleep(0.01)
    a:reset()
    local result = table.pack(copying:join())
    assert.same({ "ECONNRESET", 1, "read" }, { table.unpack(result, 3, 5) })
    local _ <close>, e, f, g, h = chain()
    h:reset()
    e:write(("x"):rep(100000))
    repeat -- until the reset has come
      e:write "x"
      result = table.pack(task.timeout(0.05, copy, f, g))
    until result[3] ~= "ETIMEDOUT"
    assert.equal("write", result[5])
  end))

  it("is over when one of them is closed, and can be cancelled", in_task(function()
    local _ <close>, _, b, c = chain()
    local copying <close> = task.spawn(copy, b, c)
    task.sleep(0)
    b:close()
    assert.same({ nil, "the stream is closed", "EBADF", 0, "read" }, { copying:join() })
    local _ <close>, e, f, g = chain()
    local again = task.spawn(copy, f, g)
    task.sleep(0)
    assert.has_error(function() copy(f, c) end)
    again:cancel()
    e:write "mine\n"
    assert.equal("mine", f:read "l")
    again = task.spawn(copy, f, g)
    task.sleep(0)
    g:close()
    e:write "late"
    assert.same({ nil, "the stream is closed", "EBADF", 0, "write" }, { again:join() })
  end))

  it("times out as its streams do", in_task(function()
    local _ <close>, _, b, c = chain()
    b:settimeout(0.01)
    assert.same({ nil, "timed out", "ETIMEDOUT", 0 }, { copy(b, c) })
  end))

  it("raises for what is no stream, and for a stream with itself", in_task(function()
    local _ <close>, a = streams.pair()
    assert.has_error(function() copy(a, a) end)
    assert.has_error(function() copy(a, 5) end)
  end))
end)

describe("p2pd.pipe", function()
  local function unaccepted(stream)
    return pipe.new(stream, { strategy = "direct", peer = "PEER", awaits_verdict = true })
  end

  it("copies to a stream once the peer has taken it", in_task(function()
    local _ <close>, a, b, c, d = chain()
    a:write("P2PD/1 accepted\n", "hello")
    a:shutdown()
    assert.equal(5, unaccepted(b):copy_to(c))
    assert.equal("hello", d:read(5))
  end))

  it("takes what a stream gives before the peer has said that it takes the pipe", in_task(function()
    local _ <close>, a, b, c, d = chain()
    a:write "hello"
    a:shutdown()
    assert.equal(5, unaccepted(c):copy_from(b))
    assert.equal("hello", d:read(5))
  end))

  it("is refused both ways", in_task(function()
    for _, method in ipairs { "copy_to", "copy_from" } do
      local _ <close>, a, b, c = chain()
      a:write "P2PD/1 refused not you\n"
      local one = unaccepted(b)
      if method == "copy_from" then one:recv() end
      assert.same({ nil, "refused by the peer: not you", "EACCES", 0, true }, { one[method](one, c) })
    end
  end))
end)
