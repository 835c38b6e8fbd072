--- Timers: functions that are called later, or again and again. Each call is a task, so it may wait.
-- @module p2pd.timer
local core = require "p2pd.core"
local deadline = require "p2pd.deadline"
local task = require "p2pd.task"

local timer = {}

local function check(seconds, fn, least)
  if type(seconds) ~= "number" or not (seconds >= least and seconds < math.huge) then
    error(("a number of seconds expected, and not %s"):format(tostring(seconds)), 3)
  end
  if type(fn) ~= "function" then error(("a function expected, and not a %s"):format(type(fn)), 3) end
end

--- Calls fn once, after some time.
-- @tparam number seconds
-- @tparam function fn
-- @param ... its arguments
-- @treturn task `:cancel()` calls it off; `:join()` waits for what fn returns
-- @usage local late = p2pd.after(5, print, "too late")
function timer.after(seconds, fn, ...)
  check(seconds, fn, 0)
  return task.spawn(function(...)
    task.sleep(seconds)
    return fn(...)
  end, ...)
end

local LEAST = 0.0001 -- seconds between two calls

--- Calls fn again and again, first after that time, and never while it is still at it: then the calls that
-- should have been are left out. The calls keep to the clock and do not drift. An error is logged, and the
-- next call comes all the same.
-- @tparam number seconds from call to call
-- @tparam function fn returning false ends it
-- @param ... its arguments
-- @treturn task `:cancel()` ends it
-- @usage local ticking <close> = p2pd.every(1, function() print(os.date()) end)
function timer.every(seconds, fn, ...)
  check(seconds, fn, LEAST)
  local started = core.clock.monotonic()
  return task.spawn(function(...)
    local count = 0
    while true do
      count = math.max(count, (core.clock.monotonic() - started) // seconds) + 1
      task.sleep(deadline.at(started + count * seconds):left())
      local ok, result = xpcall(fn, debug.traceback, ...)
      if not ok then core.log.write("error", "a timer failed: " .. tostring(result)) end
      if ok and result == false then return end
    end
  end, ...)
end

return timer
