--- The server's part of SOCKS5 (RFC 1928): CONNECT, without authentication.
-- @module p2pd.socks
local core = require "p2pd.core"
local endpoint = require "p2pd.endpoint"

local socks = {}

local VERSION, NO_AUTHENTICATION, NONE_ACCEPTABLE, CONNECT = 5, 0, 0xff, 1
local IPV4, NAME, IPV6 = 1, 3, 4

-- Replies (section 6).
socks.SUCCEEDED, socks.FAILED, socks.NOT_ALLOWED, socks.REFUSED = 0, 1, 2, 5

local UNKNOWN_COMMAND, UNKNOWN_ADDRESS = 7, 8

local function broken(message, code)
  return nil, message or "no SOCKS5 client", code or "EPROTO"
end

local function read_exactly(stream, count)
  local bytes, message, code = stream:read(count)
  if bytes and #bytes == count then return bytes end
  return broken(message, code)
end

-- Section 3: we take those who can do without authentication.
local function choose_method(stream)
  local head, message, code = read_exactly(stream, 2)
  if not head then return nil, message, code end
  local version, count = head:byte(1, 2)
  if version ~= VERSION then return broken() end
  local methods
  methods, message, code = read_exactly(stream, count)
  if not methods then return nil, message, code end
  if methods:find(string.char(NO_AUTHENTICATION), 1, true) then
    return stream:write(string.char(VERSION, NO_AUTHENTICATION))
  end
  stream:write(string.char(VERSION, NONE_ACCEPTABLE))
  return broken "the client wants to authenticate"
end

local READERS = {
  [IPV4] = function(stream)
    local bytes, message, code = read_exactly(stream, 4)
    if not bytes then return nil, message, code end
    return ("%d.%d.%d.%d"):format(bytes:byte(1, 4))
  end,
  [NAME] = function(stream)
    local length, message, code = read_exactly(stream, 1)
    if not length then return nil, message, code end
    return read_exactly(stream, length:byte())
  end,
  [IPV6] = function(stream)
    local bytes, message, code = read_exactly(stream, 16)
    if not bytes then return nil, message, code end
    local groups = ("%x:%x:%x:%x:%x:%x:%x:%x"):format(string.unpack(">I2I2I2I2I2I2I2I2", bytes))
    return core.inet.parse(groups).ip
  end,
}

--- Answers a request (section 6).
-- @tparam stream stream
-- @tparam integer reply such as `socks.SUCCEEDED`
function socks.reply(stream, reply)
  return stream:write(string.char(VERSION, reply, 0, IPV4, 0, 0, 0, 0, 0, 0))
end

local function refuse(stream, reply, message)
  socks.reply(stream, reply)
  return broken(message)
end

--- Reads where a client wants to go.
-- @tparam stream stream
-- @treturn string host; or nil, message, code, when the client has been told
-- @treturn integer port
function socks.receive(stream)
  local ok, message, code = choose_method(stream)
  if not ok then return nil, message, code end
  local head
  head, message, code = read_exactly(stream, 4)
  if not head then return nil, message, code end
  local version, command, _, kind = head:byte(1, 4)
  if version ~= VERSION then return broken() end
  if command ~= CONNECT then return refuse(stream, UNKNOWN_COMMAND, "not a CONNECT") end
  if not READERS[kind] then return refuse(stream, UNKNOWN_ADDRESS, "no such kind of address") end
  local host, port
  host, message, code = READERS[kind](stream)
  if not host then return nil, message, code end
  port, message, code = read_exactly(stream, 2)
  if not port then return nil, message, code end
  return host, (string.unpack(">I2", port))
end

--- Takes a client where it wants to go, by the place that it names, or by the host alone, which may be a name
-- of a service's.
-- @tparam stream stream the client's
-- @tparam function open called with the stream and a service, gives a pipe; or nil, message, code (EACCES:
-- there is none of that name)
-- @treturn pipe; or nil, message, code, when the client has been told
function socks.open(stream, open)
  local host, port, code = socks.receive(stream)
  if not host then return nil, port, code end
  local pipe, reason
  for _, service in ipairs { endpoint.format(host, port), host } do
    pipe, reason, code = open(stream, service)
    if pipe or code ~= "EACCES" then break end
  end
  socks.reply(stream, pipe and socks.SUCCEEDED or code == "EACCES" and socks.NOT_ALLOWED or socks.FAILED)
  return pipe, reason, code
end

return socks
