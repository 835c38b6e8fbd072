local counter = require "p2pd.punch.counter"
local core = require "p2pd.core"
local helper = require "spec.helper"
local p2pd = require "p2pd"
local task = helper.task

local WAIT = 10

local function new_node()
  local kept = {}
  return { keep = function(_, key, make)
    kept[key] = kept[key] or make()
    return kept[key]
  end }
end

local function pair(nic)
  return { family = "ipv4", route = { nic = nic or "192.0.2.1" } }
end

describe("p2pd.punch.counter", function()
  it("gives the turn to one after the other", task(function()
    local node, order = new_node(), {}
    local first = counter.take(node, pair(), WAIT)
    local second = p2pd.spawn(function()
      local _ <close> = counter.take(node, pair(), WAIT)
      order[#order + 1] = "second"
    end)
    p2pd.sleep(0)
    order[#order + 1] = "first"
    first:close()
    second:join(WAIT)
    assert.same({ "first", "second" }, order)
  end))

  it("is one for each interface and node", task(function()
    local node = new_node()
    local a <close> = counter.take(node, pair(), WAIT)
    local b <close> = counter.take(node, pair "192.0.2.2", WAIT)
    local c <close> = counter.take(new_node(), pair(), WAIT)
    assert(a and b and c)
  end))

  it("is not waited for without end, and is not ended by who has lost it", task(function()
    local node = new_node()
    local first = counter.take(node, pair(), WAIT)
    local second = counter.take(node, pair(), 0.02)
    first:close()
    local waited = core.clock.monotonic()
    local _ <close> = counter.take(node, pair(), 0.02)
    assert.is_true(core.clock.monotonic() - waited >= 0.02)
    second:close()
  end))

  it("is over some time after the instant", task(function()
    local node = new_node()
    local turn, at = counter.take(node, pair(), WAIT), core.clock.monotonic() + 0.02
    local ending <close> = p2pd.spawn(turn.close_after, turn, at, 0.01)
    local next_turn <close> = counter.take(node, pair(), WAIT)
    assert(ending and next_turn)
    assert.is_true(core.clock.monotonic() >= at)
  end))
end)
