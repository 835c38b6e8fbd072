--- What every spec needs: tasks that leave nothing behind, scratch folders, servers, the executable.
local core = require "p2pd.core"
local lfs = require "lfs"
local scratch = require "p2pd.lab.scratch"
local servers = require "p2pd.lab.servers"

local helper = {
  scratch = scratch.folder,
  free_port = scratch.free_port,
  write = scratch.write,
  read = scratch.read,
  mosquitto = servers.mosquitto,
  coturn = servers.coturn,
  chronyd = servers.chronyd,
  tinyproxy = servers.tinyproxy,
  certificate = servers.certificate,
  settings = servers.settings,
}

local TASK_S, SETTLE_S, TURN_S, WAIT_S = 20, 2, 0.005, 10
local DESCRIPTORS = "/proc/self/fd"

core.task.step(0) -- makes the loop, whose own descriptors stay

--- Several free ports; see free_port.
-- @tparam integer n how many
-- @treturn integer... the ports
function helper.ports(n)
  if n > 0 then return scratch.free_port(), helper.ports(n - 1) end
end

-- What is open, as "number -> target"; the descriptor that reads the folder is not there any more.
local function descriptors()
  local open = {}
  for name in lfs.dir(DESCRIPTORS) do
    local target = lfs.symlinkattributes(DESCRIPTORS .. "/" .. name, "target")
    if target and target ~= "" and not target:find "^/proc/%d+/fd$" then open[name] = target end
  end
  return open
end

local function snapshot()
  collectgarbage()
  collectgarbage()
  return { live = core.live(), tasks = core.task.count(), descriptors = descriptors() }
end

local function leaked_descriptors(before, after)
  local leaks = {}
  for name, target in pairs(after.descriptors) do
    if before.descriptors[name] ~= target then
      leaks[#leaks + 1] = ("descriptor %s (%s)"):format(name, target)
    end
  end
  return leaks
end

local function leaks_since(before)
  local after = snapshot()
  local leaks = leaked_descriptors(before, after)
  for _, kind in ipairs { "live", "tasks" } do
    local more = after[kind] - before[kind]
    local noun = kind == "live" and "userdata" or "running tasks"
    if more > 0 then leaks[#leaks + 1] = ("%d %s"):format(more, noun) end
  end
  return #leaks > 0 and table.concat(leaks, ", ") or nil
end

-- Turns the loop until nothing is left over: what is closed may take a moment to end.
local function settle(before)
  local deadline = core.clock.monotonic() + SETTLE_S
  local leaks = leaks_since(before)
  while leaks and core.clock.monotonic() < deadline do
    core.task.step(TURN_S)
    leaks = leaks_since(before)
  end
  return leaks
end

-- luassert's errors are tables; their message gets the traceback that the task's end would lose.
local function with_traceback(reason, trace)
  if type(reason) == "string" then return trace end
  local kind = (getmetatable(reason) or {}).__type
  if kind ~= "pending" and type(reason) == "table" and type(reason.message) == "string" then
    trace = trace and trace:match "stack traceback:.*"
    reason.message = ("%s\n\nin the task, %s"):format(reason.message, trace or "")
  end
  return reason
end

local function run(fn, timeout)
  return core.task.run(function()
    local task <close> = core.task.spawn(fn)
    local results = table.pack(task:join(timeout))
    if task:status() == "done" then return true, results end
    if task:status() == "failed" then
      return false, with_traceback(results[2], task:traceback())
    end
    return false, ("the task did not end within %g s; it was at %s"):format(timeout, tostring(task))
  end)
end

--- Runs fn as a task, and fails when it failed, did not end in time, or left anything behind.
-- @tparam function fn
-- @tparam[opt=20] number timeout seconds
-- @return what fn returned
function helper.in_task(fn, timeout)
  local before = snapshot()
  local ok, results = run(fn, timeout or TASK_S)
  if not ok then error(results, 0) end
  local leaks = settle(before)
  if leaks then error("left behind: " .. leaks, 2) end
  return table.unpack(results, 1, results.n)
end

--- in_task for `it`: `it("...", helper.task(function() ... end))`.
-- @tparam function fn
-- @tparam[opt=20] number timeout seconds
-- @treturn function
function helper.task(fn, timeout)
  return function() helper.in_task(fn, timeout) end
end

--- Waits until a condition holds; fails when it does not in time.
-- @tparam function condition
function helper.wait_until(condition)
  local deadline = core.clock.monotonic() + WAIT_S
  while not condition() do
    if core.clock.monotonic() > deadline then error("it did not come to pass", 2) end
    core.task.sleep(TURN_S)
  end
end

--- The executable's absolute path.
-- @treturn string
function helper.executable()
  local path = os.getenv "P2PD_EXE" or "./p2pd"
  return path:sub(1, 1) == "/" and path or lfs.currentdir() .. "/" .. path
end

-- The executable brings a sanitizer's library along, and is to look for leaks when it ends.
local function sanitizer_env(env)
  if not os.getenv "P2PD_SAN" then return env end
  local result = { LD_PRELOAD = "", ASAN_OPTIONS = "detect_leaks=1" }
  for name, value in pairs(env or {}) do result[name] = value end
  return result
end

--- Starts the executable with pipes as its standard descriptors.
-- @param ... its arguments; or one table, as for core.process.spawn, without the program
-- @treturn p2pd.process the child
function helper.p2pd(...)
  local options = ...
  if type(options) ~= "table" then options = { ... } end
  local command = { stdin = "pipe", stdout = "pipe", stderr = "pipe", helper.executable() }
  for key, value in pairs(options) do
    command[math.type(key) == "integer" and key + 1 or key] = value
  end
  command.env = sanitizer_env(command.env)
  return assert(core.process.spawn(command))
end

--- Runs the executable to its end with its standard descriptors redirected by a shell.
-- @tparam string redirection such as `<&- >/dev/full`
-- @tparam {string,...} arguments
-- @treturn integer exit status
-- @treturn string what it wrote to stdout
-- @treturn string and to stderr
function helper.run_redirected(redirection, arguments)
  local child <close> = assert(core.process.spawn { "bash", "-c", 'exec "$0" "$@" ' .. redirection,
    stdout = "pipe", stderr = "pipe", env = sanitizer_env {}, helper.executable(), table.unpack(arguments) })
  child:stdout():settimeout(WAIT_S)
  child:stderr():settimeout(WAIT_S)
  local out, err = child:stdout():read "a", child:stderr():read "a"
  local how, status = child:wait(WAIT_S)
  assert(how == "exit", how)
  return status, out, err
end

--- Stops all servers and removes all scratch folders: for `teardown`.
function helper.close_all()
  servers.close_all()
  scratch.remove_all()
end

return helper
