local core = require "p2pd.core"
local helper = require "spec.helper"

describe("p2pd.core", function()
  it("keeps the tasks that run when it is opened again", helper.task(function()
    local again = assert(package.loadlib(package.searchpath("p2pd.core", package.cpath), "luaopen_p2pd_core"))
    local waiting = core.task.condition()
    local task <close> = core.task.spawn(function() return waiting:wait() and core.task.running() end)
    core.task.sleep(0)
    again()
    collectgarbage()
    waiting:signal()
    assert.equal(task, task:join())
  end))
end)
