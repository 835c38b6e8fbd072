--- What was refused: counted each time, told once. Whoever can make us refuse can do it ten thousand times a
-- second, and a log that says so ten thousand times is his work, too.
-- @classmod p2pd.limit.refusals
local bucket = require "p2pd.limit.bucket"
local core = require "p2pd.core"
local expiring_map = require "p2pd.expiring_map"

local refusals = {}

local WINDOW_S = 60           -- for which one reason of one peer is told once
local PEERS = 256             -- reasons and peers that are remembered
local LINES_A_SECOND, LINES = 0.5, 20

local Refusals = { __name = "p2pd.limit.refusals" }
Refusals.__index = Refusals

--- @tparam[opt=core.log.write] function write of the level and the line
function refusals.new(write)
  return setmetatable({
    counts = {},
    told = expiring_map.new(PEERS, WINDOW_S),
    lines = bucket.new(LINES_A_SECOND, LINES),
    silent = 0, -- refusals since the last line
    write = write or function(...) core.log.write(...) end,
  }, Refusals)
end

--- Counts a refusal, and tells of it when that is news.
-- @tparam string reason one of a short list: it is what is counted
-- @tparam string who a node id, an IP address, or whatever tells one from another
-- @tparam string format of the log's line
-- @param ... what goes into it
function Refusals:note(reason, who, format, ...)
  local now = core.clock.monotonic()
  self.counts[reason] = (self.counts[reason] or 0) + 1
  local key = reason .. "\0" .. who
  local at = self.told:get(key)
  if at and now - at < WINDOW_S or not self.lines:take(now) then
    self.silent = self.silent + 1
    return
  end
  self.told:set(key, now, now)
  local line = format:format(...)
  if self.silent > 0 then line = ("%s (and %d refusals since the last line)"):format(line, self.silent) end
  self.silent = 0
  self.write("info", line)
end

return refusals
