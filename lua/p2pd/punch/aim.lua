--- Which SYNs a side of a punch sends: from which of our ports to which of the peer's addresses and ports.
-- @module p2pd.punch.aim
local birthday = require "p2pd.punch.birthday"
local core = require "p2pd.core"
local pairing = require "p2pd.punch.pairing"
local predict = require "p2pd.punch.predict"

local aim = {}

local LOW_TTL = { [2] = 2, [4] = 3, [6] = 4 } -- of the answerer's first SYN, by attempt

--- Whether the answerer's first SYN only opens its own NAT: then the dialer's has to come a little later.
-- @tparam integer attempt from 1
-- @treturn boolean
function aim.is_low(attempt)
  return LOW_TTL[attempt] ~= nil
end

-- A first SYN that gets out of our NAT, but not as far as one that would answer it with a reset.
local function first_ttl(side, wave)
  if side.pair.family ~= "ipv4" or side.purpose ~= "internet" then return nil end
  if side.meeting == "birthday remote" then return nil end
  if side.meeting == "birthday local" then return birthday.first_ttl(side.attempt, wave) end
  return not side.is_dialer and LOW_TTL[side.attempt] or nil
end

-- A link-local address is one of an interface.
local function scoped(ip, route)
  return core.inet.class(ip) == "link-local" and ip .. "%" .. route.name or ip
end

-- What a side's SYNs to one of the peer's addresses have in common.
local function new_target(side, remote_ip, ttl)
  local route = side.route
  local is_link_local = core.inet.class(remote_ip) == "link-local"
  local target = {
    ip = scoped(is_link_local and route.internal or route.nic, route),
    remote_ip = scoped(remote_ip, route),
    is_here = remote_ip == route.nic,
    ttl = ttl,
  }
  if not target.is_here then target.device = route.device end
  return target
end

-- A port of this machine never connects to itself.
local function add_syn(list, target, local_port, remote_port)
  if target.is_here and remote_port == local_port then return end
  list[#list + 1] = {
    ip = target.ip,
    port = local_port,
    device = target.device,
    remote_ip = target.remote_ip,
    remote_port = remote_port,
    ttl = target.ttl,
  }
end

-- The birthday attack, the guessing side: one local port against many remote ones.
local function aim_guesses(side, wave)
  side.guesses = side.guesses or birthday.guesses(birthday.WAVES * birthday.GUESSES)
  local list, target = {}, new_target(side, side.pair.remote.external)
  local _, count = birthday.pace(side.delay)
  for i = (wave - 1) * count + 1, wave * count do
    add_syn(list, target, side.mappings[1].local_port, side.guesses[i])
  end
  return list
end

-- The opening side: many local ports, whichever are free, against one remote one.
local function aim_from_many(side, remote_mappings, wave)
  local list, target = {}, new_target(side, side.pair.remote.external, first_ttl(side, wave))
  local remote = remote_mappings[1]
  for _ = 1, remote and birthday.PORTS or 0 do add_syn(list, target, 0, remote.external_port) end
  return list
end

--- The SYNs of a wave, as `core.punch.start` takes them: an attempt has one, a birthday attack several.
-- @tparam side side see p2pd.punch.side
-- @tparam {table,...} remote_mappings the peer's
-- @tparam integer wave from 1
-- @treturn {table,...}
function aim.syns(side, remote_mappings, wave)
  if side.meeting == "birthday remote" then return aim_guesses(side, wave) end
  if side.meeting == "birthday local" then return aim_from_many(side, remote_mappings, wave) end
  local pair, list, ttl = side.pair, {}, first_ttl(side, wave)
  local external, internal = pair.remote.external, pair.remote.internal
  local is_near = side.purpose ~= "internet" or pairing.shares_lan(pair) and internal ~= external
  local outside = side.purpose == "internet" and new_target(side, external, ttl)
  local inside = is_near and pairing.check_address(pair, internal) and new_target(side, internal, ttl)
  for i, mapping in ipairs(predict.aim(side.mappings, remote_mappings)) do
    if outside then add_syn(list, outside, mapping.local_port, mapping.reply_port) end
    local peer = remote_mappings[(i - 1) % math.max(1, #remote_mappings) + 1]
    if inside and peer then add_syn(list, inside, mapping.local_port, peer.local_port) end
  end
  return list
end

--- The local ports to accept on as well.
-- @tparam side side
-- @treturn {integer,...}
function aim.listening_ports(side)
  local ports = {}
  if not side.needs.listen and not pairing.shares_lan(side.pair) then return ports end
  for i, mapping in ipairs(side.mappings) do ports[i] = mapping.local_port end
  return ports
end

return aim
