--- Places that are held: so many for each key. Who holds one gives it back, or is made to.
-- @classmod p2pd.limit.places
local places = {}

local Places = { __name = "p2pd.limit.places" }
Places.__index = Places

--- Places that are held for a while, so many for each key.
-- @tparam integer number for each key
-- @tparam[opt] string yields "peer" or "source": by what holders are told apart when a newcomer finds all
-- places taken; without it nobody gives way
-- @tparam[opt=inf] number tenure seconds for which a place is safe when everybody has as many
function places.new(number, yields, tenure)
  return setmetatable({ number = number, yields = yields, tenure = tenure or math.huge, counts = {},
    held = setmetatable({}, { __mode = "k" }) }, Places)
end

--- How many a key holds.
function Places:count(key)
  return self.counts[key] or 0
end

--- Whether there is room for one more.
function Places:has_room(key)
  return self:count(key) < self.number
end

--- Takes one, for a place.
-- @param key
-- @tparam table place `who`, `since`, `idle` (true while it has shown no sign of life)
function Places:add(key, place)
  self.counts[key] = self:count(key) + 1
  if self.yields then self.held[place] = true end
end

--- Gives it back.
function Places:remove(key, place)
  local left = self:count(key) - 1
  self.counts[key], self.held[place] = left > 0 and left or nil, nil
end

-- Those without a sign of life first, then the oldest.
local function is_before(a, b)
  if not b then return true end
  if (a.idle or false) ~= (b.idle or false) then return a.idle or false end
  return a.since < b.since
end

local function count_holders(self)
  local holders, first = {}, nil
  for place in pairs(self.held) do
    local name = place.who[self.yields] or "?"
    local holder = holders[name] or { count = 0 }
    holders[name] = holder
    holder.count = holder.count + 1
    if is_before(place, holder.first) then holder.first = place end
    if is_before(place, first) then first = place end
  end
  return holders, first
end

--- Whose place a newcomer may have.
-- @tparam table who the newcomer
-- @tparam number now
-- @treturn ?table the place; nil: nobody gives way
function Places:find_victim(who, now)
  if not self.yields then return nil end
  local holders, first = count_holders(self)
  local mine = holders[who[self.yields] or "?"]
  local heaviest = { count = (mine and mine.count or 0) + 1 }
  for _, holder in pairs(holders) do
    if holder.count > heaviest.count then heaviest = holder end
  end
  if heaviest.first then return heaviest.first end
  if mine or not first then return nil end
  return (first.idle or now - first.since >= self.tenure) and first or nil
end

return places
