--- Round trips per second of 64-byte lines between two processes: pipes against luv and against cqueues. On
-- one CPU only the programs' work counts; on two, most of the time is the kernel's, to wake the other one.
local harness = require "spec.bench.harness"

local ROUNDS, GOAL = 9, 1.0
local LIBRARIES = { "pipe", "luv", "cqueues" }

local function round_trips(name, server_cpu)
  local server <close> = harness.peer(server_cpu, name, "serve")
  local client <close> = harness.peer(1, name, "connect", server:line())
  local count, seconds = client:numbers()
  client:finish()
  server:finish()
  return count / seconds
end

local function measure(server_cpu, where)
  local candidates, rows = {}, {}
  for i, library in ipairs(LIBRARIES) do
    candidates[i] = function() return round_trips("echo_" .. library, server_cpu) end
  end
  local found = harness.alternate(ROUNDS, candidates)
  for i = 2, #LIBRARIES do
    rows[#rows + 1] = {
      what = ("round trips, 64-byte lines, %s, against %s"):format(where, LIBRARIES[i]),
      ours = ("%.0f /s"):format(found.medians[1]), theirs = ("%.0f /s"):format(found.medians[i]),
      ratio = found.ratios[i], goal = ">= 1.0", met = found.ratios[i] >= GOAL,
    }
  end
  return rows
end

return function()
  local rows = measure(1, "one CPU")
  local apart = measure(2, "two CPUs")
  return table.move(apart, 1, #apart, #rows + 1, rows)
end
