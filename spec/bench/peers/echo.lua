--- What the three echoes share: echo_pipe, echo_luv and echo_cqueues are the same program on three libraries.
--   echo_X.lua serve          prints its port; sends each line back until the client has gone
--   echo_X.lua connect PORT   64-byte lines there and back; prints round trips and seconds
local core = require "p2pd.core"

local SECONDS, WARM_UP_S = 0.8, 0.1

local echo = {
  LINE = ("x"):rep(63),
}

--- Counts round trips; call it after each, until it says false. The first ones warm up.
function echo.counter()
  local now = core.clock.monotonic
  local began = now()
  local started, count
  return function()
    local t = now()
    if not started then
      if t - began >= WARM_UP_S then started, count = t, 0 end
      return true
    end
    count = count + 1
    if t - started < SECONDS then return true end
    print(count, ("%.9f"):format(t - started))
    return false
  end
end

return echo
