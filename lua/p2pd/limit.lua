--- Limits: whoever does something on a peer's behalf asks here first. @{p2pd.limit.budgets} says how much
-- there is of what, and why.
--
-- `who` tells for whom: `peer` (a node id), `source` and `target` (addresses), `step` (see
-- @{p2pd.limit.trust}; without it the peer's).
-- @classmod p2pd.limit
local budgets = require "p2pd.limit.budgets"
local core = require "p2pd.core"
local places = require "p2pd.limit.places"
local rate = require "p2pd.limit.rate"
local refusals = require "p2pd.limit.refusals"
local source = require "p2pd.limit.source"
local trust = require "p2pd.limit.trust"

local limit = {}

local Limit = { __name = "p2pd.limit" }
Limit.__index = Limit

-- -- settings

local FIELDS = { number = true, seconds = true, burst = true, share = true, tenure = true }

local function is_count(value)
  return type(value) == "number" and value >= 0 and value < math.huge
end

local function find_fault(name, value)
  local known
  for _, line in ipairs(budgets) do known = known or line.name == name and line end
  if not known then return ("no limit is called %s"):format(tostring(name)) end
  if is_count(value) then return nil end
  if type(value) ~= "table" then
    return ("%s is %s, and not a number or a table"):format(name, tostring(value))
  end
  for field, one in pairs(value) do
    if not FIELDS[field] then return ("%s has no field %s"):format(name, tostring(field)) end
    if not is_count(one) then return ("%s.%s is %s, and not a number"):format(name, field, tostring(one)) end
    if field == "seconds" and one == 0 then return name .. ".seconds is 0" end
  end
end

--- What is wrong with numbers of one's own, or nil.
-- @tparam table given by budget's name a number, or a table with `number`, `seconds`, `burst`, `share`
-- @treturn ?string
function limit.find_fault(given)
  local names = {}
  for name in pairs(given) do names[#names + 1] = name end
  table.sort(names, function(a, b) return tostring(a) < tostring(b) end)
  for _, name in ipairs(names) do
    local fault = find_fault(name, given[name])
    if fault then return fault end
  end
end

local function with(line, given)
  if given == nil then return line end
  if type(given) == "number" then given = { number = given, burst = line.seconds and given } end
  return setmetatable(given, { __index = line })
end

-- What a line is of the descriptors that there may be; then the line's own number.
local function number_of(line)
  if rawget(line, "number") or not line.share then return line.number end
  return math.max(1, math.floor(line.share * (core.process.descriptors())))
end

local function new_meter(line)
  local number = number_of(line)
  if line.seconds then
    return rate.new(math.max(number, 1e-9), line.seconds, number > 0 and line.burst or 0)
  end
  return places.new(number, line.yields, line.tenure)
end

--- The limits of a node.
-- @tparam[opt] table options `limits` (see @{find_fault}), `trusted` (ids)
-- @treturn limit
function limit.new(options)
  options = options or {}
  local self = setmetatable({ trust = trust.new(options.trusted), asked = {}, lines = {},
    refused = {}, descriptors = {} }, Limit)
  for _, line in ipairs(budgets) do
    line = with(line, (options.limits or {})[line.name])
    self.lines[#self.lines + 1] = line
    if line.asked then
      self.asked[line.asked] = self.asked[line.asked] or {}
      table.insert(self.asked[line.asked], { line = line, meter = new_meter(line) })
    else
      self.descriptors[line.step] = line
    end
  end
  self.refusals = refusals.new { may_write = function() return self:take("log_lines", {}) end }
  return self
end

-- -- asking

local KEYS = {
  all = function() return "" end,
  peer = function(who) return who.peer or "?" end,
  source = function(who) return source.of(who.source) end,
  target = function(who) return who.target or "?" end,
}

-- What counts for who asks: entries and keys, one after the other. What is sent to a target that has proved
-- itself is no stranger's doing.
local function applicable(self, asked, who)
  local list, step = {}, who.step or self.trust:step(who.peer)
  if self.trust:is_proven(who.target) then step = "proven" end
  for _, entry in ipairs(self.asked[asked] or error("no budget " .. tostring(asked), 3)) do
    local line = entry.line
    if not line.step or line.step == step then
      list[#list + 1] = entry
      list[#list + 1] = KEYS[line.per](who)
    end
  end
  return list
end

local function refuse(self, line)
  self.refused[line.name] = (self.refused[line.name] or 0) + 1
  return nil, "too busy", "EBUSY"
end

--- Takes as many as there is room for, from a rate.
-- @tparam string asked
-- @tparam table who
-- @tparam number most
-- @tparam[opt] number now seconds on a scale that never jumps
-- @treturn number 0 to `most`
function Limit:draw(asked, who, most, now)
  now = now or core.clock.monotonic()
  local list, count = applicable(self, asked, who), most
  for i = 1, #list, 2 do
    count = math.min(count, list[i].meter:room(list[i + 1], now))
    if count < 1 then
      refuse(self, list[i].line)
      return 0
    end
  end
  for i = 1, #list, 2 do list[i].meter:use(list[i + 1], now, count) end
  return count
end

--- Takes one, or `count`, from a rate.
-- @tparam string asked
-- @tparam table who
-- @tparam[opt=1] number count all or nothing
-- @tparam[opt] number now
-- @treturn boolean true; or nil, message, "EBUSY"
function Limit:take(asked, who, count, now)
  count, now = count or 1, now or core.clock.monotonic()
  local list = applicable(self, asked, who)
  for i = 1, #list, 2 do
    if list[i].meter:room(list[i + 1], now) < count then return refuse(self, list[i].line) end
  end
  for i = 1, #list, 2 do list[i].meter:use(list[i + 1], now, count) end
  return true
end

local Place = { __name = "p2pd.limit.place" }
Place.__index = Place

--- Gives a place back. May be called twice.
function Place:close()
  for i = #self, 1, -2 do
    local entry, key = self[i - 1], self[i]
    self[i - 1], self[i] = nil, nil
    entry.meter:remove(key, self)
  end
  self.who, self.give_way = nil, nil
end

Place.__close, Place.__gc = Place.close, Place.close

local function make_room(entry, key, who, now)
  if entry.meter:has_room(key) then return true end
  local victim = entry.meter:find_victim(who, now)
  if not victim then return false end
  local give_way = victim.give_way
  victim:close()
  if give_way then give_way() end
  return entry.meter:has_room(key)
end

--- Whether there is a place, without taking it.
-- @tparam string asked
-- @tparam table who
-- @treturn boolean
function Limit:has_room(asked, who)
  local list = applicable(self, asked, who)
  for i = 1, #list, 2 do
    if not list[i].meter:has_room(list[i + 1]) then return false end
  end
  return true
end

--- Takes a place.
-- @tparam string asked
-- @tparam table who
-- @tparam[opt] function give_way called when another one gets the place; it must not wait
-- @treturn place to be closed; or nil, message, "EBUSY"
function Limit:hold(asked, who, give_way)
  local now = core.clock.monotonic()
  local list = applicable(self, asked, who)
  for i = 1, #list, 2 do
    local entry, key = list[i], list[i + 1]
    if not entry.meter.yields and not entry.meter:has_room(key) then return refuse(self, entry.line) end
  end
  for i = 1, #list, 2 do
    if not make_room(list[i], list[i + 1], who, now) then return refuse(self, list[i].line) end
  end
  local may_yield = false
  for i = 1, #list, 2 do may_yield = may_yield or list[i].meter.yields ~= nil end
  if may_yield then list.who, list.since, list.give_way = who, now, give_way end
  for i = 1, #list, 2 do list[i].meter:add(list[i + 1], list) end
  return setmetatable(list, Place) -- one table: there are as many as there are pipes
end

--- Whether one more descriptor may be taken.
-- @tparam string step for whom
-- @treturn boolean true; or nil, message, "EBUSY"
function Limit:has_descriptors(step)
  local line = self.descriptors[step]
  local most, taken = core.process.descriptors()
  local allowed = rawget(line, "number") or line.share * most
  if taken <= allowed then return true end
  return refuse(self, line)
end

-- -- telling

--- What a budget allows, in words: docs/security.md has them.
-- @tparam table line of @{p2pd.limit.budgets}
-- @treturn string such as "30 in 60 s (30 at once) to each target, strangers"
function limit.describe(line)
  local amount = tostring(line.number)
  if line.share then amount = ("%d %% of the descriptors"):format(line.share * 100 // 1) end
  if line.seconds then amount = ("%s in %d s (%d at once)"):format(amount, line.seconds, line.burst) end
  local each = { peer = " for each peer", source = " for each source", target = " to each target" }
  local whose = { stranger = ", strangers", known = ", holders of a token", trusted = ", trusted peers" }
  return amount .. (each[line.per] or "") .. (whose[line.step] or "")
end

--- The numbers of every budget, what is used of it now and how often it had no room.
-- @treturn table by name: number, used (of places that are not counted one by one for each peer: all),
-- refused
function Limit:stats()
  local stats = {}
  for _, line in ipairs(self.lines) do
    stats[line.name] = { number = number_of(line), refused = self.refused[line.name] or 0 }
  end
  for _, entries in pairs(self.asked) do
    for _, entry in ipairs(entries) do
      local used = 0
      for _, count in pairs(entry.meter.counts or {}) do used = used + count end
      if entry.meter.counts then stats[entry.line.name].used = used end
    end
  end
  local _, taken = core.process.descriptors()
  for _, line in pairs(self.descriptors) do stats[line.name].used = taken end
  return stats
end

return limit
