--- Tasks: coroutines that the host runs, and ways to combine them.
-- A task waits in the calls that wait (reads, connects, @{sleep}); meanwhile the others run. To cancel a
-- task is to close its coroutine, which runs its `<close>` variables: they free what it holds.
-- @module p2pd.task
local core = require "p2pd.core"

local task = {}

--- Runs the loop until fn's task ends. Inside a task it just calls fn.
-- @function run
-- @tparam function fn
-- @param ... its arguments
-- @return what fn returns
-- @raise what fn raised, with its traceback; "interrupted!" after SIGINT or SIGTERM; "deadlock: ..." when
-- the task waits and nothing is left that could wake it
task.run = core.task.run

--- Starts a task; it first runs when the present one waits.
-- @function spawn
-- @tparam function fn
-- @param ... its arguments
-- @treturn task with `:join([timeout])` (fn's results; nil and the error that it raised; nil, message, code),
-- `:cancel()`, `:status()`, `:traceback()`; `:linger()`, for what has to be said to others at the end: @{run}
-- waits for it, two seconds at most; closing it cancels it
task.spawn = core.task.spawn

--- Waits.
-- @function sleep
-- @tparam number seconds
task.sleep = core.task.sleep

--- Turns the loop once, for a program that owns another loop. Not inside a task.
-- @function step
-- @tparam[opt=0] number timeout seconds to wait at most for something to happen
-- @treturn boolean false when nothing is left that could happen
task.step = core.task.step

--- A place where tasks wait for each other: `:wait([timeout])`, `:signal()` wakes one, `:broadcast()` all.
-- @function condition
task.condition = core.task.condition

local Hold = {}
Hold.__index = Hold
Hold.__name = "p2pd.hold"

local function close_value(value)
  local meta = getmetatable(value)
  local close = type(meta) == "table" and meta.__close
  if close then close(value) end
end

function Hold:__close()
  for i = 1, self.n do close_value(self[i]) end
end

--- Hands the values on: whoever gets them closes them.
-- @return the values
function Hold:release()
  local n = self.n
  self.n = 0
  return table.unpack(self, 1, n)
end

--- Owns values until they are handed on: `local held <close> = task.hold(stream)` closes the stream however
-- the block is left, unless `return held:release()` gave it away.
function task.hold(...)
  return setmetatable(table.pack(...), Hold)
end

local Group = {}
Group.__index = Group
Group.__name = "p2pd.group"

--- Starts a task of the group.
function Group:spawn(fn, ...)
  local child = core.task.spawn(fn, ...)
  self[child] = true
  return child
end

--- Cancels every task of the group but the one that calls.
function Group:cancel()
  local current = core.task.running()
  while next(self) do -- what is closed may start others
    local children = {}
    for child in pairs(self) do children[#children + 1] = child end
    for _, child in ipairs(children) do
      self[child] = nil
      if child ~= current then child:cancel() end
    end
  end
end

Group.__close = Group.cancel

--- A set of tasks that end with a block: `local children <close> = task.group()`.
-- @treturn group
function task.group()
  return setmetatable({}, Group)
end

--- Like @{spawn} in a group, and forgets the task when it has ended: for servers that spawn for ever.
function Group:detach(fn, ...)
  local child
  child = self:spawn(function(...)
    local _ <close> = setmetatable({}, { __close = function() self[child] = nil end })
    return fn(...)
  end, ...)
  return child
end

-- Runs every fn as a child and collects what they return, in the order in which they end.
local function start_all(children, fns, collect)
  local ended = core.task.condition()
  for i, fn in ipairs(fns) do
    children:spawn(function()
      collect(i, task.hold(xpcall(fn, debug.traceback)))
      ended:signal()
    end)
  end
  return ended
end

local function list_of(...)
  local first = ...
  return type(first) == "table" and select("#", ...) == 1 and first or { ... }
end

--- Runs functions side by side: the first success (a true first result) cancels the rest.
-- @param ... functions, or one table of them
-- @return what the winner returned; or nil, message, code of the last that failed when none succeeded. A
-- function that raises has failed, without a code. Results of a second success are closed.
function task.race(...)
  local fns = list_of(...)
  local winner <close> = task.hold()
  local failure = { n = 3, nil, "nothing to race", "EINVAL" }
  local pending = #fns
  local children <close> = task.group()
  local ended = start_all(children, fns, function(_, results)
    local late <close> = winner.n > 0 and results or nil
    pending = pending - 1
    if winner.n == 0 and results[1] and results[2] then
      winner.n = results.n - 1
      table.move(results, 2, results.n, 1, winner)
    elseif not late then
      failure = results[1] and table.pack(table.unpack(results, 2, results.n))
        or { n = 2, nil, results[2] }
    end
  end)
  while winner.n == 0 and pending > 0 do ended:wait() end
  if winner.n > 0 then return winner:release() end
  return table.unpack(failure, 1, failure.n)
end

--- Runs functions side by side and waits for all.
-- @param ... functions, or one table of them
-- @return the first result of each, in order; or nil, message, code of the first that failed (returned nil
-- and a message), when the rest have been cancelled
-- @raise what one of them raised
function task.all(...)
  local fns = list_of(...)
  local done <close> = task.hold()
  done.n = #fns
  local pending, failure = #fns, nil
  local children <close> = task.group()
  local ended = start_all(children, fns, function(i, results)
    pending = pending - 1
    if results[1] and (results[2] ~= nil or results[3] == nil) then
      done[i] = results[2]
    else
      failure = failure or results
    end
  end)
  while pending > 0 and not failure do ended:wait() end
  if failure and not failure[1] then error(failure[2], 0) end
  if failure then return table.unpack(failure, 2, failure.n) end
  return done:release()
end

--- Calls fn, for so long at most.
-- @tparam number seconds
-- @tparam function fn
-- @param ... its arguments
-- @return what fn returns; or nil, "timed out", "ETIMEDOUT", when fn has been cancelled
-- @raise what fn raised
function task.timeout(seconds, fn, ...)
  local results <close> = task.hold()
  local child <close> = core.task.spawn(function(...)
    local got = table.pack(fn(...))
    results.n = got.n
    table.move(got, 1, got.n, 1, results)
  end, ...)
  local ok, err, code = child:join(seconds)
  local status = child:status()
  if status == "failed" then error(type(err) == "string" and child:traceback() or err, 0) end
  if status ~= "done" then return ok, err, code end
  return results:release()
end

return task
