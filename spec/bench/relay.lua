--- Pipes through a TURN server: how fast they are, and how long it takes to dial one in a lab.
local core = require "p2pd.core"
local harness = require "spec.bench.harness"
local lab = require "p2pd.lab"
local p2pd = require "p2pd"
local peers = require "spec.lab.peers"
local servers = require "p2pd.lab.servers"
local turn = require "p2pd.turn"

local LOCAL = "127.0.0.1"
local BYTES, CHUNK = 300e6, 256 * 1024
local DATAGRAM_BYTES = 50e6
local RATE_GOAL = 0.9
local DIALS, DIAL_GOAL, P2PD_S = 30, 0.4, 0.44

-- -- throughput, one way

local function pump(from, to, bytes)
  local block, blocks = ("x"):rep(CHUNK), (bytes or BYTES) // CHUNK
  local writer <close> = p2pd.spawn(function()
    for _ = 1, blocks do assert(from:write(block)) end
  end)
  local count, started = 0, harness.now()
  while count < blocks * CHUNK do count = count + #assert(to:recv()) end
  assert(writer:status() ~= "failed", writer:traceback())
  return count / (harness.now() - started)
end

-- What anybody's program would have: the two ends of the relayed TCP connection as they are.
local function plain_rate(server)
  local allocation <close> = assert(turn.allocate(server:turn "tcp", { relay = "tcp" }))
  assert(allocation:permit(LOCAL))
  local peer <close> = assert(core.tcp.connect(allocation.ip, allocation.port))
  local ours <close> = assert(allocation:accept(5))
  return pump(ours, peer)
end

local function pipe_rate(ours, theirs, secure, bytes)
  local alice <close> = assert(p2pd.node { settings = ours, interfaces = { "lo" }, secure = secure })
  local bob <close> = assert(p2pd.node { settings = theirs, interfaces = { "lo" }, secure = secure })
  local pipe <close> = assert(alice:connect(bob.address, { strategies = { "relay" }, secure = secure }))
  local accepted <close> = assert(bob:accept(5))
  return pump(pipe, accepted, bytes)
end

local function best_of(n, fn, ...)
  local best = 0
  for _ = 1, n do best = math.max(best, fn(...)) end
  return best
end

-- Datagrams of 1200 bytes: how many of those a server passes on is what limits this.
local function datagram_row(broker, theirs)
  local server <close> = servers.coturn { no_tcp_relay = true }
  local _, ours = servers.settings { brokers = { broker }, turn = { server:turn "udp" } }
  local rate = best_of(3, pipe_rate, ours, theirs, false, DATAGRAM_BYTES)
  return {
    what = "relay pipe over datagrams, one way through coturn",
    ours = ("%.0f MB/s"):format(rate / 1e6),
  }
end

local function rate_rows()
  local broker <close> = servers.mosquitto()
  local server <close> = servers.coturn()
  local _, ours = servers.settings { brokers = { broker }, turn = { server:turn "tcp" } }
  local _, theirs = servers.settings { brokers = { broker } }
  local plain = best_of(3, plain_rate, server)
  local rows = {}
  for i, case in ipairs { { false, "without TLS" }, { true, "with TLS" } } do
    local rate = best_of(3, pipe_rate, ours, theirs, case[1])
    rows[i] = {
      what = "relay pipe " .. case[2] .. ", one way through coturn",
      ours = ("%.0f MB/s"):format(rate / 1e6),
      theirs = ("%.0f MB/s (plain relayed TCP)"):format(plain / 1e6),
      ratio = rate / plain,
    }
  end
  rows[3] = datagram_row(broker, theirs)
  rows[1].goal, rows[1].met = (">= %.1f"):format(RATE_GOAL), rows[1].ratio >= RATE_GOAL
  return rows
end

-- -- dialing

local function dial_row(one_way)
  local symmetric = { type = "symmetric", delta = "random" }
  local l <close> = assert(lab.open {
    hosts = {
      a = { nats = { symmetric }, latency = one_way },
      b = { nats = { symmetric }, latency = one_way },
    },
    servers = { brokers = 1, stuns = 1, turns = 1 },
  })
  local a <close> = peers.start(l, "a")
  local b <close> = peers.start(l, "b")
  local seconds = {}
  for i = 1, DIALS do
    local result = a:dial(b, { strategies = { "relay" } })
    if not result.ok then error(result.reason, 0) end
    seconds[i] = result.seconds
  end
  table.sort(seconds)
  local median = seconds[#seconds // 2]
  return {
    what = ("connect by relay, symmetric NATs, server at %.0f ms: median / max"):format(one_way * 1e3),
    ours = ("%.0f / %.0f ms"):format(median * 1e3, seconds[#seconds] * 1e3),
    theirs = ("%.0f ms (P2PD)"):format(P2PD_S * 1e3),
    ratio = median / P2PD_S,
    goal = ("<= %.0f ms"):format(DIAL_GOAL * 1e3),
    met = median <= DIAL_GOAL,
  }
end

return function()
  local rows = p2pd.run(rate_rows)
  assert(lab.is_possible())
  for _, one_way in ipairs { 0.01, 0.02 } do rows[#rows + 1] = dial_row(one_way) end
  return rows
end
