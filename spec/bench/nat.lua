--- Knowing the NAT, in the lab at 20 ms one way: a whole classification, `p2pd nat` with a third of the
-- servers dead, and a node until it is ready.
local harness = require "spec.bench.harness"
local lab = require "p2pd.lab"
local nats = require "spec.lab.nats"

local LATENCY, ROUND_TRIP = 0.02, 0.04
local ROUNDS = 5
local ROUND_TRIPS_GOAL, RTO = 10, 0.1
local NAT_GOAL_S, READY_GOAL_S = 3, 1
local SERVERS = 3 -- of a kind, one of them silent

local function row(what, seconds, goal_s, goal, figure)
  return {
    what = what, ours = figure or ("%.0f ms"):format(seconds * 1e3), theirs = "", ratio = seconds / goal_s,
    goal = goal, met = seconds <= goal_s,
  }
end

local function repeated(fn)
  local times = {}
  for i = 1, ROUNDS do times[i] = fn() end
  return harness.median(times), math.max(table.unpack(times))
end

local function classification_rows(l)
  local rows = {}
  for _, one in ipairs(nats.CASES) do
    local inside <close> = nats.agent(l, one.name)
    local median, longest = repeated(function() return nats.classify(inside, l.settings).seconds end)
    rows[#rows + 1] = row("classification: " .. one.name, longest, ROUND_TRIPS_GOAL * ROUND_TRIP + RTO,
      "<= 10 round trips + a retransmission",
      ("%.1f round trips (longest %.1f)"):format(median / ROUND_TRIP, longest / ROUND_TRIP))
  end
  return rows
end

-- Runs a command until it has printed all, or its first line.
local function run(l, host, what, ...)
  local started = harness.now()
  local child <close> = l:p2pd(host, { ... })
  child:stdout():settimeout(30)
  assert(child:stdout():read(what))
  local seconds = harness.now() - started
  if what == "l" then child:kill "TERM" end
  child:wait(30)
  return seconds
end

local function silence(servers)
  for _, server in ipairs(servers) do server:signal "STOP" end
end

local function command_rows(l)
  local rows = {}
  for _, kind in ipairs { "brokers", "stuns", "ntps" } do silence { l[kind][1] } end
  for _, host in ipairs { "port_restricted", "blocked" } do
    local _, longest = repeated(function() return run(l, host, "a", "nat", "--json") end)
    rows[#rows + 1] = row(("p2pd nat, a third of the servers dead: %s"):format(host), longest, NAT_GOAL_S,
      "<= 3 s, each time")
    _, longest = repeated(function() return run(l, host, "l", "node") end)
    rows[#rows + 1] = row(("node ready, a third of the servers dead: %s"):format(host), longest, READY_GOAL_S,
      "<= 1 s, each time")
  end
  silence(l.stuns)
  local _, longest = repeated(function() return run(l, "port_restricted", "l", "node") end)
  rows[#rows + 1] = row("node ready, no STUN server answers", longest, READY_GOAL_S, "<= 1 s, each time")
  return rows
end

return function()
  local can, why = lab.is_possible()
  if not can then return { { what = "the NAT: no lab, " .. why } } end
  local description = nats.description({ latency = LATENCY }, SERVERS)
  description.servers.brokers, description.servers.ntps, description.servers.turns = SERVERS, SERVERS, 1
  local l <close> = assert(lab.open(description))
  local rows, more = classification_rows(l), command_rows(l)
  return table.move(more, 1, #more, #rows + 1, rows)
end
