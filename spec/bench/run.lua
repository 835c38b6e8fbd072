--- Runs the benchmarks, or those named as arguments, and prints what they found.
-- A goal that is missed is a finding, not a failure: the exit status is 1 only when one could not be run.
local core = require "p2pd.core"
local harness = require "spec.bench.harness"
local servers = require "p2pd.lab.servers"

local ALL = { "throughput", "mux", "roundtrip", "idle_pipes", "spawn", "connect", "broker", "dial", "network",
  "idle_node", "tls", "flood", "strangers", "dials_memory", "clock", "punch_lateness", "punch",
  "punch_birthday", "nat", "relay", "reliable", "session", "sessions", "repl", "send", "forward",
  "http", "page" }

local function run(name)
  local benchmark = require("spec.bench." .. name)
  io.stderr:write(name, " ...\n")
  return core.task.run(benchmark)
end

local names = #arg > 0 and arg or ALL
local rows, failures = {}, {}
for _, name in ipairs(names) do
  local ok, result = xpcall(run, debug.traceback, name)
  if ok then
    table.move(result, 1, #result, #rows + 1, rows)
  else
    failures[#failures + 1] = ("%s could not be run: %s"):format(name, result)
  end
end
servers.close_all()

harness.print(rows)
print("\n" .. harness.pinning())
for _, failure in ipairs(failures) do io.stderr:write(failure, "\n") end
os.exit(#failures == 0, true)
