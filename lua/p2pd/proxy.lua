--- HTTP proxies on the way to brokers: where settings and environment name one.
-- @module p2pd.proxy
local core = require "p2pd.core"
local endpoint = require "p2pd.endpoint"

local proxy = {}

local DEFAULT_PORT = 80 -- of http://

local function decode(text)
  return (text:gsub("%%(%x%x)", function(hex) return string.char(tonumber(hex, 16)) end))
end

local function split_credentials(text)
  local credentials, place = text:match "^(.*)@([^@]*)$"
  if not credentials then return text end
  local user, pass = credentials:match "^([^:]*):(.*)$"
  return place, decode(user or credentials), pass and decode(pass)
end

local function split_place(place)
  local host, port = place:match "^%[([%x:.]+)%]:?(%d*)$"
  if not host then host, port = place:match "^([%w%.%-_]+):?(%d*)$" end
  port = port == "" and DEFAULT_PORT or math.tointeger(tonumber(port))
  if not host or not port or port < 1 or port > 65535 then return nil end
  return host, port
end

--- Reads a proxy's URL: `http://[USER[:PASS]@]HOST[:PORT]`.
-- @tparam string url `http://` may be missing
-- @treturn[1] table `host`, `port`, `user`, `pass`
-- @treturn[2] nil
-- @treturn[2] string what is wrong
function proxy.parse(url)
  local scheme, rest = url:match "^(%a[%w+.-]*)://(.*)$"
  if scheme and scheme:lower() ~= "http" then return nil, "only http:// proxies are known" end
  local place, user, pass = split_credentials(((rest or url):gsub("/.*$", "")))
  local host, port = split_place(place)
  if not host then return nil, "is not http://HOST:PORT" end
  for _, text in pairs { user, pass } do
    if text:find "%c" or #text > 250 then return nil, "has a user or a password that is none" end
  end
  return { host = host, port = port, user = user, pass = pass }
end

local function is_loopback(host)
  return host == "localhost" or host:find "%.localhost$" ~= nil or core.inet.class(host) == "loopback"
end

-- One item of no_proxy: a name (and all below it), an address, "*"; a port may follow.
local function covers(item, host, port)
  item = item:lower():gsub("^%*?%.", "")
  if item == "*" or item == host or item == endpoint.format(host, port) then return true end
  return item ~= "" and host:sub(-#item - 1) == "." .. item
end

local function is_excepted(list, host, port)
  for item in list:gmatch "[^,%s]+" do
    if covers(item, host:lower(), port) then return true end
  end
  return false
end

-- A variable in small letters or in capitals; http_proxy in small ones only, since a CGI script's visitor may
-- set the other one.
local function variable(getenv, name)
  local value = getenv(name)
  if (not value or value == "") and name ~= "http_proxy" then value = getenv(name:upper()) end
  return value ~= "" and value or nil
end

--- The proxy by which a broker is reached: that of its settings, or none when they say `false`; else the
-- environment's: `https_proxy` for TLS, `http_proxy` without, but what `no_proxy` names and loopback.
-- @tparam table server `host`, `port`, `tls`, `proxy`
-- @tparam[opt=os.getenv] function getenv
-- @treturn ?table as @{parse} gives it; nil: none
function proxy.choose(server, getenv)
  getenv = getenv or os.getenv
  if server.proxy then return proxy.parse(server.proxy) end
  if server.proxy == false or is_loopback(server.host) then return nil end
  local name = server.tls and "https_proxy" or "http_proxy"
  local url = variable(getenv, name)
  local exceptions = variable(getenv, "no_proxy") or ""
  if not url or is_excepted(exceptions, server.host, server.port) then return nil end
  local found, fault = proxy.parse(url)
  if not found then core.log.write("info", ("$%s is not used: %s"):format(name, fault)) end
  return found
end

return proxy
