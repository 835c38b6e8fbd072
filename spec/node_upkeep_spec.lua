local core = require "p2pd.core"
local helper = require "spec.helper"
local outside = require "p2pd.net.outside"
local task = helper.task
local groups = require "p2pd.task"
local upkeep = require "p2pd.node.upkeep"

local WAIT = 5

-- An upkeep of a network that is a table: `seen` is the address that the outside sees, or nil.
local function open(fields)
  local state = { looks = 0, discoveries = 0, reconnects = {}, seen = "11.0.0.1",
    changed = core.task.condition() }
  for key, value in pairs(fields or {}) do state[key] = value end
  local route = { name = "n0", family = "ipv4", nic = "10.0.0.2", external = "11.0.0.1",
    external_known = true }
  local network = { routes = { route } }
  function network.look()
    state.looks = state.looks + 1
    state.changed:broadcast()
    return state.is_new or false
  end
  function network.discover()
    state.discoveries = state.discoveries + 1
    route.external, route.external_known = state.seen or route.nic, state.seen ~= nil
    return {}
  end
  function network.is_offline() return not route.external_known end
  function network.is_short() return false end
  function network.renew_mapping() state.renewals = (state.renewals or 0) + 1 end
  state.keeper = upkeep.new {
    network = network,
    settings = { stun = { {} } },
    signal = { reconnect = function(_, find_fault)
      table.insert(state.reconnects, find_fault("10.0.0.2", "11.1.1.1") or "no fault")
    end },
    time = { retry = function() end },
    servers = { targets = function() return { {} } end },
    tasks = state.tasks,
    on_discovery = function() state.changed:broadcast() end,
    on_change = function() state.changed:broadcast() end,
  }
  state.keeper:start()
  return state
end

describe("p2pd.node.upkeep", function()
  local ask, check, silent = outside.ask, upkeep.CHECK_S, upkeep.SILENT_CHECK_S
  local state

  before_each(function()
    upkeep.CHECK_S, upkeep.SILENT_CHECK_S = 0.01, 0.005
    outside.ask = function() return state.seen, "timed out", "ETIMEDOUT" end
  end)
  after_each(function()
    upkeep.CHECK_S, upkeep.SILENT_CHECK_S, outside.ask = check, silent, ask
  end)

  local function begin(fields)
    local tasks = groups.group()
    fields = fields or {}
    fields.tasks = tasks
    state = open(fields)
    return setmetatable({}, { __close = function()
      tasks:cancel()
      state = nil
    end })
  end

  local function wait_for(condition)
    local limit = core.clock.monotonic() + WAIT
    while not condition() do
      assert(core.clock.monotonic() < limit, "it did not come about")
      state.changed:wait(0.01)
    end
  end

  it("asks the servers once, and no more while all is as it was", task(function()
    local held <close> = begin()
    wait_for(function() return state.discoveries == 1 end)
    state.keeper:request "nothing"
    wait_for(function() return state.looks == 1 end)
    core.task.sleep(0.05)
    assert.same({ 1, {} }, { state.discoveries, state.reconnects })
    assert.is_truthy(held)
  end))

  it("asks them when the host's network is another one", task(function()
    local held <close> = begin()
    wait_for(function() return state.discoveries == 1 end)
    state.is_new = true
    function state.keeper.network.has() return false end
    state.keeper:request "the kernel tells of a change"
    wait_for(function() return state.discoveries == 2 end)
    assert.same({ "its local address is gone" }, state.reconnects)
    assert.is_truthy(held)
  end))

  it("believes the outside, and mistrusts its connections then", task(function()
    local held <close> = begin()
    wait_for(function() return state.discoveries == 1 end)
    state.seen = "11.0.0.2"
    wait_for(function() return #state.reconnects == 1 end)
    assert.same({ 2, { "our address outside is another one" } }, { state.discoveries, state.reconnects })
    assert.is_truthy(held)
  end))

  it("is patient with a NAT that has several addresses", task(function()
    local held <close> = begin()
    wait_for(function() return state.discoveries == 1 end)
    local turn = 0
    outside.ask = function()
      turn = turn + 1
      state.seen = "11.0.0." .. turn % 3
      return state.seen
    end
    wait_for(function() return turn > 60 end)
    assert.is_true(state.discoveries < 10)
    assert.is_truthy(held)
  end))

  it("asks again when a silent outside answers", task(function()
    local held <close> = begin()
    wait_for(function() return state.discoveries == 1 end)
    state.seen = nil
    wait_for(function() return state.keeper.silences >= 3 end)
    assert.equal(1, state.discoveries)
    state.seen = "11.0.0.1"
    wait_for(function() return state.discoveries == 2 end)
    assert.same({ "the network was away" }, state.reconnects)
    assert.equal(1, state.renewals)
    assert.is_truthy(held)
  end))

  it("looks again when a broker's connection breaks", task(function()
    local held <close> = begin()
    wait_for(function() return state.discoveries == 1 end)
    state.keeper:on_broker("offline", "online")
    wait_for(function() return state.looks == 1 end)
    assert.is_truthy(held)
  end))
end)
