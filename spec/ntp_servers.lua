--- NTP servers made of a function, for what no real server would do.
local core = require "p2pd.core"

local ntp_servers = {}

--- An honest answer to a request, as a table for core.ntp.encode.
-- @tparam table request as core.ntp.decode gives it
-- @tparam[opt] table fields what is different
-- @tparam[opt=0] number ahead seconds by which the server's clock is
function ntp_servers.answer(request, fields, ahead)
  local now = core.ntp.timestamp(core.clock.realtime() + (ahead or 0))
  local answer = {
    stratum = 2, precision = -20, root_delay = 0.01, root_dispersion = 0.002, reference_id = 0x7f000001,
    reference = now, origin = request.transmit, receive = now, transmit = now,
  }
  for name, value in pairs(fields or {}) do answer[name] = value end
  return answer
end

local Server = { __name = "spec.ntp_server" }
Server.__index = Server

local function serve(self, reply)
  while true do
    local data, ip, port = self.socket:recvfrom()
    if not data then return end
    self.asked = self.asked + 1
    local answer = reply(assert(core.ntp.decode(data)), self.asked)
    if type(answer) == "table" then answer = core.ntp.encode(answer) end
    if answer then self.socket:sendto(answer, ip, port) end
  end
end

--- A server on loopback.
-- @tparam function reply what it answers to (request, how many so far): bytes, a table, or nothing
-- @treturn server `host`, `port`, `asked`; to be closed
function ntp_servers.new(reply)
  local socket = assert(core.udp.bind { ip = "127.0.0.1" })
  local host, port = socket:getsockname()
  local self = setmetatable({ host = host, port = port, socket = socket, asked = 0 }, Server)
  self.task = core.task.spawn(serve, self, reply)
  return self
end

--- One whose clock is so much ahead.
function ntp_servers.ahead(seconds)
  return ntp_servers.new(function(request) return ntp_servers.answer(request, nil, seconds) end)
end

function Server:close()
  self.task:cancel()
  self.socket:close()
end

Server.__close = Server.close

return ntp_servers
