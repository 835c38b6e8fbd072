--- Deadlines: an instant on the monotonic clock by which something has to be over.
-- @classmod p2pd.deadline
local core = require "p2pd.core"

local deadline = {}

local Deadline = { __name = "p2pd.deadline" }
Deadline.__index = Deadline

--- The instant that is so many seconds away.
-- @tparam ?number seconds nil: never
-- @treturn deadline
function deadline.after(seconds)
  return setmetatable({ at = seconds and core.clock.monotonic() + seconds or math.huge }, Deadline)
end

--- An instant on the monotonic clock.
-- @tparam number at seconds
-- @treturn deadline
function deadline.at(at)
  return setmetatable({ at = at }, Deadline)
end

--- Seconds until then; 0 once it has passed, nil when it never comes: what calls that wait take.
-- @tparam[opt] number most at most so many seconds
-- @treturn ?number
function Deadline:left(most)
  local left = math.max(0, self.at - core.clock.monotonic())
  if most and left > most then return most end
  if left == math.huge then return nil end
  return left
end

--- Whether it has passed.
-- @treturn boolean
function Deadline:has_passed()
  return core.clock.monotonic() >= self.at
end

return deadline
