--- A strategy of one side: TCP to the peer's listener through a SOCKS5 proxy (RFC 1928), for networks that
-- let nothing else out. The proxy is $SOCKS_PROXY, host:port (127.0.0.1:1080).
--
--   p2pd examples/talk.lua socks ADDRESS
local stream = require "p2pd.stream"

local socks = {
  name = "socks",
  cost = 4,
  budget = 10,    -- seconds
  head_start = 0.5,
}

local NO_AUTHENTICATION = "\5\1\0"
local HOST, PORT = (os.getenv "SOCKS_PROXY" or "127.0.0.1:1080"):match "^(.*):(%d+)$"
local REPLIES = { "general failure", "not allowed", "network unreachable", "host unreachable",
  "connection refused", "TTL expired", "command not supported", "address type not supported" }

-- CONNECT (section 4) to an IP address as text, which is a name to the proxy.
local function request(ip, port)
  return "\5\1\0\3" .. string.pack(">s1I2", ip, port)
end

-- Reads the reply to it (section 6): its address, of a length of its own, is of no use here.
local function read_reply(connection)
  local head, message, code = connection:read(4)
  if not head or #head < 4 then return nil, message or "the proxy hung up", code or "ECONNRESET" end
  local _, status, _, kind = head:byte(1, 4)
  if status ~= 0 then return nil, "the proxy: " .. (REPLIES[status] or status), "ECONNREFUSED" end
  local length = kind == 1 and 4 or kind == 4 and 16 or connection:read(1):byte()
  return connection:read(length + 2)
end

local function connect(ip, port)
  local ips, message, code = stream.resolve(HOST, "any")
  if not ips then return nil, message, code end
  local connection
  connection, message, code = stream.connect(ips[1], math.tointeger(PORT))
  if not connection then return nil, "the proxy: " .. message, code end
  local ok
  connection:write(NO_AUTHENTICATION)
  ok, message, code = connection:read(2)
  if ok == "\5\0" then ok, message, code = connection:write(request(ip, port)) end
  if ok then ok, message, code = read_reply(connection) end
  if ok then return connection end
  connection:close()
  return nil, message or "the proxy wants something else", code or "EPROTO"
end

function socks.dial(dial, pair)
  local connection, message, code = connect(pair.remote.external, pair.remote.port)
  if not connection then return nil, message, code end
  return dial:secure(connection)
end

return socks
