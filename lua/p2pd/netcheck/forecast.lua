--- Which peers can a host expect to reach without a relay? Pure.
-- @module p2pd.netcheck.forecast
local nat = require "p2pd.nat"
local port_mapping = require "p2pd.port_mapping"
local predict = require "p2pd.punch.predict"

local forecast = {}

local function kind(type, delta, value, mapping)
  return { type = nat.TYPES[type], delta = nat.DELTAS[delta], value = value or 0, tcp_mapping = mapping }
end

local INDEPENDENT, _, PORT = table.unpack(nat.BEHAVIOURS)

--- The kinds of peers there are, for people: `name`, `nat`; `translated`: not found with IPv6.
forecast.PEERS = {
  { name = "with a public address", nat = kind("open internet", "not applicable") },
  { name = "behind a firewall without NAT", nat = kind("symmetric UDP firewall", "not applicable") },
  { name = "behind a NAT that keeps ports (most homes)", translated = true,
    nat = kind("port-restricted", "equal", 0, INDEPENDENT) },
  { name = "behind a NAT with one port for everybody", translated = true,
    nat = kind("port-restricted", "random", 0, INDEPENDENT) },
  { name = "behind a symmetric NAT, ports in sequence", translated = true,
    nat = kind("symmetric", "independent", 1, PORT) },
  { name = "behind a symmetric NAT, random ports (mobile networks)", translated = true,
    nat = kind("symmetric", "random", 0, PORT) },
}

-- How a connection comes about, and for a relay why.
local function find_way(local_nat, remote_nat)
  if local_nat.type == nat.OPEN or remote_nat.type == nat.OPEN then return "one side connects" end
  if predict.meeting(local_nat, remote_nat) then return "simultaneous open" end
  local meeting, reason = predict.meeting(local_nat, remote_nat, "internet", true)
  if meeting then return "birthday attack" end
  return "only relayed", reason
end

--- How each kind of peer is reached.
-- @tparam table local_nat a NAT, as of a route
-- @tparam[opt="ipv4"] string family
-- @treturn {table,...} in the order of @{PEERS}: `peer`, `way` ("one side connects"; "simultaneous open";
-- "birthday attack", when both agree to it; "only relayed"), and for the last one `reason`
function forecast.ways(local_nat, family)
  local ways = {}
  for _, peer in ipairs(forecast.PEERS) do
    if family ~= "ipv6" or not peer.translated then
      local way, reason = find_way(local_nat, peer.nat)
      ways[#ways + 1] = { peer = peer.name, way = way, reason = reason }
    end
  end
  return ways
end

local WORTH = { ["one side connects"] = 1.5, ["simultaneous open"] = 1, ["birthday attack"] = 0.5,
  ["only relayed"] = 0 }

local function worth_of(ways)
  local sum = 0
  for _, one in ipairs(ways) do sum = sum + WORTH[one.way] end
  return sum
end

--- The best of several routes of a family.
-- @tparam {table,...} routes
-- @tparam string family
-- @treturn ?table the route
-- @treturn ?table its @{ways}
function forecast.best(routes, family)
  local best, best_ways
  for _, route in ipairs(routes) do
    local local_nat = port_mapping.is_verified(route) and nat.open() or route.nat
    local ways = route.family == family and route.external_known and forecast.ways(local_nat, family)
    if ways and (not best or worth_of(ways) > worth_of(best_ways)) then best, best_ways = route, ways end
  end
  return best, best_ways
end

local function count(ways)
  local counts = {}
  for way in pairs(WORTH) do counts[way] = 0 end
  for _, one in ipairs(ways) do counts[one.way] = counts[one.way] + 1 end
  return counts
end

local function describe(name, ways)
  local counts = count(ways)
  local relayed = counts["only relayed"]
  if counts["one side connects"] == #ways then
    return ("%s: every peer can connect to this host."):format(name)
  end
  if relayed == 0 then return ("%s: every kind of peer can be reached without a relay."):format(name) end
  return ("%s: %d of %d kinds of peers can be reached without a relay."):format(name,
    #ways - relayed, #ways)
end

local function has_one(list)
  for _, one in ipairs(list) do
    if one.ok then return true end
  end
  return false
end

--- What a netcheck comes to.
-- @tparam table found as @{netcheck.run} gives it
-- @treturn {string,...} sentences
-- @treturn table `ipv4` and `ipv6`: the @{ways} of the best route, nil without one
function forecast.verdict(found)
  local sentences, ways = {}, {}
  for _, family in ipairs { { "ipv4", "IPv4" }, { "ipv6", "IPv6" } } do
    local best
    best, ways[family[1]] = forecast.best(found.routes, family[1])
    if best then sentences[#sentences + 1] = describe(family[2], ways[family[1]]) end
  end
  if not sentences[1] then
    sentences[1] = "No server outside answered: only peers on this network can be reached."
  end
  if not has_one(found.brokers) then
    sentences[#sentences + 1] = "No broker can be reached, so peers can't be signalled."
  end
  if not has_one(found.turns) then
    sentences[#sentences + 1] = found.turns[1] and "No relay can be used." or "No relay is configured."
  end
  return sentences, ways
end

local function grade(ways, is_relay)
  local counts = count(ways)
  local reached = #ways - counts["only relayed"]
  if counts["one side connects"] == #ways then return "good: every peer can connect to this host" end
  if reached == #ways then return "good: every kind of peer can be reached without a relay" end
  return ("%s: %d of %d kinds of peers can be reached, %s"):format(reached > #ways / 2 and "fair" or "poor",
    reached, #ways, is_relay and "the others by a relay" or "the others need a relay")
end

--- A netcheck in one line.
-- @tparam table found as @{netcheck.run} gives it
-- @treturn string "good: ...", "fair: ...", "poor: ..." or "bad: ..."
function forecast.headline(found)
  local _, ways = forecast.verdict(found)
  local chosen = ways.ipv4 or ways.ipv6
  if not chosen then return "bad: no server outside answers, only peers on this network can be reached" end
  if not has_one(found.brokers) then return "bad: no broker can be reached, so peers can't be signalled" end
  return grade(chosen, has_one(found.turns)) .. (ways.ipv4 and "" or " (by IPv6 only)")
end

return forecast
