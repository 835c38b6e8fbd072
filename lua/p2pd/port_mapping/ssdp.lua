--- Looks for a gateway's UPnP description by SSDP (UPnP Device Architecture 1.1, section 1.3). Everybody on
-- the link may answer; what counts is the gateway's own answer that names the gateway itself.
-- @module p2pd.port_mapping.ssdp
local core = require "p2pd.core"
local deadline = require "p2pd.deadline"

local ssdp = {}

local PORT = 1900
local GROUPS = { ipv4 = "239.255.255.250", ipv6 = "ff02::c" }
local HOSTS = { ipv4 = "239.255.255.250", ipv6 = "[FF02::C]" }
local ANSWER_MAX = 2048 -- bytes
local WAITS = { 0.7, 1.5 } -- seconds after each search; a device may take the one second of MX
local TYPES = {
  "urn:schemas-upnp-org:device:InternetGatewayDevice:2",
  "urn:schemas-upnp-org:device:InternetGatewayDevice:1",
}
local SEARCH = table.concat({ "M-SEARCH * HTTP/1.1", "HOST: %s:1900",
  'MAN: "ssdp:discover"', "MX: 1", "ST: %s", "", "" }, "\r\n")

-- A router has several IPv6 addresses, and whichever it names, ours of it is the one that we go to.
local function is_of(host, target)
  if target.family == "ipv6" then return host:find "^%[[%x:.]+%]$" ~= nil end
  return host == target.gateway
end

--- Splits the URL of a gateway.
-- @tparam string url
-- @tparam table target
-- @treturn[1] integer port
-- @treturn[1] string path
-- @treturn[2] nil for another's URL, or none
function ssdp.split(url, target)
  local authority, path = url:match "^[hH][tT][tT][pP]://([^/]+)(.*)$"
  if not authority then return nil end
  local host, port = authority:match "^(.-):(%d*)$"
  if not host or authority:find "%]$" then host, port = authority, "" end
  port = port == "" and 80 or tonumber(port)
  if not is_of(host, target) or port < 1 or port > 65535 then return nil end
  if path == "" then path = "/" end
  if not path:find "^/[%w%-._~!$&'()*+,;=:@/?%%]*$" then return nil end
  return port, path
end

local function parse(answer, target)
  if #answer > ANSWER_MAX or not answer:find "^HTTP/1%.[01] 200" then return nil end
  for name, value in answer:gmatch "\r?\n([%w%-]+):[ \t]*([^\r\n]*)" do
    if name:lower() == "location" then return ssdp.split(value:match "^(.-)%s*$", target) end
  end
end

local function strip_scope(ip)
  return (ip:gsub("%%.*", ""))
end

local function await_answer(socket, target, seconds)
  local limit = deadline.after(seconds)
  repeat
    local data, ip = socket:recvfrom(limit:left())
    if data and strip_scope(ip) == strip_scope(target.gateway) then
      local port, path = parse(data, target)
      if port then return port, path end
    end
  until limit:has_passed()
end

-- A router answers from the address that is nearest to ours: a link-local gateway, to our link-local address.
local function source_of(target)
  local is_near = core.inet.class(target.gateway) == "link-local"
  return is_near and target.link_local or target.nic
end

local function group_of(target)
  return target.family == "ipv6" and GROUPS.ipv6 .. "%" .. target.name or GROUPS.ipv4
end

--- Where the gateway describes itself. Waits.
-- @tparam table target
-- @treturn[1] integer port
-- @treturn[1] string path
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code
function ssdp.find(target)
  local socket <close>, reason, code = core.udp.bind { ip = source_of(target) }
  if not socket then return nil, reason, code end
  for _, seconds in ipairs(WAITS) do
    for _, kind in ipairs(TYPES) do
      local ok, message, errno = socket:sendto(SEARCH:format(HOSTS[target.family], kind), group_of(target),
        PORT)
      if not ok then return nil, message, errno end
    end
    local port, path = await_answer(socket, target, seconds)
    if port then return port, path end
  end
  return nil, "no answer", "ETIMEDOUT"
end

return ssdp
