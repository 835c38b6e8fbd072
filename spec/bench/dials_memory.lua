--- What a node remembers of its peers: its memory after 20,000 dials to 1,000 peers, each with a request over
-- signalling, beside its memory after 100. P2PD_DIALS changes the number.
local core = require "p2pd.core"
local harness = require "spec.bench.harness"
local p2pd = require "p2pd"
local servers = require "p2pd.lab.servers"

local PEERS, DIALS, FIRST = 1000, tonumber(os.getenv "P2PD_DIALS" or 20000), 100
local GOAL_MB, WAIT = 1, 10

local function resident()
  collectgarbage()
  collectgarbage()
  return harness.proc("self", "status", "VmRSS") * 1024 / 1e6
end

local function dial(node, address)
  assert(node:get_address(address, WAIT))
  local pipe <close> = assert(node:connect(address, { strategies = { "direct" }, timeout = WAIT }))
  pipe:write "hello\n"
end

return function()
  local broker = servers.mosquitto()
  local _, settings = servers.settings { brokers = { broker } }
  local crowd <close> = assert(core.process.spawn { os.getenv "P2PD_EXE" or "./p2pd",
    "spec/bench/peers/crowd.lua", tostring(broker.port), tostring(PEERS), stdin = "null", stdout = "pipe" })
  local addresses = {}
  for i = 1, PEERS do
    local port, id = assert(crowd:stdout():read "l"):match "^(%d+) (%w+)$"
    addresses[i] = ("0-[0,127.0.0.1,127.0.0.1,%s,1,1,0]-0-%s"):format(port, id)
  end
  local node <close> = assert(p2pd.node { settings = settings, interfaces = { "lo" } })
  local before
  for i = 1, DIALS do
    dial(node, addresses[i % PEERS + 1])
    if i == FIRST then before = resident() end
  end
  local after = resident()
  servers.close_all()
  return { {
    what = ("resident memory after %d dials to %d peers, beside that after %d"):format(DIALS, PEERS, FIRST),
    ours = ("%.1f MB"):format(after), theirs = ("%.1f MB"):format(before), ratio = after / before,
    goal = ("<= %d MB more"):format(GOAL_MB), met = after - before <= GOAL_MB,
  } }
end
