--- How soon a node can be reached again after its host has got another address, or its router has, in a lab.
-- With P2PD_OLD, the path of another executable, how long the start of `p2pd node` takes with that one.
local core = require "p2pd.core"
local harness = require "spec.bench.harness"
local lab = require "p2pd.lab"
local peers = require "spec.lab.peers"

local MOVES, RENUMBERINGS, STARTS = 9, 5, 9
local GOAL_S, OUTSIDE_GOAL_S = 1, 20
local FAR = 0.02 -- seconds one way
local WAIT = 15

local HOME = { { type = "port-restricted" } }

-- Dials by an address that may be stale, again and again.
local REACH = [[
  local address, strategies = ...
  local started = core.clock.monotonic()
  repeat
    local pipe = state.node:connect(address, { strategies = strategies, timeout = 3 })
    if pipe then
      pipe:close()
      return core.clock.monotonic() - started
    end
  until core.clock.monotonic() - started > 15
  error("not reached", 0)
]]

local function move(l, host, number)
  local net = l:address(host):match "^(.*%.)%d+$"
  assert(l:run(host, { "sh", "-c", ("ip addr flush dev eth0; ip addr add %s%d/24 dev eth0; "
    .. "ip route add default via %s1"):format(net, number, net) }))
end

local function move_row(l, from, to, nodes, strategies)
  local times = {}
  for i = 1, MOVES do
    move(l, to, 100 + i)
    times[i] = nodes[from]:call(REACH, nodes[to].address, strategies)
    core.task.sleep(1.5) -- each counts by itself
  end
  local median = harness.median(times)
  table.sort(times)
  return {
    what = ("another address of the host, until it is reached by %s"):format(table.concat(strategies, ", ")),
    ours = ("%.0f ms (at most %.0f)"):format(median * 1e3, times[#times] * 1e3),
    goal = ("<= %.0f s"):format(GOAL_S), met = median <= GOAL_S,
  }
end

local function renumber_row(l, from, to, nodes)
  local times = {}
  for i = 1, RENUMBERINGS do
    local started = harness.now()
    local external = assert(l:renumber(to))
    repeat
      core.task.sleep(0.1)
      nodes[to].address = nodes[to]:call "return state.node.address"
    until nodes[to].address:find(external, 1, true)
    nodes[from]:call(REACH, nodes[to].address, { "punch" })
    times[i] = harness.now() - started
  end
  local median = harness.median(times)
  table.sort(times)
  return {
    what = "another address of the router, until the host is reached by punch",
    ours = ("%.1f s (at most %.1f)"):format(median, times[#times]),
    goal = ("<= %d s"):format(OUTSIDE_GOAL_S), met = times[#times] <= OUTSIDE_GOAL_S,
  }
end

local function start_once(l, executable)
  local started = harness.now()
  local node <close> = assert(l:spawn("b", { executable, "node", stdout = "pipe",
    env = { P2PD_LOG = "error" } }))
  node:stdout():settimeout(WAIT)
  assert(node:stdout():read "l", "no address")
  local seconds = harness.now() - started
  node:kill "TERM"
  node:wait(WAIT)
  return seconds
end

local function start_row(l)
  local ours, old = os.getenv "P2PD_EXE", os.getenv "P2PD_OLD"
  local times, others = {}, {}
  for i = 1, STARTS do
    times[i] = start_once(l, ours)
    if old then others[i] = start_once(l, old) end
  end
  local median, other = harness.median(times), old and harness.median(others)
  return {
    what = "p2pd node, until it says its address",
    ours = ("%.0f ms"):format(median * 1e3), theirs = other and ("%.0f ms (P2PD_OLD)"):format(other * 1e3),
    ratio = other and median / other,
  }
end

return function()
  assert(lab.is_possible())
  local l <close> = assert(lab.open {
    hosts = {
      open = { latency = FAR }, home = { nats = HOME, latency = FAR }, b = { nats = HOME, latency = FAR },
    },
    servers = { brokers = 1, stuns = 2, ntps = 1 },
  })
  local nodes <close> = setmetatable({}, { __close = function(self)
    for _, node in pairs(self) do node:close() end
  end })
  for _, name in ipairs { "open", "home", "b" } do nodes[name] = peers.start(l, name) end
  core.task.sleep(1) -- network time
  return {
    start_row(l),
    move_row(l, "b", "open", nodes, { "direct" }),
    move_row(l, "b", "home", nodes, { "punch" }),
    renumber_row(l, "b", "home", nodes),
  }
end
