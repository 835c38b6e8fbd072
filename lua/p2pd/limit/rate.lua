--- A rate: so many in so many seconds, so many at once; for each key one of its own. Of a key one number is
-- remembered, the time at which it has recovered (the generic cell rate algorithm). Pure: the caller brings
-- the time.
-- @classmod p2pd.limit.rate
local expiring_map = require "p2pd.expiring_map"

local rate = {}

local KEYS = 8192 -- remembered for certain; what can come in is limited by other budgets

local Rate = { __name = "p2pd.limit.rate" }
Rate.__index = Rate

--- So many in so many seconds, for each key.
-- @tparam number number how many
-- @tparam number seconds
-- @tparam number burst how many may come at once
function rate.new(number, seconds, burst)
  local interval = seconds / number
  return setmetatable({ interval = interval, slack = burst * interval,
    recovered = expiring_map.new(KEYS, burst * interval) }, Rate)
end

local function recovered_at(self, key, now)
  return math.max(now, self.recovered:get(key) or now)
end

--- How many there could be now.
-- @param key
-- @tparam number now seconds on a scale that never jumps
-- @treturn integer
function Rate:room(key, now)
  local left = now + self.slack - recovered_at(self, key, now)
  return math.max(0, math.floor(left / self.interval + 1e-9))
end

--- Takes some, whether there is room or not.
-- @param key
-- @tparam number now
-- @tparam integer count
function Rate:use(key, now, count)
  self.recovered:set(key, recovered_at(self, key, now) + count * self.interval, now)
end

--- Takes one if there is room.
-- @param key
-- @tparam number now
-- @treturn boolean
function Rate:take(key, now)
  if self:room(key, now) < 1 then return false end
  self:use(key, now, 1)
  return true
end

return rate
