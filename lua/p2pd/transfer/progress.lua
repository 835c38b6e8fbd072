--- How far a transfer is: a line that is drawn over and over in a terminal, and lines now and then elsewhere.
-- @classmod p2pd.transfer.progress
local core = require "p2pd.core"

local progress = {}

local DRAW_S, LINE_S = 0.1, 10
local MEMORY_S = 3 -- of the rate
local BAR = 24

local Progress = { __name = "p2pd.transfer.progress" }
Progress.__index = Progress

local UNITS = { "B", "kB", "MB", "GB", "TB", "PB" }

--- A number of bytes for people.
-- @tparam number bytes
-- @treturn string such as "1.5 MB"
function progress.size(bytes)
  local unit = 1
  while bytes >= 999.5 and unit < #UNITS do bytes, unit = bytes / 1000, unit + 1 end
  local format = (unit == 1 or bytes >= 99.95) and "%.0f %s" or "%.1f %s"
  return format:format(bytes, UNITS[unit])
end

--- A duration for people.
-- @tparam number seconds
-- @treturn string such as "1:05" or "2:00:00"
function progress.duration(seconds)
  seconds = math.floor(seconds + 0.5)
  local minutes = seconds // 60
  if minutes < 60 then return ("%d:%02d"):format(minutes, seconds % 60) end
  return ("%d:%02d:%02d"):format(minutes // 60, minutes % 60, seconds % 60)
end

--- The line: share, amounts, rate, time left; at most 79 columns. Pure.
-- @tparam number done bytes
-- @tparam number total bytes
-- @tparam number rate bytes a second
-- @tparam boolean has_bar
-- @treturn string
function progress.line(done, total, rate, has_bar)
  local share = total > 0 and math.min(1, done / total) or 1
  local filled = math.floor(share * BAR)
  local bar = has_bar and ("[%s%s] "):format(("="):rep(filled), (" "):rep(BAR - filled)) or ""
  local left = rate > 0 and progress.duration(math.max(0, total - done) / rate) .. " left" or ""
  return ("%3d %% %s%s of %s, %s/s %s"):format(math.floor(share * 100), bar, progress.size(done),
    progress.size(total), progress.size(rate), left)
end

--- @tparam table options `draw`: function of a line that replaces the last one, or of nil to take it away;
-- nil when there is no terminal; `say`: function of a line
-- @treturn progress
function progress.new(options)
  local now = core.clock.monotonic()
  return setmetatable({ draw = options.draw, say = options.say, total = 0, done = 0, drawn = now,
    rate = 0, since = now, since_done = 0 }, Progress)
end

--- It begins, again perhaps.
-- @tparam integer total bytes
function Progress:begin(total)
  local now = core.clock.monotonic()
  self.total, self.done, self.drawn = total, 0, now
  self.rate, self.since, self.since_done = 0, now, 0
end

-- The rate is that of the last seconds.
local function measure(self, now)
  local seconds = now - self.since
  if seconds < 0.05 then return end
  local rate = (self.done - self.since_done) / seconds
  local weight = math.min(1, seconds / MEMORY_S)
  self.rate = self.rate == 0 and rate or self.rate + weight * (rate - self.rate)
  self.since, self.since_done = now, self.done
end

--- So many bytes more.
-- @tparam integer bytes
function Progress:add(bytes)
  self.done = self.done + bytes
  local now = core.clock.monotonic()
  if now - self.drawn < (self.draw and DRAW_S or LINE_S) then return end
  self.drawn = now
  measure(self, now)
  local show = self.draw or self.say
  show(progress.line(self.done, self.total, self.rate, self.draw ~= nil))
end

--- Takes the line away, for another one.
function Progress:clear()
  if self.draw then self.draw() end
end

return progress
