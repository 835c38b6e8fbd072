local helper = require "spec.helper"
local path_watch = require "p2pd.path_watch"
local task = helper.task

describe("p2pd.path_watch", function()
  it("tells each change, until the pipe is over", task(function()
    local looks, at = { "direct", "direct", false, false, "relay" }, 0
    local pipe = setmetatable({ info = function()
      at = at + 1
      return looks[at] ~= nil
    end }, { __index = function(_, key) return key == "strategy" and looks[math.max(at, 1)] or nil end })
    local told = {}
    path_watch.run(pipe, function(strategy) told[#told + 1] = strategy or "none" end)
    assert.same({ "none", "relay" }, told)
  end))
end)
