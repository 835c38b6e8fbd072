--- Endpoints, an address and a port, as text: `192.0.2.1:3478`, `[2001:db8::1]:3478`.
-- @module p2pd.endpoint
local core = require "p2pd.core"

local endpoint = {}

--- Writes one.
-- @tparam string host an IP address, or a name
-- @tparam integer port
-- @treturn string
function endpoint.format(host, port)
  return (host:find(":", 1, true) and "[%s]:%d" or "%s:%d"):format(host, port)
end

--- Reads one with an IP address.
-- @tparam string text
-- @tparam[opt=1] integer least the smallest port: 0 where that is any free one
-- @treturn ?string the address, in its canonical form; nil when the text is no endpoint
-- @treturn[opt] integer the port, up to 65535
function endpoint.parse(text, least)
  local ip, port = text:match "^%[([%x:.]+)%]:(%d+)$"
  if not ip then ip, port = text:match "^([%d.]+):(%d+)$" end
  local known = ip and core.inet.parse(ip)
  port = tonumber(port)
  if not known or port < (least or 1) or port > 65535 then return nil end
  return known.ip, math.tointeger(port)
end

return endpoint
