--- Transports to a TURN server: datagrams, or frames on a TCP or TLS stream, all with the same face.
-- @module p2pd.turn.transport
local core = require "p2pd.core"
local families = require "p2pd.families"
local framing = require "p2pd.stun.framing"
local task = require "p2pd.task"

local transport = {}

local HEAD = 4 -- bytes that tell a frame's length

-- ICMP errors that a retransmission may mend (RFC 1122 section 4.2.3.9).
local SOFT = { EHOSTUNREACH = true, ENETUNREACH = true, EMSGSIZE = true, EHOSTDOWN = true, EACCES = true }

-- -- datagrams

local Datagrams = { __name = "p2pd.turn.datagrams" }
Datagrams.__index = Datagrams

function Datagrams:send(bytes)
  return self.way:send(bytes)
end

--- The next packet from the server; garbage is skipped by whoever feeds it.
function Datagrams:receive()
  while true do
    local data, message, code = self.way:receive()
    if data then return data end
    if not SOFT[code] then return nil, message, code end
  end
end

--- The datagrams of one channel, which do not pass through the script.
function Datagrams:channel(number)
  return self.way:channel(number)
end

--- Waits until no channel is in use.
function Datagrams:idle()
  return self.way:idle()
end

function Datagrams:close(reason)
  self.way:close(reason)
end

Datagrams.__close = function(self) self:close() end

-- -- streams

local Frames = { __name = "p2pd.turn.frames", reliable = true }
Frames.__index = Frames

function Frames:send(bytes)
  return self.stream:write(bytes)
end

--- One frame of a stream, to the byte.
-- @tparam stream stream
-- @treturn string; or nil, message, code
function transport.read_frame(stream)
  return framing.read(stream, HEAD, core.turn.frame_length)
end

-- Servers with Nagle's algorithm keep an event back until the answer before it is acknowledged.
function Frames:receive()
  local frame, message, code = transport.read_frame(self.stream)
  if frame then core.tcp.acknowledge(self.stream) end
  return frame, message, code
end

function Frames:close()
  self.stream:close()
end

Frames.__close = Frames.close

-- -- opening

--- A stream to the server, encrypted when its transport says so.
-- @tparam table server an entry of the settings' list
-- @tparam string ip one of its addresses
-- @tparam deadline limit
-- @treturn stream; or nil, message, code
function transport.connect(server, ip, limit)
  local stream, message, code = core.tcp.connect(ip, server.port, nil, limit:left())
  if not stream or server.transport ~= "tls" then return stream, message, code end
  local held <close> = task.hold(stream)
  local context
  context, message, code = core.tls.authority(server.ca)
  if not context then return nil, message, code end
  local ok
  ok, message, code = core.tls.client(stream, context, server.host, limit:left())
  if not ok then return nil, message, code end
  return held:release()
end

--- Opens a transport to one address of a server.
-- @tparam table server an entry of the settings' list
-- @tparam string ip one of its addresses
-- @tparam deadline limit
-- @return an object with `send(bytes)`, `receive()`, `close()` and `reliable`; or nil, message, code
function transport.open(server, ip, limit)
  if server.transport == "tcp" or server.transport == "tls" then
    local stream, message, code = transport.connect(server, ip, limit)
    return stream and setmetatable({ stream = stream }, Frames), message, code
  end
  local socket, message, code = core.udp.bind { ip = families.ANY[families.of(ip)] }
  if not socket then return nil, message, code end
  local way
  way, message, code = socket:datagrams(ip, server.port)
  if way then return setmetatable({ way = way }, Datagrams) end
  socket:close()
  return nil, message, code
end

return transport
