--- A table that forgets: its entries live in generations, and the oldest generation goes as a whole, when it
-- is old or when there are too many entries. Pure: the caller brings the time.
-- @classmod p2pd.expiring_map
local expiring_map = {}

local ExpiringMap = { __name = "p2pd.expiring_map" }
ExpiringMap.__index = ExpiringMap

--- Makes an empty one.
-- @tparam integer size entries that are remembered for certain; twice as many are remembered at most
-- @tparam[opt] number seconds for which an entry is remembered, unless there are too many; twice that at most
function expiring_map.new(size, seconds)
  return setmetatable({ size = size, seconds = seconds or math.huge, young = {}, old = {}, count = 0,
    since = nil }, ExpiringMap)
end

local function turn(self, now)
  local is_stale = now - self.since >= 2 * self.seconds
  self.old, self.young = is_stale and {} or self.young, {}
  self.count, self.since = 0, now
end

--- Remembers a value.
-- @param key
-- @param value not nil
-- @tparam number now seconds
function ExpiringMap:set(key, value, now)
  self.since = self.since or now
  if self.count >= self.size or now - self.since >= self.seconds then turn(self, now) end
  if self.young[key] == nil then self.count = self.count + 1 end
  self.young[key] = value
end

--- The value of a key, or nil.
function ExpiringMap:get(key)
  local value = self.young[key]
  if value == nil then value = self.old[key] end
  return value
end

--- Forgets a key.
function ExpiringMap:remove(key)
  if self.young[key] ~= nil then self.count = self.count - 1 end
  self.young[key], self.old[key] = nil, nil
end

return expiring_map
