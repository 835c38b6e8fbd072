--- The local relay of one pipe: an allocation of this node that lets the peer in.
-- @module p2pd.relay.local_relay
local core = require "p2pd.core"
local endpoint = require "p2pd.endpoint"
local families = require "p2pd.families"
local pool = require "p2pd.turn.pool"
local reach = require "p2pd.net.reach"
local reliable = require "p2pd.turn.reliable"
local simplex_pair = require "p2pd.turn.simplex_pair"
local task = require "p2pd.task"

local local_relay = {}

local ALLOCATE_S = 8 -- seconds for an allocation
local CONNECT_S = 8  -- for each step of a link over datagrams
local SPARES = 2     -- data connections opened ahead: the two halves of a pair


-- A family that we do not speak: nothing of it is ours, and nothing is near.
local NOWHERE = {
  ipv4 = { family = "ipv4", nic = "0.0.0.0", prefix = 32 },
  ipv6 = { family = "ipv6", nic = "::", prefix = 128 },
}

-- -- whom to let in

-- Whether what a relay lets in, or sends to, is what we could: a relay of ours is not to walk around a
-- firewall for its server either.
local function may_reach(node, ip, who, external)
  local family, is_spoken = select(2, core.inet.class(ip)), false
  for _, route in ipairs(node.routes) do
    if reach.check(route, ip, who, external) then return true end
    is_spoken = is_spoken or route.family == family
  end
  return not is_spoken and reach.check(NOWHERE[family], ip, who, external) == true
end

-- The addresses of a family that a peer may come from, added to a list.
local function add_addresses(list, node, peer, family)
  local seen, who = {}, node:standing(peer)
  for _, record in ipairs(peer[family]) do
    for _, ip in ipairs { record.external, record.internal } do
      local is_new = not seen[ip] and core.inet.class(ip) ~= "link-local"
      if is_new and may_reach(node, ip, who, record.external) then list[#list + 1] = ip end
      seen[ip] = true
    end
  end
end

-- Those of every family that a relay serves.
local function addresses_of(node, peer, allocation)
  local list = {}
  for _, family in ipairs(families.ALL) do
    if not allocation or allocation:serves(family) then add_addresses(list, node, peer, family) end
  end
  return list
end

-- What the peer speaks is what the relay has to: we come to it by whatever leads to its server.
local function family_of(peer)
  if peer.ipv4[1] and peer.ipv6[1] then return "both" end
  return peer.ipv4[1] and "ipv4" or peer.ipv6[1] and "ipv6" or nil
end

--- Permits every address of a peer; one that the server admits is enough. Waits.
-- @tparam node node
-- @tparam allocation allocation
-- @tparam table peer a parsed address
-- @treturn boolean true; or nil, message, code
function local_relay.permit(node, allocation, peer)
  local asked, reasons, admitted = {}, {}, false
  for i, ip in ipairs(addresses_of(node, peer, allocation)) do
    asked[i] = function()
      local ok, reason = allocation:permit(ip, ALLOCATE_S)
      admitted = admitted or ok
      reasons[#reasons + 1] = not ok and reason or nil
      return true
    end
  end
  task.all(asked)
  if admitted then return true end
  return nil, reasons[1] or "the peer has no address that a relay could let in", "EACCES"
end

-- -- making one

-- The servers of a node's settings, and what is known of them.
local function pool_of(node)
  return node:keep(pool, function() return pool.new(node.settings.turn or {}) end)
end

--- Whether the node's settings name a server.
-- @tparam node node
-- @treturn boolean
function local_relay.is_possible(node)
  return pool_of(node).servers[1] ~= nil
end

--- Room for a relay that a peer has us make, with our credentials.
-- @tparam node node
-- @tparam string peer_id
-- @treturn place to be closed; or nil, message, code
function local_relay.take_place(node, peer_id)
  local who = { peer = peer_id }
  local ok, reason, code = node.limits:take("relays_made", who)
  if not ok then return nil, reason, code end
  return node.limits:hold("relays", who)
end

--- Allocates: a TCP relay where there is one, else a UDP one; of the families that the peer speaks, both if
-- the server has both. Waits.
-- @tparam node node
-- @tparam table peer whom to let in, a parsed address
-- @treturn[1] allocation to be closed
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code ("EDESTADDRREQ": no address of the peer is known)
function local_relay.open(node, peer)
  local family = family_of(peer)
  if not family then return nil, "no address of the peer is known", "EDESTADDRREQ" end
  local reasons, code = {}, nil
  for _, kind in ipairs { "tcp", "udp" } do
    local allocation, reason
    allocation, reason, code = pool_of(node):allocate { relay = kind,
      family = family ~= "ipv4" and family or nil, timeout = ALLOCATE_S, permit = addresses_of(node, peer) }
    if allocation then
      if kind == "tcp" then allocation:prepare(SPARES) end
      return allocation
    end
    if not reasons[reason] then reasons[#reasons + 1] = reason end
    reasons[reason] = true
  end
  return nil, table.concat(reasons, "; "), code
end

--- Allocates a UDP relay to send from, where our network blocks UDP. Waits.
-- @tparam node node
-- @treturn allocation to be closed; or nil, message, code
function local_relay.open_sender(node)
  return pool_of(node):allocate { family = "both", timeout = ALLOCATE_S }
end

-- -- using it

--- What a message says of it.
-- @tparam ?allocation allocation nil: nothing
-- @treturn table fields
function local_relay.fields(allocation)
  if not allocation then return {} end
  local first, second = table.unpack(allocation.relayed)
  return { relayed = endpoint.format(first.ip, first.port),
    also = second and endpoint.format(second.ip, second.port),
    udp = allocation.relay == "udp" or nil }
end

--- Waits for whoever comes to it, until `verify` lets one through. The allocation ends with the stream.
-- @tparam allocation allocation
-- @tparam string pipe_id
-- @tparam string role this side's: "dialer" or "answerer"
-- @tparam function verify gets a stream; returns it, or nil, message, code (ECANCELED ends the wait)
-- @treturn stream a verified one; or nil, message, code
function local_relay.receive(allocation, pipe_id, role, verify)
  if allocation.relay == "tcp" then return simplex_pair.receive(allocation, pipe_id, verify) end
  local stream, reason, code = reliable.receive(allocation, pipe_id, role, CONNECT_S)
  if not stream then return nil, reason, code end
  return verify(stream)
end

return local_relay
