--- Round trips, counted and summed up; and by which path a pipe goes.
-- @module p2pd.cli.round_trips
local round_trips = {}

local MS = 1000

local Trips = {}
Trips.__index = Trips

--- Begins to count.
-- @tparam string name
-- @treturn table `sent`, to be counted by the caller; `got`
function round_trips.new(name)
  return setmetatable({ name = name, sent = 0, got = 0, sum = 0, least = math.huge, most = 0 }, Trips)
end

--- Counts an answer.
-- @tparam number seconds that it took
function Trips:add(seconds)
  self.got, self.sum = self.got + 1, self.sum + seconds
  self.least, self.most = math.min(self.least, seconds), math.max(self.most, seconds)
end

--- What they come to.
-- @treturn string a line
function Trips:summary()
  local lost = ("%s: %d sent, %d lost"):format(self.name, self.sent, self.sent - self.got)
  if self.got == 0 then return lost end
  return ("%s, min/avg/max %.2f/%.2f/%.2f ms"):format(lost, self.least * MS, self.sum / self.got * MS,
    self.most * MS)
end

local Path = {}
Path.__index = Path

local function look(pipe)
  local info = pipe:info()
  if not info then return nil end
  return info.strategy and ("%s to %s"):format(info.strategy, info.remote or "?") or "no path"
end

--- The path of a pipe, which may change under it.
-- @tparam pipe pipe
-- @treturn table `now`: strategy and endpoint in words
function round_trips.path(pipe)
  return setmetatable({ pipe = pipe, now = look(pipe) or pipe.strategy }, Path)
end

--- Looks again.
-- @treturn ?string what has changed since the last look; nil when nothing has, or the pipe is closed
function Path:change()
  local was, now = self.now, look(self.pipe)
  if not now or now == was then return nil end
  self.now = now
  return ("now %s (was %s)"):format(now, was)
end

return round_trips
