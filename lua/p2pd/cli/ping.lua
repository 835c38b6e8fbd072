--- Round trips to a peer, over signalling and over a pipe, told one after the other.
-- @module p2pd.cli.ping
local cli = require "p2pd.cli"
local clock = require "p2pd.clock"
local round_trips = require "p2pd.cli.round_trips"
local task = require "p2pd.task"

local ping = {}

local MS = 1000
local SIGNALLING = 3 -- round trips, when no count is given
local ECHO_WAIT = 1  -- seconds for a peer that may not echo

--- Over signalling: a line for each, and their sum.
-- @tparam node node
-- @tparam string address
-- @tparam table args `count` (3), `timeout`: seconds for each
-- @treturn boolean whether every one was answered
function ping.signalling(node, address, args)
  local trips = round_trips.new "signalling"
  for i = 1, args.count or SIGNALLING do
    trips.sent = i
    local data, seconds = node:echo(address, "ping " .. i, args.timeout)
    if not data then
      cli.print(("signalling %d: %s"):format(i, seconds))
      return false
    end
    trips:add(seconds)
    cli.print(("signalling %d: %.1f ms"):format(i, seconds * MS))
  end
  cli.print(trips:summary())
  return true
end

-- -- over a pipe

-- A line there and back: its seconds; or nil, message, code. Answers that come too late are passed over.
local function once(pipe, i)
  local started, sent = clock.monotonic(), "ping " .. i
  local ok, reason, code = pipe:write(sent, "\n")
  while ok do
    ok, reason, code = pipe:read "l"
    if ok == sent then return clock.monotonic() - started end
  end
  return nil, reason or "the peer has ended the pipe", code
end

-- Whether an answer is only late: a peer that has vanished is a timeout, too.
local function is_late(reason, code)
  return code == "ETIMEDOUT" and not reason:find "the peer vanished"
end

local function tell(i, seconds, reason, code)
  cli.print(("pipe %d: %s"):format(i, seconds and ("%.2f ms"):format(seconds * MS)
    or is_late(reason, code) and "no answer in time" or cli.describe_end(reason, code)))
end

-- Of a peer that does not echo the kernel knows the round trip.
local function tell_kernel(pipe)
  local info = pipe:info()
  cli.print(("pipe: %.2f ms by the kernel's measure (the peer does not echo)")
    :format((info and info.rtt or 0) * MS))
end

-- Whether the first answer says that there is nothing to measure, which is told; and whether the peer has
-- taken the pipe.
local function is_over(pipe, reason, code)
  if code == "EACCES" then
    cli.print("pipe: " .. reason:gsub("^%a+: ", ""))
    return true, false
  end
  local is_silent = reason ~= nil and is_late(reason, code)
  if is_silent then tell_kernel(pipe) end
  return is_silent, true
end

-- It is said however the command ends: Ctrl-C ends it anywhere.
local function summarize_at_end(trips)
  return setmetatable({}, { __close = function()
    if trips.sent > 0 then cli.print(trips:summary()) end
  end })
end

--- Over a pipe, to a peer that echoes lines: a line for each, and for each change of the path; at the end, or
-- when it is cancelled, their sum.
-- @tparam pipe pipe
-- @tparam table args `count` (for ever), `interval`: seconds between two, `timeout`: seconds for each
-- @treturn boolean whether the peer has taken the pipe, and keeps it
function ping.pipe(pipe, args)
  local trips, path = round_trips.new "pipe", round_trips.path(pipe)
  local _ <close> = summarize_at_end(trips)
  cli.print("pipe: " .. path.now)
  for i = 1, args.count or math.huge do
    trips.sent = i
    pipe:settimeout(i == 1 and ECHO_WAIT or args.timeout)
    local seconds, reason, code = once(pipe, i)
    local over, is_taken = false, true
    if i == 1 then over, is_taken = is_over(pipe, reason, code) end
    if over then
      trips.sent = 0
      return is_taken
    end
    if seconds then trips:add(seconds) end
    tell(i, seconds, reason, code)
    if not seconds and not is_late(reason, code) then return false end
    local change = path:change()
    if change then cli.print("pipe: " .. change) end
    if i ~= args.count then task.sleep(args.interval) end
  end
  return true
end

return ping
