--- Looks for a gateway's UPnP description by SSDP (UPnP Device Architecture 1.1, section 1.3). Everybody on
-- the link may answer; what counts is the gateway's own answer that names the gateway itself.
-- @module p2pd.port_mapping.ssdp
local core = require "p2pd.core"
local deadline = require "p2pd.deadline"

local ssdp = {}

local GROUP, PORT = "239.255.255.250", 1900
local ANSWER_MAX = 2048 -- bytes
local WAITS = { 0.7, 1.5 } -- seconds after each search; a device may take the one second of MX
local TYPES = {
  "urn:schemas-upnp-org:device:InternetGatewayDevice:2",
  "urn:schemas-upnp-org:device:InternetGatewayDevice:1",
}
local SEARCH = table.concat({ "M-SEARCH * HTTP/1.1", "HOST: 239.255.255.250:1900",
  'MAN: "ssdp:discover"', "MX: 1", "ST: %s", "", "" }, "\r\n")

--- Splits the URL of a gateway.
-- @tparam string url
-- @tparam string gateway its address
-- @treturn[1] integer port
-- @treturn[1] string path
-- @treturn[2] nil for another's URL, or none
function ssdp.split(url, gateway)
  local host, port, path = url:match "^[hH][tT][tT][pP]://([%d.]+):?(%d*)(/[%w%-._~!$&'()*+,;=:@/?%%]*)$"
  if not host then host, port, path = url:match "^[hH][tT][tT][pP]://([%d.]+):?(%d*)()$" end
  port = port == "" and 80 or tonumber(port)
  if host ~= gateway or not port or port < 1 or port > 65535 then return nil end
  return port, type(path) == "string" and path or "/"
end

local function parse(answer, gateway)
  if #answer > ANSWER_MAX or not answer:find "^HTTP/1%.[01] 200" then return nil end
  for name, value in answer:gmatch "\r?\n([%w%-]+):[ \t]*([^\r\n]*)" do
    if name:lower() == "location" then return ssdp.split(value:gsub("%s+$", "") .. "", gateway) end
  end
end

local function await_answer(socket, gateway, seconds)
  local limit = deadline.after(seconds)
  repeat
    local data, ip = socket:recvfrom(limit:left())
    if data and ip == gateway then
      local port, path = parse(data, gateway)
      if port then return port, path end
    end
  until limit:has_passed()
end

--- Where the gateway describes itself. Waits.
-- @tparam table target
-- @treturn[1] integer port
-- @treturn[1] string path
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code
function ssdp.find(target)
  local socket <close>, reason, code = core.udp.bind { ip = target.nic }
  if not socket then return nil, reason, code end
  for _, seconds in ipairs(WAITS) do
    for _, kind in ipairs(TYPES) do
      local ok, message, errno = socket:sendto(SEARCH:format(kind), GROUP, PORT)
      if not ok then return nil, message, errno end
    end
    local port, path = await_answer(socket, target.gateway, seconds)
    if port then return port, path end
  end
  return nil, "no answer", "ETIMEDOUT"
end

return ssdp
