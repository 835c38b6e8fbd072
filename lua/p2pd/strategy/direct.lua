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
    or core.inet.same_subnet(on_nic, pair.route.nic, pair.route.prefix or 24)
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

--- Connects to the first of a pair's endpoints that accepts.
-- @tparam table pair route (ours), remote (an address record), family
-- @tparam[opt] function check of the pair and an address: whether to connect there (besides p2pd.net.reach)
-- @treturn stream a stream on which nothing has been said; or nil, message, code
function direct.connect(pair, check)
  local attempts, reason, code = {}, nil, nil
  for _, ip in ipairs(endpoints(pair)) do
    local ok
    ok, reason, code = reach.check_pair(pair, ip)
    if ok and check then ok, reason, code = check(pair, ip) end
    if ok then
      attempts[#attempts + 1] = function()
        return core.tcp.connect(ip, pair.remote.port, local_options(pair.route, ip))
      end
    end
  end
  if not attempts[1] then return nil, reason, code end
  return task.race(attempts)
end

--- @tparam dial dial
-- @tparam table pair
-- @treturn stream a verified stream; or nil, message, code
function direct.dial(dial, pair)
  local stream, message, code = direct.connect(pair)
  if not stream then return nil, message, code end
  return dial:secure(stream)
end

return direct
