--- The two families of addresses, "ipv4" and "ipv6".
-- @module p2pd.families
local core = require "p2pd.core"

local families = {}

--- Both, in the order in which they are told.
families.ALL = { "ipv4", "ipv6" }

--- Their names for people.
families.TITLES = { ipv4 = "IPv4", ipv6 = "IPv6" }

--- The address of a socket that is bound to no address in particular.
families.ANY = { ipv4 = "0.0.0.0", ipv6 = "::" }

--- The family of an address.
-- @tparam string ip
-- @treturn ?string nil for what is no address
function families.of(ip)
  local class, found = core.inet.class(ip)
  return class and found or nil
end

return families
