local core = require "p2pd.core"
local events = require "p2pd.node.events"
local helper = require "spec.helper"
local task = helper.task

describe("p2pd.node.events", function()
  local function hub(...)
    local present = { ... }
    return events.new(function() return table.move(present, 1, #present, 1, {}) end)
  end

  it("tells a late listener the present state first", task(function()
    local all = hub({ type = "address", address = "x" })
    local listener <close> = all:listen()
    all:emit("pipe", { peer = "bob" })
    assert.same({ type = "address", address = "x" }, listener:next(0))
    assert.same({ type = "pipe", peer = "bob" }, listener:next(0))
    assert.same({ nil, "timed out", "ETIMEDOUT" }, { listener:next(0) })
  end))

  it("is an iterator until the node is closed", task(function()
    local all, seen = hub({ type = "one" }), {}
    local listener = all:listen()
    all:emit("two", {})
    all:close()
    for event in listener do seen[#seen + 1] = event.type end
    assert.same({ "one", "two" }, seen)
    assert.same({ nil, "the node is closed", "EBADF" }, { all:listen():next() })
  end))

  it("wakes who waits", task(function()
    local all = hub()
    local listener <close> = all:listen()
    local waiting <close> = core.task.spawn(function() return listener:next(5).type end)
    core.task.sleep(0)
    all:emit("nat", {})
    assert.equal("nat", waiting:join(5))
  end))

  it("keeps so many for a slow listener, and says how many it has lost", task(function()
    local all = hub()
    local slow <close> = all:listen()
    for i = 1, events.QUEUE_MAX + 3 do all:emit("pipe", { id = i }) end
    assert.same({ type = "pipe", id = 4, missed = 3 }, slow:next(0))
    assert.same({ type = "pipe", id = 5 }, slow:next(0))
  end))

  it("forgets a listener that is closed, or forgotten", task(function()
    local all = hub()
    do
      local listener <close> = all:listen()
      assert.is_true(all:is_heard())
      assert.is_truthy(listener)
    end
    collectgarbage()
    assert.is_false(all:is_heard())
  end))
end)
