--- How long a node takes: a direct connect on loopback, and until it is ready with dead servers among the
-- living. Real brokers and STUN servers; the dead ones refuse, or are silent: sockets that never answer.
local core = require "p2pd.core"
local harness = require "spec.bench.harness"
local p2pd = require "p2pd"
local scratch = require "p2pd.lab.scratch"
local servers = require "p2pd.lab.servers"
local testbed = require "spec.bench.testbed"

local CONNECTS, ROUND_TRIPS, CONNECT_BEYOND_S = 20, 20, 0.005
local NODES, SERVERS, READY_GOAL = 12, 3, 1.3

-- -- direct connect

local function round_trip(pipe)
  local times = {}
  for i = 1, ROUND_TRIPS do
    local started = harness.now()
    assert(pipe:write "ping\n")
    assert(pipe:read "l" == "ping")
    times[i] = harness.now() - started
  end
  return harness.median(times)
end

local function connect_once(node, address)
  local started = harness.now()
  local pipe <close> = assert(node:connect(address, { strategies = { "direct" } }))
  local seconds = harness.now() - started
  return seconds, round_trip(pipe)
end

local function connect_row(brokers, stuns)
  local path, settings = servers.settings { brokers = brokers, stuns = stuns }
  local _ <close>, address = testbed.node(path, "--echo")
  local node <close> = assert(p2pd.node { settings = settings, interfaces = { "lo" } })
  connect_once(node, address)
  local times, trips = {}, {}
  for i = 1, CONNECTS do times[i], trips[i] = connect_once(node, address) end
  local seconds, trip = harness.median(times), harness.median(trips)
  local allowed = 2 * trip + CONNECT_BEYOND_S
  return {
    what = "direct connect, to a usable pipe",
    ours = ("%.2f ms"):format(seconds * 1e3),
    theirs = ("%.2f ms (round trip %.3f ms)"):format(allowed * 1e3, trip * 1e3),
    ratio = seconds / allowed, goal = "<= 2 round trips + 5 ms", met = seconds <= allowed,
  }
end

-- -- node ready

local function refusing()
  return { host = "127.0.0.1", port = scratch.free_port() }
end

-- Whoever connects is never accepted, whoever asks is never answered.
local function silent_broker()
  local listener = assert(core.tcp.listen { ip = "127.0.0.1" })
  local _, port = listener:getsockname()
  return { host = "127.0.0.1", port = port, held = listener }
end

local function silent_stun()
  local socket = assert(core.udp.bind { ip = "127.0.0.1" })
  local _, port = socket:getsockname()
  return { host = "127.0.0.1", port = port, held = socket }
end

-- The list with another server in one place.
local function with_dead(list, dead, place)
  local changed = table.move(list, 1, #list, 1, {})
  changed[place] = dead
  return changed
end

-- Each node has a process of its own, so that none waits for what the last one left behind.
local function seconds_until_ready(path)
  local child <close> = harness.peer(nil, "ready_node", path)
  local seconds = child:numbers()
  child:finish()
  return seconds
end

local function ready_row(kind, brokers, stuns, dead_broker, dead_stun)
  local none_dead, with_one_dead = servers.settings { brokers = brokers, stuns = stuns }, {}
  for i = 1, SERVERS do
    with_one_dead[i] = servers.settings { brokers = with_dead(brokers, dead_broker, i),
      stuns = with_dead(stuns, dead_stun, i) }
  end
  local found = harness.alternate(NODES, {
    function(round) return seconds_until_ready(with_one_dead[round % SERVERS + 1]) end,
    function() return seconds_until_ready(none_dead) end,
  })
  return {
    what = ("node ready, 1 of 3 brokers and STUN servers %s, against none"):format(kind),
    ours = ("%.1f ms"):format(found.medians[1] * 1e3),
    theirs = ("%.1f ms"):format(found.medians[2] * 1e3),
    ratio = found.ratios[2], goal = "<= 1.3", met = found.ratios[2] <= READY_GOAL,
  }
end

local function ready_rows(brokers, stuns)
  local mute_broker, mute_stun = silent_broker(), silent_stun()
  local rows = {
    ready_row("refusing", brokers, stuns, refusing(), refusing()),
    ready_row("silent", brokers, stuns, mute_broker, mute_stun),
  }
  mute_broker.held:close()
  mute_stun.held:close()
  return rows
end

return function()
  local brokers, stuns = {}, {}
  for i = 1, SERVERS do brokers[i], stuns[i] = servers.mosquitto(), servers.coturn() end
  local rows = { connect_row(brokers, stuns) }
  local ready = ready_rows(brokers, stuns)
  servers.close_all()
  return table.move(ready, 1, #ready, #rows + 1, rows)
end
