--- The time that peers share.
-- @module p2pd.clock
local core = require "p2pd.core"

local clock = {}

--- Seconds on a scale that never jumps and starts anywhere: for durations.
-- @function monotonic
-- @treturn number
clock.monotonic = core.clock.monotonic

--- Network time: seconds since 1970, with fractions. The system's clock, until it is measured against
-- others.
-- @treturn number
function clock.now()
  return core.clock.realtime()
end

return clock
