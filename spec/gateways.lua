--- Gateways of the specs' own, on loopback: each test says what they answer.
local core = require "p2pd.core"
local task = require "p2pd.task"

local gateways = {}

local PCP_PORT = 5351

--- A PCP server that remembers its mappings. Its fields can be changed while it runs: `epoch` (when it began,
-- on the monotonic clock), `port` (that it gives), `ip`, `lifetime`, `result`; `silent`; `requests` counts.
-- @tparam string ip where it listens
-- @tparam[opt] table fields
-- @treturn table to be closed
function gateways.pcp(ip, fields)
  local self = { socket = assert(core.udp.bind { ip = ip, port = PCP_PORT }), ip = "203.0.113.9",
    epoch = core.clock.monotonic() - 1000, requests = 0, announces = 0, mappings = {}, result = 0 }
  for name, value in pairs(fields or {}) do self[name] = value end

  local function head(opcode, result, lifetime)
    local epoch = math.floor(core.clock.monotonic() - self.epoch)
    return (">BBBBI4I4I4I4I4"):pack(2, 0x80 | opcode, 0, result, lifetime, epoch, 0, 0, 0)
  end

  local function map(request)
    local lifetime, nonce, port = (">I4"):unpack(request, 5), request:sub(25, 36), (">H"):unpack(request, 41)
    self.requests = self.requests + 1
    self.last = { nonce = nonce, port = port, lifetime = lifetime, external = (">H"):unpack(request, 43) }
    if self.result ~= 0 then return head(1, self.result, 30) .. request:sub(25) end
    local external = self.port or self.last.external
    self.mappings[port] = lifetime > 0 and { nonce = nonce, external = external } or nil
    local a, b, c, d = self.ip:match "(%d+)%.(%d+)%.(%d+)%.(%d+)"
    return head(1, 0, math.min(lifetime, self.lifetime or lifetime)) .. nonce
      .. (">BBHHH"):pack(6, 0, 0, port, external) .. ("\0"):rep(10) .. "\xff\xff"
      .. string.char(a, b, c, d)
  end

  function self.answer(request)
    local version, opcode = request:byte(1, 2)
    if self.silent or version ~= 2 then return nil end
    if opcode == 1 then return map(request) end
    self.announces = self.announces + 1
    return head(0, 0, 0)
  end

  self.task = core.task.spawn(function()
    while true do
      local request, from, port = self.socket:recvfrom()
      local data = request and self.answer(request, from, port)
      if data then self.socket:sendto(data, from, port) end
    end
  end)
  return setmetatable(self, { __close = function()
    self.task:cancel()
    self.socket:close()
  end })
end

--- A web server that answers each request with what a function returns.
-- @tparam string ip
-- @tparam function answer of the request's head and body: bytes
-- @treturn table `port`; to be closed
function gateways.web(ip, answer)
  local self = { listener = assert(core.tcp.listen { ip = ip }), tasks = task.group() }
  local _
  _, self.port = self.listener:getsockname()

  local function serve(stream)
    local held <close> = stream
    held:settimeout(5)
    local head, length = {}, 0
    for line in function() return (held:read "l") end do
      line = line:gsub("\r$", "")
      if line == "" then break end
      length = tonumber(line:match "^Content%-Length: (%d+)") or length
      head[#head + 1] = line
    end
    local body = length > 0 and held:read(length) or ""
    local data = answer(table.concat(head, "\n"), body, held)
    if data then held:write(data) end
  end

  self.tasks:spawn(function()
    while true do
      local stream = self.listener:accept()
      if not stream then return end
      self.tasks:detach(serve, stream)
    end
  end)
  return setmetatable(self, { __close = function()
    self.tasks:cancel()
    self.listener:close()
  end })
end

--- An HTTP answer.
-- @tparam string body
-- @tparam[opt=200] integer status
function gateways.http(body, status)
  return ("HTTP/1.1 %d Whatever\r\nContent-Type: text/xml\r\nContent-Length: %d\r\n\r\n%s"):format(
    status or 200, #body, body)
end

--- A device's description.
-- @tparam integer version of its WAN connection
-- @tparam[opt="/control"] string control its control URL
function gateways.description(version, control)
  return ([[<?xml version="1.0"?><root xmlns="urn:schemas-upnp-org:device-1-0"><device>
<deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:%d</deviceType><deviceList><device>
<deviceType>urn:schemas-upnp-org:device:WANDevice:%d</deviceType><deviceList><device>
<deviceType>urn:schemas-upnp-org:device:WANConnectionDevice:%d</deviceType><serviceList><service>
<serviceType>urn:schemas-upnp-org:service:WANIPConnection:%d</serviceType>
<serviceId>urn:upnp-org:serviceId:WANIPConn1</serviceId><controlURL>%s</controlURL>
<eventSubURL>/event</eventSubURL><SCPDURL>/scpd.xml</SCPDURL></service></serviceList></device></deviceList>
</device></deviceList></device></root>]]):format(version, version, version, version, control or "/control")
end

--- A SOAP answer, and a SOAP fault.
function gateways.reply(action, results)
  local parts = {}
  for name, value in pairs(results or {}) do parts[#parts + 1] = ("<%s>%s</%s>"):format(name, value, name) end
  return gateways.http(([[<?xml version="1.0"?>
<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>
<u:%sResponse xmlns:u="x">%s</u:%sResponse></s:Body></s:Envelope>]]):format(action,
    table.concat(parts), action))
end

function gateways.fault(number, text)
  return gateways.http(([[<?xml version="1.0"?>
<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"><s:Body>
<s:Fault><faultcode>s:Client</faultcode><faultstring>UPnPError</faultstring><detail>
<UPnPError xmlns="urn:schemas-upnp-org:control-1-0"><errorCode>%d</errorCode>
<errorDescription>%s</errorDescription></UPnPError></detail></s:Fault></s:Body></s:Envelope>]]):format(number,
    text or "Refused"), 500)
end

return gateways
