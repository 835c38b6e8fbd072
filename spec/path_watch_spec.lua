local helper = require "spec.helper"
local path_watch = require "p2pd.path_watch"
local task = helper.task

describe("p2pd.path_watch", function()
  -- What is told of a pipe whose strategy is this at each look.
  local function told_of(looks)
    local at = 0
    local pipe = setmetatable({ info = function()
      at = at + 1
      return looks[at] ~= nil
    end }, { __index = function(_, key) return key == "strategy" and looks[math.max(at, 1)] or nil end })
    local told = {}
    path_watch.run(pipe, function(strategy) told[#told + 1] = strategy or "none" end)
    return told
  end

  it("tells each change, until the pipe is over", task(function()
    assert.same({ "none", "relay" }, told_of { "direct", "direct", false, false, "relay" })
  end))

  it("tells of a path that is gone already", task(function()
    assert.same({ "none", "direct" }, told_of { false, "direct" })
  end))
end)
