--- Asks an NTP server that serves this machine's own time: `clock_error.lua N HOST PORT` prints, for each of
-- N surveys, by how many seconds its first result was wrong, after how many it came, by how many the last one
-- was wrong, and its bound.
local core = require "p2pd.core"
local ntp = require "p2pd.ntp"
local p2pd = require "p2pd"

local surveys, server = tonumber(arg[1]), { host = arg[2], port = tonumber(arg[3]) }

local function error_of(result)
  return math.abs(result.offset + core.clock.boottime() - core.clock.realtime())
end

local function survey()
  local started = core.clock.monotonic()
  local first, seconds
  local result = assert(ntp.survey({ server }):measure {
    spacing = 0.001, spacing_max = 0.001,
    on_update = function(early)
      if first then return end
      first, seconds = error_of(early), core.clock.monotonic() - started
    end,
  })
  print(("%.7f %.7f %.7f %.7f"):format(first, seconds, error_of(result), result.bound))
end

p2pd.run(function()
  for _ = 1, surveys do survey() end
end)
