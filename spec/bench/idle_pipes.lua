--- Ten thousand idle pipes in one process, each with a task that waits in read; their other ends are held by
-- another process. Memory is what the process holds resident of its own (RssAnon: heap, stacks, buffers; the
-- collector has run before both looks), CPU what the scheduler has charged it for while nothing happens.
local core = require "p2pd.core"
local harness = require "spec.bench.harness"

local PIPES, GOAL_KIB = 10000, 8
local IDLE_S, TICK_MS = 1, 10

-- As many descriptors as are allowed, which the soft limit need not be.
local function start(...)
  return harness.start { "sh", "-c", 'ulimit -n "$(ulimit -Hn)" && exec "$@"', "sh", arg[-1],
    "spec/bench/peers/hold_pipes.lua", ... }
end

local function cpu_ms(pid)
  return tonumber(harness.read_file(("/proc/%d/schedstat"):format(pid)):match "%d+") / 1e6
end

local function idle_cpu_ms(pid)
  core.task.sleep(0.2)
  local before = cpu_ms(pid)
  core.task.sleep(IDLE_S)
  return cpu_ms(pid) - before
end

return function()
  local holder <close> = start("serve", PIPES)
  local port = holder:line()
  holder:write "\n"
  local resident, heap = holder:numbers()
  local other <close> = start("connect", port, PIPES)
  other:line()
  holder:write "\n"
  local resident_full, heap_full = holder:numbers()
  local busy = idle_cpu_ms(holder:pid())
  local each, each_heap = (resident_full - resident) / PIPES, (heap_full - heap) / PIPES
  for _, child in ipairs { holder, other } do
    child:write "\n"
    child:finish()
  end
  return {
    {
      what = ("memory of one of %d idle pipes, its task included"):format(PIPES),
      ours = ("%.2f KiB (%.2f Lua, %.2f C)"):format(each / 1024, each_heap / 1024,
        (each - each_heap) / 1024),
      ratio = each / 1024 / GOAL_KIB, theirs = "8 KiB", goal = "<= 8 KiB",
      met = each <= GOAL_KIB * 1024,
    },
    {
      what = ("CPU of %d idle pipes in a second"):format(PIPES),
      ours = ("%.3f ms"):format(busy), goal = "none: < 1 tick (10 ms)", met = busy < TICK_MS,
    },
  }
end
