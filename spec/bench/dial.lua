--- The default policy beside the best strategy alone, and `p2pd connect` as a whole process, in a lab. With
-- P2PD_OLD, the path of another executable, that one is run beside ours.
local core = require "p2pd.core"
local harness = require "spec.bench.harness"
local lab = require "p2pd.lab"
local peers = require "spec.lab.peers"

local DIALS, PROCESSES = 20, 15
local RACE_GOAL = 1.1
local WAIT = 20

local function host(latency, ...)
  local nats = {}
  for i, nat in ipairs { ... } do nats[i] = { type = nat[1], delta = nat[2] } end
  return { latency = latency, nats = nats }
end

local HOME, RANDOM = { "port-restricted", "equal" }, { "symmetric", "random" }
local NEAR, FAR = 0.005, 0.01 -- seconds between a host and the internet

local HOSTS = {
  open = host(FAR), open2 = host(FAR),
  home = host(FAR, HOME), home2 = host(FAR, HOME),
  random = host(FAR, RANDOM),
  near = host(NEAR, RANDOM), near2 = host(NEAR, RANDOM),
}

-- Who dials whom, and the best strategy for them.
local CELLS = {
  { "home", "open", "direct", goal = 0.2 },
  { "open", "random", "reverse" },
  { "home", "home2", "punch", goal = 0.45 },
  { "near", "near2", "relay" },
  { "random", "near", "relay" },
}

-- -- dials

local function dial(from, to, strategies)
  local result = from:dial(to, { timeout = WAIT, strategies = strategies })
  from:end_sessions()
  if not result.ok then error(result.reason, 0) end
  return result.seconds, result.strategy
end

-- In turns, so that both meet the same machine.
local function race_row(nodes, from, to, best)
  local alone, default, won = {}, {}, 0
  for i = 1, DIALS do
    alone[i] = dial(nodes[from], nodes[to], { best })
    local strategy
    default[i], strategy = dial(nodes[from], nodes[to], { "direct", "reverse", "punch", "relay" })
    if strategy == best then won = won + 1 end
  end
  local ours, theirs = harness.median(default), harness.median(alone)
  return {
    what = ("default dial, %s to %s (%s won %d of %d)"):format(from, to, best, won, DIALS),
    ours = ("%.0f ms"):format(ours * 1e3), theirs = ("%.0f ms (%s alone)"):format(theirs * 1e3, best),
    ratio = ours / theirs, goal = ("<= %.1f of the best alone"):format(RACE_GOAL),
    met = ours <= RACE_GOAL * theirs,
  }
end

-- -- whole processes

-- Seconds from the start of `p2pd connect` until what it sent is back and it has ended.
local function connect_once(l, executable, from, address)
  local started = harness.now()
  local child <close> = assert(l:spawn(from, { executable, "connect", address, stdin = "pipe",
    stdout = "pipe", env = { P2PD_LOG = "error" } }))
  assert(child:stdin():write "hello\n")
  child:stdin():close()
  child:stdout():settimeout(WAIT)
  local text = child:stdout():read "a"
  child:wait(WAIT)
  if text ~= "hello\n" then error("the echo did not come back", 0) end
  return harness.now() - started
end

local function process_row(l, from, to, best, goal)
  local ours, old = os.getenv "P2PD_EXE", os.getenv "P2PD_OLD"
  local node <close> = assert(l:spawn(to, { ours, "node", "--echo", stdout = "pipe" }))
  local address = assert(node:stdout():read "l"):match "^address: (.*)"
  local times, others = {}, {}
  for i = 1, PROCESSES do
    times[i] = connect_once(l, ours, from, address)
    if old then others[i] = connect_once(l, old, from, address) end
  end
  node:kill "TERM"
  node:wait(WAIT)
  local median = harness.median(times)
  local other = old and harness.median(others)
  return {
    what = ("p2pd connect, a whole process, %s to %s (%s)"):format(from, to, best),
    ours = ("%.0f ms"):format(median * 1e3), theirs = other and ("%.0f ms (P2PD_OLD)"):format(other * 1e3),
    ratio = other and median / other, goal = ("<= %.0f ms"):format(goal * 1e3), met = median <= goal,
  }
end

return function()
  assert(lab.is_possible())
  local l <close> = assert(lab.open { hosts = HOSTS,
    servers = { brokers = 1, stuns = 1, ntps = 1, turns = 1 } })
  local nodes <close> = setmetatable({}, { __close = function(self)
    for _, node in pairs(self) do node:close() end
  end })
  for name in pairs(HOSTS) do nodes[name] = peers.start(l, name) end
  core.task.sleep(1) -- network time
  local rows = {}
  for _, cell in ipairs(CELLS) do rows[#rows + 1] = race_row(nodes, table.unpack(cell)) end
  for _, cell in ipairs(CELLS) do
    if cell.goal then rows[#rows + 1] = process_row(l, cell[1], cell[2], cell[3], cell.goal) end
  end
  return rows
end
