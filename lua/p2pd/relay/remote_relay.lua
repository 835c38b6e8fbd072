--- The remote relay of one pipe: connecting to the address that the peer has allocated, which needs no
-- credentials.
-- @module p2pd.relay.remote_relay
local core = require "p2pd.core"
local endpoint = require "p2pd.endpoint"
local reach = require "p2pd.net.reach"
local reliable = require "p2pd.turn.reliable"
local simplex_pair = require "p2pd.turn.simplex_pair"
local task = require "p2pd.task"

local remote_relay = {}

local SYNS = 8      -- of two connections that nobody answers in that time (RFC 6298 section 2)
local CONNECT_S = 8 -- seconds for a connection to a relayed address

-- A peer can have us come to many relays. A TCP one takes two connections, a UDP one as many datagrams.
local function may_come(node, m, ip, role)
  if role == "dialer" then return true end
  return node.limits:take("syns", { peer = m.from, target = ip }, SYNS)
end

local function connect_from(from, m, ip, port, pipe_id, role)
  if m.udp then return reliable.connect(ip, port, from, pipe_id, role, CONNECT_S) end
  return simplex_pair.connect(ip, port, from and { ip = from }, pipe_id, CONNECT_S)
end

-- A relay need not share our LAN.
local function standing(node, m)
  return setmetatable({ is_relay = true }, { __index = node:standing(m.sender) })
end

--- Whether we may send to the relay that a message names, by whatever way.
-- @tparam node node
-- @tparam table m `relayed`
-- @treturn boolean true; or nil, message, "EACCES"
function remote_relay.check(node, m)
  local ip, who = endpoint.parse(m.relayed), standing(node, m)
  local reason = "no address family in common with the relay"
  for _, route in ipairs(node.routes) do
    local ok, why = reach.check(route, ip, who)
    if ok then return true end
    reason = why
  end
  return nil, reason, "EACCES"
end

--- Connects from wherever a route leads there. Waits.
-- @tparam node node
-- @tparam table m the message that names the relay: `relayed`, `udp`
-- @tparam string pipe_id
-- @tparam string role this side's: "dialer" or "answerer"
-- @treturn stream one on which nothing has been said; or nil, message, code
function remote_relay.connect(node, m, pipe_id, role)
  local ip, port = endpoint.parse(m.relayed)
  local class, family = core.inet.class(ip)
  local attempts, who, why = {}, standing(node, m), "no address family in common with the relay"
  for _, route in ipairs(node.routes) do
    local ok, reason
    if route.family == family then ok, reason = reach.check(route, ip, who) end
    why = reason or why
    if ok then
      local from = class ~= "loopback" and route.nic or nil
      attempts[#attempts + 1] = function() return connect_from(from, m, ip, port, pipe_id, role) end
    end
  end
  if not attempts[1] then return nil, why, "EACCES" end
  local ok, reason, code = may_come(node, m, ip, role)
  if not ok then return nil, reason, code end
  return task.race(attempts)
end

--- The same through an allocation of ours, which the peer lets in and which ends with the stream. Waits.
-- @tparam allocation allocation
-- @tparam table m
-- @tparam string pipe_id
-- @tparam string role
-- @treturn stream one on which nothing has been said; or nil, message, code
function remote_relay.connect_by(allocation, m, pipe_id, role)
  local ip, port = endpoint.parse(m.relayed)
  return reliable.connect_by(allocation, ip, port, pipe_id, role, CONNECT_S)
end

return remote_relay
