--- The time that peers share.
-- Network time is this machine's monotonic clock and an offset that NTP servers give. Until they have
-- answered, it is the system's clock. It never jumps but when a measurement corrects it: then by the whole
-- correction at once, forwards or backwards, so that an instant agreed with a peer always means the best that
-- is known. For durations there is @{clock.monotonic}.
--
-- The environment variable `P2PD_SKEW` (seconds, may be negative) makes this process believe that the
-- system's clock is so much ahead of what it says: a wrong clock for experiments, which NTP then corrects.
-- @module p2pd.clock
local core = require "p2pd.core"
local ntp = require "p2pd.ntp"
local task = require "p2pd.task"

local clock = {}

local POLL_MIN, POLL_MAX = 64, 1024 -- seconds, RFC 5905 section 7.2 (MINPOLL; MAXPOLL is 36 h there)
local RETRY_MIN = 4                 -- seconds until servers are asked again of which none answered
local STEADY_S, UNSTEADY_S = 1e-3, 2e-3 -- corrections that make the polls rarer, or more frequent
local JITTER = 0.1                  -- of the time between polls
local ASLEEP_S = 1                  -- a machine that slept so long has its clock measured anew
local DRIFT = 50e-6                 -- as NTP_DRIFT in host/ntp.h
local READINGS, CLOSE_S = 5, 5e-6   -- of two clocks at once, and how close they have to be

local monotonic, boottime, realtime = core.clock.monotonic, core.clock.boottime, core.clock.realtime

local Clock = { __name = "p2pd.clock" }
Clock.__index = Clock

--- A clock of its own; the functions of this module are those of one that all share.
-- @tparam[opt] table options `skew`: seconds; `poll_min`, `poll_max`: seconds between two measurements in the
-- background (64, 1024); `burst`: options of the first of them (see @{p2pd.ntp})
-- @treturn clock with the methods `now`, `to_monotonic`, `offset`, `measure`, `start`
function clock.new(options)
  options = options or {}
  return setmetatable({
    skew = options.skew or 0,
    poll_min = options.poll_min or POLL_MIN,
    poll_max = options.poll_max or POLL_MAX,
    burst = options.burst or {},
    refreshers = {}, -- by what they ask
  }, Clock)
end

-- By how much a clock is ahead of the monotonic one. Whoever is interrupted between two readings reads again.
local function lead(read)
  local best, least = nil, math.huge
  for _ = 1, READINGS do
    local before, there, after = monotonic(), read(), monotonic()
    if after - before < least then best, least = there - (before + after) / 2, after - before end
    if least < CLOSE_S then break end
  end
  return best
end

local function wake_refreshers(self)
  self.slept = lead(boottime)
  for _, refresher in pairs(self.refreshers) do refresher.wake:broadcast() end
end

--- See @{clock.now}.
-- @local
function Clock:now()
  local found = self.found
  if not found then return realtime() + self.skew end
  if lead(boottime) - self.slept > ASLEEP_S then wake_refreshers(self) end
  return found.offset + boottime()
end

--- See @{clock.to_monotonic}.
-- @local
function Clock:to_monotonic(network_time)
  local found = self.found
  if not found then return network_time - (lead(realtime) + self.skew) end
  return network_time - (found.offset + lead(boottime))
end

--- See @{clock.offset}.
-- @local
function Clock:offset()
  local found = self.found
  if not found then return { offset = 0, bound = math.huge, source = "system", servers = 0 } end
  local age = boottime() - found.at
  return {
    offset = found.offset + lead(boottime) - lead(realtime) - self.skew,
    bound = found.bound + DRIFT * age,
    source = "ntp",
    servers = found.servers,
    age = age,
  }
end

-- Takes a result over; returns by how many seconds it corrects what was known, nil when nothing was.
local function adopt(self, result)
  local correction = self.found and result.offset - self.found.offset
  self.found, self.slept = result, lead(boottime)
  return correction
end

local function with_update(options, on_update)
  local passed = { on_update = on_update }
  for _, name in ipairs { "count", "spacing", "spacing_max", "timeout", "grace" } do
    passed[name] = options and options[name]
  end
  return passed
end

--- See @{clock.measure}.
-- @local
function Clock:measure(servers, options)
  local survey = ntp.survey(servers)
  local result, reason, code =
    survey:measure(with_update(options, function(found) adopt(self, found) end))
  if not result then return nil, reason, code end
  adopt(self, result)
  return self:offset()
end

-- -- in the background

local function report_first(self)
  local about = self:offset()
  core.log.write("info", ("clock: network time is the system's %+.1f ms, give or take %.1f ms (%d servers)")
    :format(about.offset * 1e3, about.bound * 1e3, about.servers))
end

-- Servers that are out of reach are so for one reason, mostly.
local function brief(reason)
  local first, rest = reason:match "^(.-); (.*)$"
  if not first then return reason end
  local _, others = rest:gsub("; ", "")
  return ("%s; %d more)"):format(first, others + 1)
end

local function report_failure(self, reason)
  if self.found or self.warned then return end
  self.warned = true
  core.log.write("warn", "no network time, so the system's clock has to do: " .. brief(reason))
