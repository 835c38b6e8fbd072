--- Direct: a TCP connection to the peer's listener, at its external address and, when both sides share a
-- LAN or a machine, at its internal one.
-- @module p2pd.strategy.direct
local core = require "p2pd.core"
local nat = require "p2pd.nat"
local reach = require "p2pd.net.reach"
local task = require "p2pd.task"

local direct = {
  name = "direct",
  cost = 1,
  budget = 2, -- seconds
}

local LETS_IN = { [nat.TYPES["open internet"]] = true, [nat.TYPES["full cone"]] = true }

local function local_options(route, ip)
  if core.inet.class(ip) == "loopback" then return nil end
  return { ip = route.nic }
end

local function is_near(pair)
  local on_nic = pair.family == "ipv4" and pair.remote.internal or pair.remote.external
  return pair.remote.external == pair.route.external
    or reach.is_in_subnet(pair.route, on_nic)
end

-- The peer's endpoints that make sense from our route.
local function endpoints(pair)
  local remote, list = pair.remote, { pair.remote.external }
  if is_near(pair) and remote.internal ~= remote.external then table.insert(list, 1, remote.internal) end
  for i, ip in ipairs(list) do
    if pair.family == "ipv6" and core.inet.class(ip) == "link-local" and not ip:find "%%" then
      list[i] = ip .. "%" .. pair.route.name
    end
  end
  return list
end

--- Who is near, or lets everybody in, can be connected to; of others that is known when it has been tried: a
-- port may be forwarded by hand.
-- @tparam node _
-- @tparam table pair
-- @treturn boolean
function direct.expected(_, pair)
  return is_near(pair) or LETS_IN[pair.remote.nat.type] or false
end

-- Who has the peer's inner address in our network, and accepts, may be a neighbour; or we.
local function is_ours(node, pair, ip)
  for _, route in ipairs(node.routes) do
    if route.port == pair.remote.port and (route.nic == ip or route.internal == ip:gsub("%%.*", "")) then
      return true
    end
  end
  return false
end

local function check_endpoint(node, peer_id, pair, ip)
  if peer_id ~= node.id and is_ours(node, pair, ip) then
    return nil, ip .. " is our own listener here", "EACCES"
  end
  return reach.check_pair(pair, ip)
end

--- Connects to all of a pair's endpoints at once; the first one counts at which the peer is.
-- @tparam node node ours
-- @tparam string peer_id who should be there
-- @tparam table pair route (ours), remote (an address record), family
-- @tparam function verify takes a connected stream over; returns it once the peer is known to be at its end,
-- or nil, message, code
-- @tparam[opt] function check of an address: whether to connect there (besides p2pd.net.reach)
-- @treturn stream what `verify` returned; or nil, message, code
function direct.connect(node, peer_id, pair, verify, check)
  local attempts, reason, code = {}, nil, nil
  for _, ip in ipairs(endpoints(pair)) do
    local ok
    ok, reason, code = check_endpoint(node, peer_id, pair, ip)
    if ok and check then ok, reason, code = check(ip) end
    if ok then
      attempts[#attempts + 1] = function()
        local stream, why, errno =
          core.tcp.connect(ip, pair.remote.port, local_options(pair.route, ip))
        if not stream then return nil, why, errno end
        return verify(stream)
      end
    end
  end
  if not attempts[1] then return nil, reason, code end
  return task.race(attempts)
end

--- Connects to the endpoints of a pair.
-- @tparam dial dial
-- @tparam table pair
-- @treturn stream a verified stream; or nil, message, code
function direct.dial(dial, pair)
  return direct.connect(dial.node, dial.peer.node_id, pair, function(stream) return dial:secure(stream) end)
end

return direct
