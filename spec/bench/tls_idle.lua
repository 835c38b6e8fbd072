--- Ten thousand idle encrypted streams in one process, over which something has gone either way; see
-- idle_pipes.lua for what is counted.
local harness = require "spec.bench.harness"

local STREAMS, GOAL_KIB = 10000, 32

-- As many descriptors as are allowed, which the soft limit need not be.
local function start(...)
  return harness.start { "sh", "-c", 'ulimit -n "$(ulimit -Hn)" && exec "$@"', "sh", arg[-1],
    "spec/bench/peers/hold_tls.lua", ... }
end

return function()
  local holder <close> = start("serve", STREAMS)
  local port = holder:line()
  holder:write "\n"
  local resident, heap = holder:numbers()
  local other <close> = start("connect", port, STREAMS)
  other:line()
  holder:write "\n"
  local resident_full, heap_full = holder:numbers()
  local each, each_heap = (resident_full - resident) / STREAMS, (heap_full - heap) / STREAMS
  for _, child in ipairs { holder, other } do
    child:write "\n"
    child:finish()
  end
  return { {
    what = ("memory of one of %d idle TLS streams, its task included"):format(STREAMS),
    ours = ("%.2f KiB (%.2f Lua, %.2f C)"):format(each / 1024, each_heap / 1024,
      (each - each_heap) / 1024),
    theirs = "32 KiB", ratio = each / 1024 / GOAL_KIB, goal = "<= 32 KiB",
    met = each <= GOAL_KIB * 1024,
  } }
end
