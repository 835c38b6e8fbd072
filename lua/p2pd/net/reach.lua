--- Access control for the addresses that peers name: whoever asks us to connect back, to punch or to come to
-- a relay must not reach through us what a firewall keeps from him. Refused are this machine (unless the node
-- uses the loopback interface), multicast and broadcast, reserved ranges, and private networks other than our
-- own. An IPv6 address that leads to an IPv4 one (NAT64, 6to4 and the like) counts as what that one is.
-- @module p2pd.net.reach
local core = require "p2pd.core"

local reach = {}

local NEVER = { unspecified = true, multicast = true, broadcast = true }
local INNER = { private = true, shared = true, ["link-local"] = true }

-- The ranges that nobody routes are the outside in a lab that is made of them.
local function is_no_target(route, class, ip)
  if class == "reserved" then
    return not route.external_known or core.inet.class(route.external) ~= "reserved"
  end
  return NEVER[class] or core.inet.is_subnet_broadcast(ip, route.nic, route.prefix or 24)
end

local function is_on_lan(route, ip)
  return core.inet.same_subnet(ip, route.nic, route.prefix or 24)
    or core.inet.class(ip) == "link-local" and route.family == "ipv6"
end

-- Where the servers outside see us at an inner address, inner addresses are the outside.
local function is_outside_inner(route)
  return route.external_known and route.external ~= route.nic and INNER[core.inet.class(route.external)]
end

--- Whether an address that somebody names may be connected to by a route of ours.
-- @tparam table route ours
-- @tparam string ip the address
-- @treturn boolean true; or nil, message, code (EACCES)
function reach.check(route, ip)
  local class, family = core.inet.class(ip)
  if not class or family ~= route.family or is_no_target(route, class, ip) then
    return nil, ip .. " is no address to connect to", "EACCES"
  end
  if class == "loopback" and not route.loopback then return nil, ip .. " is on this machine", "EACCES" end
  if INNER[class] and not is_on_lan(route, ip) and not is_outside_inner(route) then
    return nil, ip .. " is not on our LAN", "EACCES"
  end
  return true
end

return reach
