--- The birthday attack's tail: connects by punching alone between a symmetric NAT with random ports and a
-- port-restricted one, 20 ms one way, from either side in turn.
local lab = require "p2pd.lab"
local peers = require "spec.lab.peers"

local DIALS = 200
local LATENCY = 0.01 -- seconds between a host and the internet
local WAVE_S = 0.95  -- of docs/protocol.md
local MAX_GOAL_S, TWO_WAVES_GOAL = 2, 0.98

local function host(type, delta)
  return { latency = LATENCY, nats = { { type = type, delta = delta } } }
end

local function dial(from, to)
  local result = from:dial(to, { timeout = 20 })
  if not result.ok then error(result.reason, 0) end
  return result.seconds
end

-- A dial that took less than two waves connected in one of them.
local function share_of_two_waves(seconds)
  local count = 0
  for _, each in ipairs(seconds) do
    if each < 2 * WAVE_S then count = count + 1 end
  end
  return count / #seconds
end

local function row(seconds)
  table.sort(seconds)
  local function at(part) return seconds[math.ceil(part * #seconds)] end
  local share = share_of_two_waves(seconds)
  return {
    what = ("connect by a birthday attack (%d): median / p95 / max"):format(#seconds),
    ours = ("%.0f / %.0f / %.0f ms, %.1f %% in two waves"):format(at(0.5) * 1e3, at(0.95) * 1e3,
      at(1) * 1e3, share * 100),
    goal = ("max <= %.0f ms, >= %.0f %%"):format(MAX_GOAL_S * 1e3, TWO_WAVES_GOAL * 100),
    met = at(1) <= MAX_GOAL_S and share >= TWO_WAVES_GOAL,
  }
end

return function()
  assert(lab.is_possible())
  local l <close> = assert(lab.open {
    hosts = { random = host("symmetric", "random"), equal = host("port-restricted", "equal") },
    servers = { brokers = 1, stuns = 1, ntps = 1 },
  })
  local random <close> = peers.start(l, "random")
  local equal <close> = peers.start(l, "equal")
  local seconds = {}
  for i = 1, DIALS, 2 do
    seconds[i], seconds[i + 1] = dial(random, equal), dial(equal, random)
  end
  return { row(seconds) }
end
