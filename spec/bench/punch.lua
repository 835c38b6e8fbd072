--- From connect to a usable, secure pipe by punching alone, in a lab with 20 ms one way between two hosts.
local harness = require "spec.bench.harness"
local lab = require "p2pd.lab"
local peers = require "spec.lab.peers"

local DIALS = 40
local LATENCY = 0.01 -- seconds between a host and the internet
local MARGIN = 0.05
local P95_FACTOR = 1.5

-- HyperDHT punches UDP and not TCP; measured in such a lab.
local CASES = {
  { "port-restricted, equal ports", "equal", "equal2", hyperdht = 0.205 },
  { "port-restricted, random ports, which have to be looked at", "held", "held2" },
  { "a counter's ports and equal ones", "counter", "equal" },
  { "symmetric, random ports and a full cone", "dice", "cone" },
  { "symmetric, random ports and port-restricted", "dice", "equal", hyperdht = 4.2 },
}

local function host(type, delta)
  return { latency = LATENCY, nats = { { type = type, delta = delta } } }
end

local HOSTS = {
  equal = host("port-restricted", "equal"), equal2 = host("port-restricted", "equal"),
  held = host("port-restricted", "random"), held2 = host("port-restricted", "random"),
  counter = host("symmetric", "independent"), dice = host("symmetric", "random"),
  cone = host("full cone", "equal"),
}

local function summary(seconds)
  table.sort(seconds)
  local function at(part) return seconds[math.ceil(part * #seconds)] end
  return at(0.5), at(0.95), at(1)
end

local function dial(from, to)
  local seconds = {}
  for i = 1, DIALS do
    local result = from:dial(to, { timeout = 20 })
    if not result.ok then error(result.reason, 0) end
    seconds[i] = result.seconds
  end
  return summary(seconds)
end

-- What the goal is made of: messages' way over signalling, and the way between the hosts.
local function best_possible(from, to)
  local ways = {}
  for i = 1, 10 do
    ways[i] = from:call("return select(2, assert(state.node:echo(..., 'x')))", to.address) / 2
  end
  return 2 * harness.median(ways) + 2 * (4 * LATENCY) + MARGIN
end

local function row(nodes, case)
  local what, from, to = case[1], nodes[case[2]], nodes[case[3]]
  local median, p95, worst = dial(from, to)
  local result = {
    what = ("connect by punch, %s: median / p95 / max"):format(what),
    ours = ("%.0f / %.0f / %.0f ms"):format(median * 1e3, p95 * 1e3, worst * 1e3),
  }
  if case.hyperdht then
    result.theirs, result.ratio = ("%.0f ms (HyperDHT)"):format(case.hyperdht * 1e3), median / case.hyperdht
    result.goal, result.met = "faster", median < case.hyperdht
  end
  if case[3] == "equal2" then
    local goal = best_possible(from, to)
    result.goal = ("<= %.0f ms, p95 <= %.0f ms"):format(goal * 1e3, P95_FACTOR * goal * 1e3)
    result.met = result.met and median <= goal and p95 <= P95_FACTOR * goal
  end
  return result
end

return function()
  assert(lab.is_possible())
  local l <close> = assert(lab.open { hosts = HOSTS, servers = { brokers = 1, stuns = 1, ntps = 1 } })
  local nodes <close> = setmetatable({}, { __close = function(self)
    for _, node in pairs(self) do node:close() end
  end })
  for name in pairs(HOSTS) do nodes[name] = peers.start(l, name) end
  local rows = {}
  for i, case in ipairs(CASES) do rows[i] = row(nodes, case) end
  return rows
end
