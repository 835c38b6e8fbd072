--- Direct: a TCP connection to the peer's listener, at its external address and, when both sides share a
-- LAN or a machine, at its internal one.
-- @module p2pd.strategy.direct
local core = require "p2pd.core"
local task = require "p2pd.task"

local direct = {}

local function local_options(ours, ip)
  if core.inet.class(ip) == "loopback" then return nil end
  return { ip = ours.nic }
end

-- The endpoints of theirs that make sense from ours.
local function endpoints(pair)
  local ours, theirs = pair.route, pair.remote
  local list = { theirs.external }
  local on_nic = pair.family == "ipv4" and theirs.internal or theirs.external
  local near = theirs.external == ours.external
    or core.inet.same_subnet(on_nic, ours.nic, ours.prefix or 24)
  if near and theirs.internal ~= theirs.external then table.insert(list, 1, theirs.internal) end
  for i, ip in ipairs(list) do
    if pair.family == "ipv6" and core.inet.class(ip) == "link-local" and not ip:find "%%" then
      list[i] = ip .. "%" .. ours.name
    end
  end
  return list
end

--- Connects to the first of a pair's endpoints that accepts.
-- @tparam table pair ours (a route), theirs (an address record), family
-- @tparam[opt] function check of our route and an address: whether to connect there (p2pd.net.reach.check)
-- @treturn stream a stream on which nothing has been said; or nil, message, code
function direct.connect(pair, check)
  local attempts, reason, code = {}, nil, nil
  for _, ip in ipairs(endpoints(pair)) do
    local ok = true
    if check then ok, reason, code = check(pair.route, ip) end
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
