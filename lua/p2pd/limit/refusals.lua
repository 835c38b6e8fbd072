--- What was refused: counted each time, told once. Whoever can make us refuse can do it ten thousand times a
-- second, and a log that says so ten thousand times is his work, too.
-- @classmod p2pd.limit.refusals
local core = require "p2pd.core"
local expiring_map = require "p2pd.expiring_map"
local text = require "p2pd.text"

local refusals = {}

local WINDOW_S = 60 -- for which one reason of one peer is told once
local PEERS = 256   -- reasons and peers that are remembered

local Refusals = { __name = "p2pd.limit.refusals" }
Refusals.__index = Refusals

--- Counts of what was refused, and a line of the log now and then.
-- @tparam[opt] table options `write` (function of the level and the line; core.log.write), `may_write`
-- (function: whether one more line may be written now)
function refusals.new(options)
  options = options or {}
  return setmetatable({
    counts = {},
    told = expiring_map.new(PEERS, WINDOW_S),
    may_write = options.may_write or function() return true end,
    silent = 0, -- refusals since the last line
    write = options.write or function(...) core.log.write(...) end,
    on_news = function() end, -- of the reason and who, for each one that is told of; for the owner to set
  }, Refusals)
end

local function tell(self, level, reason, who, line)
  local now = core.clock.monotonic()
  local key = reason .. "\0" .. who
  local at = self.told:get(key)
  if at and now - at < WINDOW_S or not self.may_write() then
    self.silent = self.silent + 1
    return
  end
  self.told:set(key, now, now)
  if self.silent > 0 then line = ("%s (and %d refusals since the last line)"):format(line, self.silent) end
  self.silent = 0
  self.write(level, line)
  self.on_news(reason, who)
end

--- Counts a refusal, and tells of it when that is news.
-- @tparam string reason one of a short list: it is what is counted
-- @tparam string who a node id, an IP address, or whatever tells one from another
-- @tparam string format of the log's line
-- @param ... what goes into it
function Refusals:note(reason, who, format, ...)
  self.counts[reason] = (self.counts[reason] or 0) + 1
  tell(self, "info", reason, who, text.printable(format:format(...)))
end

--- The same of an error of ours that a peer can bring about: told as an error, in full the first time only.
-- @tparam string what where it happened: it is told once a minute for each
-- @tparam string message with a traceback
function Refusals:note_error(what, message)
  self.counts.error = (self.counts.error or 0) + 1
  tell(self, "error", "error", what, ("%s: %s"):format(what, message))
end

return refusals
