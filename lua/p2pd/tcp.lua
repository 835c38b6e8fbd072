--- TCP, and unix sockets, for applications: streams that read and write as pipes do.
-- A place is "HOST:PORT", "[IPv6]:PORT", a port alone (on this machine), a path with a slash in it, or
-- "unix:PATH".
-- @module p2pd.tcp
local core = require "p2pd.core"
local deadline = require "p2pd.deadline"
local endpoint = require "p2pd.endpoint"
local options = require "p2pd.options"
local task = require "p2pd.task"
require "p2pd.stream"

local tcp = {}

local LOOPBACK = "127.0.0.1"
local ATTEMPT_S = 3  -- for an address, while there are others
local PAUSE_S = 0.02 -- until a unix listener that is busy is asked again
local REST_S = 0.1   -- after an accept that failed for want of descriptors

-- -- places

local function parse_port(text)
  local port = math.tointeger(tonumber(text))
  if port and port >= 0 and port <= 65535 and text:find "^%d+$" then return port end
end

--- Reads a place.
-- @tparam string|integer text
-- @treturn table `path`, or `host` and `port`; or nil, message, code
function tcp.parse(text)
  text = math.type(text) == "integer" and tostring(text) or text
  if type(text) ~= "string" then error("a place is a string, and not a " .. type(text), 2) end
  local path = text:match "^unix:(.+)$" or text:find "/" and text
  if path then return { path = path } end
  local port = parse_port(text)
  if port then return { host = LOOPBACK, port = port } end
  local host, after = text:match "^%[([^%]]+)%]:(%d+)$"
  if not host then host, after = text:match "^([^:]+):(%d+)$" end
  port = after and parse_port(after)
  if port then return { host = host, port = port } end
  return nil, ("%q is neither HOST:PORT nor a path"):format(text), "EINVAL"
end

--- Writes a place.
-- @tparam table place as @{parse} gives it
-- @treturn string
function tcp.format(place)
  if place.path then return "unix:" .. place.path end
  return endpoint.format(place.host, place.port)
end

-- -- connecting

local CONNECT = {
  timeout = options.SECONDS,
  ip = options.is_a "string",
  interface = options.is_a "string",
}

local function connect_path(path, limit)
  while true do
    local stream, message, code = core.tcp.connect_path(path)
    if stream or code ~= "EAGAIN" then return stream, message, code end
    if limit:has_passed() then return nil, message, "ETIMEDOUT" end
    task.sleep(limit:left(PAUSE_S))
  end
end

local function addresses_of(host, limit)
  if core.inet.class(host) then return { host } end
  return core.inet.resolve(host, "any", limit:left())
end

local function connect_host(place, given, limit)
  if place.port == 0 then return nil, "there is no connecting to port 0", "EINVAL" end
  local ips, message, code = addresses_of(place.host, limit)
  if not ips then return nil, message, code end
  for i, ip in ipairs(ips) do
    local stream
    local seconds = limit:left(i < #ips and ATTEMPT_S or nil)
    stream, message, code = core.tcp.connect(ip, place.port, { ip = given.ip, interface = given.interface },
      seconds)
    if stream then return stream end
  end
  return nil, message, code
end

--- Connects.
-- @tparam string|integer place
-- @tparam[opt] table given timeout (seconds), ip and interface (to connect from)
-- @treturn stream; or nil, message, code
-- @raise for an option that is not known or of a wrong kind
-- @usage local stream <close> = assert(p2pd.tcp.connect("example.org:80", { timeout = 5 }))
function tcp.connect(place, given)
  given = given or {}
  options.check(given, CONNECT, "tcp.connect")
  local parsed, message, code = tcp.parse(place)
  if not parsed then return nil, message, code end
  local limit = deadline.after(given.timeout)
  if parsed.path then return connect_path(parsed.path, limit) end
  return connect_host(parsed, given, limit)
end

-- -- listening

local LISTEN = {
  backlog = { "an integer", function(value) return math.type(value) == "integer" end },
  interface = options.is_a "string",
}

--- Listens. A unix socket is for this user alone, and its file goes with the listener.
-- @tparam string|integer place port 0: a free one
-- @tparam[opt] table given backlog, interface
-- @treturn listener with `accept([timeout])` (a stream, and of TCP the ip and port of the other end),
-- `streams()` (an iterator over accept, until the listener is closed), `getsockname()` (ip and port, or a
-- path) and `close()`; or nil, message, code
-- @raise for an option that is not known or of a wrong kind
function tcp.listen(place, given)
  given = given or {}
  options.check(given, LISTEN, "tcp.listen")
  local parsed, message, code = tcp.parse(place)
  if not parsed then return nil, message, code end
  if parsed.path then return core.tcp.listen_path(parsed.path) end
  local ips
  ips, message, code = addresses_of(parsed.host, deadline.after())
  if not ips then return nil, message, code end
  return core.tcp.listen { ip = ips[1], port = parsed.port, backlog = given.backlog,
    interface = given.interface }
end

local LACKING = { EMFILE = true, ENFILE = true, ENOBUFS = true, ENOMEM = true }

-- An iterator over accept(), until the listener is closed.
function core.tcp.listener_methods:streams()
  return function()
    while true do
      local stream, ip, port = self:accept()
      if stream then return stream, ip, port end
      if not LACKING[port] then return nil end
      task.sleep(REST_S)
    end
  end
end

return tcp
