--- Policies: which strategies of a dial run when. A policy is a function of the dial; it calls
-- `dial:attempt(name, seconds)` for a strategy and returns the stream that it chose, or nil.
-- @module p2pd.policy
local core = require "p2pd.core"
local task = require "p2pd.task"

local policy = {}

-- Seconds that a strategy is given at most.
local BUDGET = { direct = 2, reverse = 4, punch = 20, relay = 20 }
local BUDGET_OTHER = 20

-- Seconds that cheaper ones have before a strategy starts, and how cheap it is. What takes it long it may
-- prepare after half of them.
local HEAD_START = { relay = 1 }
local COST = { direct = 1, reverse = 2, punch = 3, relay = 5 }
local COST_OTHER = 4
local GRACE = 0.05 -- seconds for which a cheaper stream may still land

--- The classic order: one strategy after the other.
-- @tparam dial dial
-- @treturn ?stream stream and the strategy's name
function policy.sequence(dial)
  for _, name in ipairs(dial.strategies) do
    local stream = dial:attempt(name, BUDGET[name] or BUDGET_OTHER)
    if stream then return stream, name end
  end
end

-- The landed streams; the cheapest is taken, the rest are closed.
local Landing = {}
Landing.__index = Landing

function Landing:__close()
  for _, entry in ipairs(self) do entry.stream:close() end
end

function Landing:cheapest()
  table.sort(self, function(a, b) return a.cost < b.cost end)
  return self[1]
end

local function is_cheapest(dial, name)
  for _, other in ipairs(dial.strategies) do
    if (COST[other] or COST_OTHER) < (COST[name] or COST_OTHER) then return false end
  end
  return true
end

-- Starts every strategy; `race` says what runs and what has landed, and `changed` wakes at each end.
local function start_all(race, dial, children)
  for _, name in ipairs(dial.strategies) do
    race.running[name] = true
    children:spawn(function()
      local _ <close> = setmetatable({}, { __close = function()
        race.running[name] = nil
        race.changed:signal()
      end })
      if HEAD_START[name] and not is_cheapest(dial, name) then
        task.sleep(HEAD_START[name] / 2)
        dial:prepare(name)
        task.sleep(HEAD_START[name] / 2)
      end
      local stream = dial:attempt(name, BUDGET[name] or BUDGET_OTHER)
      if stream then
        table.insert(race.landed, { stream = stream, name = name, cost = COST[name] or COST_OTHER })
      end
    end)
  end
end

local function is_cheaper_running(race)
  for name in pairs(race.running) do
    if (COST[name] or COST_OTHER) < race.landed:cheapest().cost then return true end
  end
end

--- All at once, with head starts: the first verified stream wins, unless a cheaper one lands within a short
-- grace.
-- @tparam dial dial
-- @treturn ?stream stream and the strategy's name
function policy.race(dial)
  local landed <close> = setmetatable({}, Landing)
  local race = { landed = landed, running = {}, changed = task.condition() }
  local children <close> = task.group()
  start_all(race, dial, children)
  while not landed[1] and next(race.running) do race.changed:wait() end
  local deadline = core.clock.monotonic() + GRACE
  while landed[1] and is_cheaper_running(race) do
    if not race.changed:wait(math.max(0, deadline - core.clock.monotonic())) then break end
  end
  local winner = landed:cheapest() and table.remove(landed, 1)
  if winner then return winner.stream, winner.name end
end

return policy
