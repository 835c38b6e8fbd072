--- A flood of signalling from strangers: what it does to the round trips of a friend, and to the node's
-- memory and descriptors. And what sealing and opening cost.
local core = require "p2pd.core"
local harness = require "spec.bench.harness"
local lfs = require "lfs"
local nodes = require "spec.nodes"
local p2pd = require "p2pd"
local servers = require "p2pd.lab.servers"
local testbed = require "spec.bench.testbed"

local ROUNDS, ECHOS, GOAL = 5, 60, 2
local SEALS, SEAL_GOAL_US = 2000, 200

local function round_trip(node, address)
  local times = {}
  for i = 1, ECHOS do
    local data, seconds = node:echo(address, "x", 10)
    assert(data == "x", seconds)
    times[i] = seconds
    core.task.sleep(0.005) -- within what a friend may send
  end
  return harness.median(times)
end

local function descriptors(pid)
  local count = 0
  for _ in lfs.dir(("/proc/%d/fd"):format(pid)) do count = count + 1 end
  return count
end

local function during_flood(port, node_id, fn)
  local flood <close> = harness.peer(2, "flood", tostring(port), node_id)
  flood:line()
  local result = fn()
  flood.process:stdin():shutdown()
  local rate = flood:numbers()
  flood:finish()
  return result, rate
end

local function flood_rows()
  -- Without it the broker's kernel gathers small packets, and what comes behind others waits 8 ms there.
  local broker, stun = servers.mosquitto { config = "set_tcp_nodelay true" }, servers.coturn()
  local path, settings = servers.settings { brokers = { broker }, stuns = { stun } }
  local child <close>, address = testbed.node(path, "--echo")
  local friend <close> = assert(p2pd.node { settings = settings, interfaces = { "lo" } })
  local node_id, rates = address:match "(%w+)$", {}
  round_trip(friend, address)
  local pid = child:pid()
  local memory, files = harness.proc(pid, "status", "VmRSS"), descriptors(pid)
  local found = harness.alternate(ROUNDS, {
    function()
      local seconds, rate = during_flood(broker.port, node_id,
        function() return round_trip(friend, address) end)
      rates[#rates + 1] = rate
      return seconds
    end,
    function() return round_trip(friend, address) end,
  })
  local growth = (harness.proc(pid, "status", "VmRSS") - memory) / 1024
  local more = descriptors(pid) - files
  servers.close_all()
  return {
    {
      what = ("a friend's round trip over signalling, strangers sending %.0f a second, against none")
        :format(harness.median(rates)),
      ours = ("%.2f ms"):format(found.medians[1] * 1e3), theirs = ("%.2f ms"):format(found.medians[2] * 1e3),
      ratio = found.ratios[2], goal = "<= 2", met = found.ratios[2] <= GOAL,
    },
    {
      what = "the node after the flood: more memory, more descriptors",
      ours = ("%.1f MiB, %d"):format(growth, more), goal = "bounded",
    },
  }
end

local function seal_row()
  local alice, bob = nodes.new(), nodes.new()
  local text, times = ("x"):rep(512), { seal = {}, open = {} }
  local function measure(list, fn)
    local started = harness.now()
    local result = fn()
    list[#list + 1] = (harness.now() - started) * 1e6
    return result
  end
  for _ = 1, SEALS do
    local sealed = measure(times.seal, function()
      return alice.key:seal_hidden(bob.id, "info", "aad", text)
    end)
    measure(times.open, function() return assert(bob.key:open_hidden("info", "aad", sealed)) end)
  end
  local seal, open = harness.median(times.seal), harness.median(times.open)
  return {
    what = "sealing and opening a message", ours = ("%.0f and %.0f us"):format(seal, open),
    goal = "<= 200 us each", met = math.max(seal, open) <= SEAL_GOAL_US,
  }
end

return function()
  local rows = flood_rows()
  rows[#rows + 1] = seal_row()
  return rows
end
