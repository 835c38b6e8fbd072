--- `make rungs`: how a dial and a transfer fare on worse and worse lines. In a lab two hosts behind
-- port-restricted NATs; each try is a whole `p2pd connect` that sends 200 kB to an echoing node and gets them
-- back. Prints a line for each rung, and fails when a try did.
--
-- P2PD_TRIES (20) a rung, P2PD_RUNGS ("20/20": loss in per cent, latency in ms; several by commas; all),
-- P2PD_BROKERS (2), P2PD_OLD (the path of another executable)
local core = require "p2pd.core"
local lab = require "p2pd.lab"

local RUNGS = "0/20,1/20,2/20,5/20,10/20,20/20,5/100,10/100,2/200"
local TRIES = tonumber(os.getenv "P2PD_TRIES" or "20")
local BROKERS = tonumber(os.getenv "P2PD_BROKERS" or "2")
local EXECUTABLE = os.getenv "P2PD_OLD" or os.getenv "P2PD_EXE"
local SHOW = os.getenv "P2PD_SHOW" -- each try, on standard error
local LIMIT_S = 30 -- for a try, from the process's start to its end
local START_S = 30
local CLEAN = "unset LUA_PATH LUA_CPATH; " -- the executable has its own Lua files
local DATA = ("0123456789abcdef"):rep(12500)

local function host(loss, latency)
  return { nats = { { type = "port-restricted" } }, loss = loss, latency = latency / 2 }
end

local function start_node(l)
  local child = assert(l:spawn("b", { "sh", "-c", CLEAN .. 'exec "$0" node --echo', EXECUTABLE,
    stdout = "pipe", env = { P2PD_LOG = "error" } }))
  child:stdout():settimeout(START_S)
  return child, assert(assert(child:stdout():read "l"):match "^address: (.*)$")
end

local function try(l, address)
  local started = core.clock.monotonic()
  local result, reason = l:run("a", { "sh", "-c", CLEAN .. 'exec "$0" connect "$1" <"$2"', EXECUTABLE,
    address, l.folder .. "/data", env = { P2PD_LOG = "error" } }, LIMIT_S)
  if not result then return nil, reason end
  if result.out ~= DATA then return nil, result.err:match "[^\n]*" end
  return core.clock.monotonic() - started
end

local function write_data(l)
  local file <close> = assert(io.open(l.folder .. "/data", "w"))
  file:write(DATA)
end

local function run_rung(loss, latency)
  local l <close> = assert(lab.open {
    hosts = { a = host(loss, latency), b = host(loss, latency) },
    servers = { brokers = BROKERS, stuns = 2, ntps = 1 },
  })
  write_data(l)
  local node <close>, address = start_node(l)
  local times, reasons = {}, {}
  for i = 1, TRIES do
    assert(not node:wait(0), "the node has ended")
    local seconds, reason = try(l, address)
    if SHOW then io.stderr:write(("%d: %s\n"):format(i, seconds or reason)) end
    table.insert(seconds and times or reasons, seconds or reason)
  end
  table.sort(times)
  return times, reasons
end

local function show(loss, latency, times, reasons)
  local median, worst = times[(#times + 1) // 2], times[#times]
  print(("%3.0f %%  %3.0f ms  %3d of %d  %s"):format(loss * 100, latency * 1e3, #times, TRIES,
    median and ("%6.1f %6.1f"):format(median, worst) or ""))
  for _, reason in ipairs(reasons) do print("              " .. tostring(reason)) end
end

local function run()
  local can, why = lab.is_possible()
  if not can then error("no lab: " .. why, 0) end
  print "loss of each host's line, each way; latency between the hosts, one way"
  print "loss  latency     done  median  worst [s]"
  local is_right = true
  for loss, latency in (os.getenv "P2PD_RUNGS" or RUNGS):gmatch "([%d.]+)/([%d.]+)" do
    loss, latency = tonumber(loss) / 100, tonumber(latency) / 1e3
    local times, reasons = run_rung(loss, latency)
    show(loss, latency, times, reasons)
    is_right = is_right and #times == TRIES
  end
  return is_right
end

io.stdout:setvbuf "line"
os.exit(core.task.run(run), true)
