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
local FIRST_S = 2.5 -- the same, where there is one of another family besides

local NO_FAMILY = "no address family in common with the relay"

-- A peer can have us come to many relays. A TCP one takes two connections, a UDP one as many datagrams.
local function may_come(node, m, ip, role)
  if role == "dialer" then return true end
  return node.limits:take("syns", { peer = m.from, target = ip }, SYNS)
end

local function connect_from(from, m, one, pipe_id, role, timeout)
  if m.udp then return reliable.connect(one.ip, one.port, from, pipe_id, role, timeout) end
  return simplex_pair.connect(one.ip, one.port, from and { ip = from }, pipe_id, timeout)
end

-- A relay need not share our LAN.
local function standing(node, m)
  return setmetatable({ is_relay = true }, { __index = node:standing(m.sender) })
end

--- The addresses of the relay that a message names, one for each family.
-- @tparam table m `relayed`, `also`
-- @treturn {table,...} `ip`, `port`, `family`
function remote_relay.endpoints(m)
  local list = {}
  for _, field in ipairs { "relayed", "also" } do
    local ip, port = endpoint.parse(m[field] or "")
    local family = ip and select(2, core.inet.class(ip))
    if family and (not list[1] or list[1].family ~= family) then
      list[#list + 1] = { ip = ip, port = port, family = family }
    end
  end
  return list
end

-- Our routes by which we may come to one address, or why there is none.
local function routes_to(node, m, one)
  local list, who, why = {}, standing(node, m), NO_FAMILY
  for _, route in ipairs(node.routes) do
    local ok, reason
    if route.family == one.family then ok, reason = reach.check(route, one.ip, who) end
    if ok then list[#list + 1] = route end
    why = reason or why
  end
  return list, why
end

--- Whether we may send to the relay that a message names, by whatever way.
-- @tparam node node
-- @tparam table m `relayed`, `also`
-- @tparam[opt] table one of its endpoints that is meant; nil: any
-- @treturn boolean true; or nil, message, "EACCES"
function remote_relay.check(node, m, one)
  local reason = NO_FAMILY
  for _, each in ipairs(one and { one } or remote_relay.endpoints(m)) do
    local found, why = routes_to(node, m, each)
    if found[1] then return true end
    reason = why
  end
  return nil, reason, "EACCES"
end

-- From wherever a route leads there.
local function connect_to(node, m, one, found, pipe_id, role, timeout)
  local class, attempts = core.inet.class(one.ip), {}
  for i, route in ipairs(found) do
    local from = class ~= "loopback" and route.nic or nil
    attempts[i] = function() return connect_from(from, m, one, pipe_id, role, timeout) end
  end
  local ok, reason, code = may_come(node, m, one.ip, role)
  if not ok then return nil, reason, code end
  return task.race(attempts)
end

--- Connects from wherever a route leads there; to the relay's address of another family when that of the
-- first is out of reach. (Never to both at once: two halves of different connections make no stream.) Waits.
-- @tparam node node
-- @tparam table m the message that names the relay: `relayed`, `also`, `udp`
-- @tparam string pipe_id
-- @tparam string role this side's: "dialer" or "answerer"
-- @treturn stream one on which nothing has been said; or nil, message, code
function remote_relay.connect(node, m, pipe_id, role)
  local reason, code, reachable = NO_FAMILY, "EACCES", {}
  for _, one in ipairs(remote_relay.endpoints(m)) do
    local found, why = routes_to(node, m, one)
    if found[1] then reachable[#reachable + 1] = { one, found } else reason = why end
  end
  for i, each in ipairs(reachable) do
    local timeout = reachable[i + 1] and FIRST_S or CONNECT_S
    local stream
    stream, reason, code = connect_to(node, m, each[1], each[2], pipe_id, role, timeout)
    if stream then return stream end
  end
  return nil, reason, code
end

--- The same through an allocation of ours, which the peer lets in and which ends with the stream. Waits.
-- @tparam allocation allocation
-- @tparam table m
-- @tparam string pipe_id
-- @tparam string role
-- @treturn stream one on which nothing has been said; or nil, message, code
function remote_relay.connect_by(allocation, m, pipe_id, role)
  for _, one in ipairs(remote_relay.endpoints(m)) do
    if allocation:serves(one.family) then
      return reliable.connect_by(allocation, one.ip, one.port, pipe_id, role, CONNECT_S)
    end
  end
  return nil, "no address family in common between the relays", "EAFNOSUPPORT"
end

return remote_relay
