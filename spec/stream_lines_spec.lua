local helper = require "spec.helper"
local streams = require "spec.streams"
local task = require "p2pd.task"
require "p2pd.stream" -- adds the methods
local in_task = helper.task

local function collect(...)
  local seen = {}
  for line, capture in ... do seen[#seen + 1] = { line, capture } end
  return seen
end

describe("p2pd.stream.lines", function()
  it("goes through lines, and takes formats", in_task(function()
    local _ <close>, near, far = streams.pair()
    near:write "a\nb"
    near:shutdown()
    assert.same({ { "a" }, { "b" } }, collect(far:lines()))
    local _ <close>, one, other = streams.pair()
    one:write "abc"
    one:shutdown()
    assert.same({ { "a" }, { "b" }, { "c" } }, collect(other:lines(1)))
  end))

  it("gives the lines that match a pattern, and what it captures", in_task(function()
    local _ <close>, near, far = streams.pair()
    near:write "hello bob\nnoise\nhello eve\n"
    near:shutdown()
    assert.same({ { "hello bob", "bob" }, { "hello eve", "eve" } }, collect(far:lines "^hello (%a+)"))
  end))

  it("serves several tasks, each with its pattern", in_task(function()
    local _ <close>, near, far = streams.pair()
    local words <close> = task.spawn(function() return collect(far:lines "%a") end)
    local digits <close> = task.spawn(function() return collect(far:lines "%d") end)
    near:write "a\n1\nb2\n-\n"
    near:shutdown()
    assert.same({ { { "a" }, { "b2" } }, { { "1" }, { "b2" } } }, { words:join(), digits:join() })
  end))

  it("goes on for the others when the one who reads is cancelled or leaves", in_task(function()
    local _ <close>, near, far = streams.pair()
    local first = task.spawn(function() return collect(far:lines "x") end)
    local second <close> = task.spawn(function() return collect(far:lines "y") end)
    task.sleep(0)
    task.sleep(0)
    first:cancel()
    near:write(("x\n"):rep(200), "y\n")
    near:shutdown()
    assert.same({ { "y" } }, (second:join(5)))
    local _ <close>, one, other = streams.pair()
    one:write "x 1\nx 2\n"
    for line in other:lines "x" do
      if line == "x 2" then break end
    end
    one:write(("x\n"):rep(200), "y\n")
    one:shutdown()
    assert.same({ { "y" } }, collect(other:lines "y"))
  end))

  it("waits for a loop that is slow", in_task(function()
    local _ <close>, near, far = streams.pair()
    local count = 0
    local slow <close> = task.spawn(function()
      for _ in far:lines "." do
        count = count + 1
        task.sleep(0)
      end
    end)
    local none <close> = task.spawn(function() return collect(far:lines "z") end)
    near:write(("x\n"):rep(300))
    near:shutdown()
    slow:join(5)
    assert.same({ 300, {} }, { count, (none:join(5)) })
  end))

  it("raises on a failure, and for what is no pattern", in_task(function()
    local _ <close>, near = streams.pair()
    near:settimeout(0.01)
    for _, format in ipairs { "l", "^x" } do
      local ok, message = pcall(collect, near:lines(format))
      assert.same({ false, true }, { ok, message:find "timed out" ~= nil })
    end
    assert.has_error(function() near:lines "%" end)
  end))
end)
