--- Ten thousand idle streams in one process, plain pipes, then TLS ones, then those of one mux, each with a
-- task that waits in read; their other ends are held by another process. Memory is what the process holds
-- of its own (RssAnon: heap, stacks, buffers; the collector has run before both looks), CPU what the
-- scheduler has charged it for while nothing happens.
local core = require "p2pd.core"
local harness = require "spec.bench.harness"

local STREAMS = 10000
local KINDS = { { "plain", "idle pipes", goal_kib = 8 }, { "tls", "idle TLS streams", goal_kib = 32 },
  { "mux", "idle streams of a mux", goal_kib = 2 } }
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

-- Bytes of each stream, those of Lua's heap among them, and what all of them cost while nothing happens.
local function measure(kind)
  local holder <close> = start("serve", STREAMS, kind)
  local port = holder:line()
  holder:write "\n"
  local resident, heap = holder:numbers()
  local other <close> = start("connect", port, STREAMS, kind)
  other:line()
  holder:write "\n"
  local resident_full, heap_full = holder:numbers()
  local busy = idle_cpu_ms(holder:pid())
  for _, child in ipairs { holder, other } do
    child:write "\n"
    child:finish()
  end
  return (resident_full - resident) / STREAMS, (heap_full - heap) / STREAMS, busy
end

return function()
  local rows = {}
  for _, kind in ipairs(KINDS) do
    local each, each_heap, busy = measure(kind[1])
    rows[#rows + 1] = {
      what = ("memory of one of %d %s, its task included"):format(STREAMS, kind[2]),
      ours = ("%.2f KiB (%.2f Lua, %.2f C)"):format(each / 1024, each_heap / 1024,
        (each - each_heap) / 1024),
      theirs = ("%d KiB"):format(kind.goal_kib), ratio = each / 1024 / kind.goal_kib,
      goal = ("<= %d KiB"):format(kind.goal_kib), met = each <= kind.goal_kib * 1024,
    }
    rows[#rows + 1] = {
      what = ("CPU of %d %s in a second"):format(STREAMS, kind[2]),
      ours = ("%.1f ms"):format(busy), goal = ("<= %d ms, a tick"):format(TICK_MS), met = busy <= TICK_MS,
    }
  end
  return rows
end
