--- A command's standard output: every write is checked, and a command whose output nobody can have ends.
-- @module p2pd.cli.output
local task = require "p2pd.task"

local output = {}

local FAILED = 1 -- exit status
local EBADF = 9

local work    -- the command's task
local failure -- why a write failed, or nil

local function describe(reason, errno)
  return "standard output: " .. (errno == EBADF and "it is closed" or reason)
end

-- Ends the command from whichever of its tasks this is; never returns there.
local function give_up(reason)
  if not work then error(setmetatable({}, { __tostring = function() return reason end })) end
  if not failure then
    failure = reason
    io.stderr:write("p2pd: ", reason, "\n")
    task.spawn(work.cancel, work)
  end
  task.condition():wait()
end

--- Writes to standard output, at once. When that fails the command ends: it says why, and its exit status is
-- 1.
-- @tparam string|number ... what is written
function output.write(...)
  local ok, reason, errno = io.stdout:write(...)
  if ok then ok, reason, errno = io.stdout:flush() end
  if not ok then give_up(describe(reason, errno)) end
end

--- Writes a line, as @{write} does.
-- @tparam string|number ... what is in it
function output.print(...)
  output.write(table.concat { ... } .. "\n")
end

-- What a task returned; what it raised is raised again.
local function pass_on(ended, result, err)
  if ended:status() ~= "failed" then return result end
  if type(err) ~= "string" or err:find "interrupted!$" then error(err, 0) end
  local trace = ended:traceback()
  error(setmetatable({}, { __tostring = function() return trace end }), 0)
end

--- Runs a command's main function as a task, which ends with it, or with a failure to write.
-- @tparam function main
-- @param ... its arguments
-- @treturn integer exit status: main's, or 1 when a write has failed
-- @raise what main raised
function output.run(main, ...)
  return task.run(function(...)
    local _ <close> = setmetatable({}, { __close = function() work, failure = nil, nil end })
    local running <close> = task.spawn(main, ...)
    work = running
    local status = pass_on(running, running:join())
    return failure and FAILED or status
  end, ...)
end

return output
