--- Calls of a UPnP service (UPnP Device Architecture 1.1, section 3): we write a few lines, libminiupnpc
-- reads the answers.
-- @module p2pd.port_mapping.soap
local core = require "p2pd.core"
local http = require "p2pd.port_mapping.http"

local soap = {}

local CALL_S = 3 -- seconds

local ENVELOPE = [[<?xml version="1.0"?>
<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/" ]]
  .. [[s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>]]
  .. [[<u:%s xmlns:u="%s">%s</u:%s></s:Body></s:Envelope>]]

local function compose(service, action, arguments)
  local parts = {}
  for i, argument in ipairs(arguments) do
    parts[i] = ("<%s>%s</%s>"):format(argument[1], argument[2], argument[1])
  end
  return ENVELOPE:format(action, service.type, table.concat(parts), action)
end

local function fault_of(reply, status)
  local number = tonumber(reply and reply.errorCode)
  if not number then return nil, "HTTP status " .. status, "EPROTO" end
  local text = (reply.errorDescription or ""):gsub("[%c\x7f-\xff]", "?"):sub(1, 60)
  return nil, ("error %d %s"):format(number, text), "EACCES", number
end

--- Calls an action. Waits.
-- @tparam table service `ip`, `port`, `nic`, `path`, `type`
-- @tparam string action
-- @tparam[opt] {table,...} arguments each `{ name, value }`, of ours: plain words and numbers
-- @treturn[1] table results by name
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code
-- @treturn[2] ?integer the error's number, when the service refuses
function soap.call(service, action, arguments)
  local response, reason, code = http.request(service, {
    method = "POST", path = service.path, body = compose(service, action, arguments or {}),
    headers = { 'Content-Type: text/xml; charset="utf-8"',
      ('SOAPAction: "%s#%s"'):format(service.type, action) },
  }, CALL_S)
  if not response then return nil, reason, code end
  if #response.body > http.BODY_MAX then return nil, "an answer without end", "EMSGSIZE" end
  local reply
  reply, reason, code = core.gateway.igd_reply(response.body, CALL_S)
  if not reply then return nil, reason, code end
  if response.status ~= 200 or reply.errorCode then return fault_of(reply, response.status) end
  return reply
end

return soap