end

-- How long to wait after a measurement.
local function next_interval(self, interval, correction)
  if math.abs(correction) > UNSTEADY_S then return math.max(self.poll_min, interval / 2) end
  if math.abs(correction) < STEADY_S then return math.min(self.poll_max, interval * 2) end
  return interval
end

-- Measures once: a burst, or when `settled` one request to each server. Returns whether it succeeded, and
-- by how much the clock was corrected.
local function refresh(self, survey, settled)
  local before = self.found
  local function on_update(result)
    local is_first = not adopt(self, result)
    if is_first then report_first(self) end
  end
  local burst = settled and { count = 1 } or self.burst
  local started = boottime()
  local result, reason = survey:measure(with_update(burst, on_update))
  if not result then
    report_failure(self, reason)
    return false
  end
  adopt(self, result)
  return survey:heard_since(started), before and result.offset - before.offset or 0
end

local function run(self, refresher, survey)
  local settled, interval, retry = false, self.poll_min, RETRY_MIN
  while true do
    local ok, correction = refresh(self, survey, settled)
    local pause
    if ok then
      if settled then interval = next_interval(self, interval, correction) end
      pause, retry, settled = interval, RETRY_MIN, true
    else
      pause, retry = retry, math.min(retry * 2, self.poll_min)
    end
    if refresher.wake:wait(pause * (1 + JITTER * math.random())) then settled = false end
  end
end

local Handle = { __name = "p2pd.clock.refresher" }
Handle.__index = Handle

--- Ends the measuring when nobody else needs it.
function Handle:close()
  local refresher = self.refresher
  self.refresher = nil
  if not refresher then return end
  refresher.users = refresher.users - 1
  if refresher.users > 0 then return end
  self.clock.refreshers[refresher.key] = nil
  refresher.task:cancel()
end

--- Measures again at once, when there is no network time yet: the network has come back.
function Handle:retry()
  local refresher = self.refresher
  if refresher and not self.clock.found then refresher.wake:broadcast() end
end

Handle.__close = Handle.close

local function key_of(servers)
  local names = {}
  for i, server in ipairs(servers) do names[i] = ("%s %d"):format(server.host, server.port) end
  return table.concat(names, "\n")
end

--- See @{clock.start}.
-- @local
function Clock:start(servers)
  local handle = setmetatable({ clock = self }, Handle)
  if not servers[1] then return handle end
  local key = key_of(servers)
  local refresher = self.refreshers[key]
  if not refresher then
    refresher = { key = key, users = 0, wake = task.condition() }
    self.refreshers[key] = refresher
    refresher.task = task.spawn(run, self, refresher, ntp.survey(servers))
  end
  refresher.users = refresher.users + 1
  handle.refresher = refresher
  return handle
end

-- -- the clock of this process

local function skew_of_environment()
  local text = os.getenv "P2PD_SKEW"
  if not text or text == "" then return 0 end
  local skew = tonumber(text)
  if skew and math.abs(skew) < math.huge then return skew end
  core.log.write("warn", ("P2PD_SKEW is no number of seconds: %q"):format(text))
  return 0
end

local default = clock.new { skew = skew_of_environment() }

--- Seconds on a scale that never jumps and starts anywhere: for durations.
-- @function monotonic
-- @treturn number
clock.monotonic = monotonic

--- Network time: seconds since 1970, with fractions. The system's clock, until servers have answered.
-- @treturn number
function clock.now()
  return default:now()
end

--- When a network time is (or was), by @{clock.monotonic}.
-- @tparam number network_time seconds since 1970
-- @treturn number
function clock.to_monotonic(network_time)
  return default:to_monotonic(network_time)
end

--- How well network time is known.
-- @treturn table `source`: "ntp" or "system"; `offset`: seconds by which network time is ahead of the
-- system's clock (0 for "system"); `bound`: seconds by which @{clock.now} may be wrong, growing with time
-- (`math.huge` for "system"); `servers`: how many agree; `age`: seconds since the last measurement
function clock.offset()
  return default:offset()
end

--- Measures now, and takes the result over: from the first good answers on, while the rest refines it. Waits
-- until the last server has answered or is given up; call it in a task.
-- @tparam {table,...} servers each `{ host = string, port = integer }`
-- @tparam[opt] table options `count`, `spacing`, `spacing_max`, `timeout` as for @{p2pd.ntp}
-- @treturn[1] table as @{clock.offset}
-- @treturn[2] nil
-- @treturn[2] string message, with each server's reason
-- @treturn[2] string "ETIMEDOUT", or "ENOMSG" when the servers disagree
function clock.measure(servers, options)
  return default:measure(servers, options)
end

--- Measures in the background, from now on until it is closed: a short burst, then one request to each server
-- every 64 to 1024 s, as the clock needs it; again at once after the machine has slept.
-- @tparam {table,...} servers the settings' `ntp`; with the same list one refresher serves all
-- @treturn handle to be closed (`<close>`)
function clock.start(servers)
  return default:start(servers)
end

return clock
