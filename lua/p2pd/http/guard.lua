--- Who gets in: nothing of a foreign web page's, nobody without the token. Pure.
--
-- A page that somebody else's server has sent runs in this user's browser and can send requests here. Its
-- name may even point here (DNS rebinding): then `Host` has that name. Else it says where it comes from by
-- `Origin`, or, with requests that have none such as an image's, by `Sec-Fetch-Site`.
-- @module p2pd.http.guard
local core = require "p2pd.core"
local problem = require "p2pd.http.problem"

local guard = {}

local function host_of(value)
  return (value:match "^(%[[%x:.]+%])$" or value:match "^(%[[%x:.]+%]):%d+$" or value:match "^([^:]+):?%d*$"
    or "")
    :lower()
end

local function is_loopback_name(name)
  return name == "localhost" or name == "[::1]" or name:find "^127%.%d+%.%d+%.%d+$" ~= nil
end

--- Whether an IP address is this host's own loopback.
-- @tparam string ip
function guard.is_loopback(ip)
  return ip == "::1" or ip:find "^127%." ~= nil
end

--- A host's name, as @{is_own_host} wants those that are ours.
-- @tparam any text
-- @treturn ?string in lower case; nil: it is none
function guard.host_name(text)
  local name = type(text) == "string" and #text <= 253 and text:lower() or ""
  if name:find "^[%w][%w.-]*$" or name:find "^%[[%x:.]+%]$" then return name end
end

--- Whether a `Host` may be meant for us.
-- @tparam ?string value nil: only what is no browser leaves it out
-- @tparam table names further names that are ours, as a set
function guard.is_own_host(value, names)
  if not value then return true end
  local name = host_of(value)
  return is_loopback_name(name) or names[name] or false
end

local function is_own_origin(origin, host)
  return host ~= nil and (origin == "http://" .. host or origin == "https://" .. host)
end

--- What is wrong with where a request comes from, or nil.
-- @tparam table headers by name in lower case
-- @tparam table rules names (set of further hosts), allow_null_origin
-- @tparam boolean may_be_null whether the path is one for which `allow_null_origin` counts
-- @treturn ?problem
function guard.find_foreign(headers, rules, may_be_null)
  if not guard.is_own_host(headers.host, rules.names) then
    return problem.new(421, "the Host is not a name of this server")
  end
  local origin, site = headers.origin, headers["sec-fetch-site"]
  if origin == "null" and may_be_null and rules.allow_null_origin then return nil end
  if origin and not is_own_origin(origin, headers.host) then
    return problem.new(403, "requests of foreign pages are refused (Origin)")
  end
  if site and site ~= "none" and site ~= "same-origin" then
    return problem.new(403, "requests of foreign pages are refused (Sec-Fetch-Site)")
  end
end

-- Which comes first does not show in how long it takes: both are compared by their keyed hashes.
local comparing = core.random.bytes(32)

--- Whether two texts are the same, in a time that tells nothing of where they differ.
-- @tparam string a
-- @tparam string b
function guard.are_equal(a, b)
  return core.keys.mac(comparing, a) == core.keys.mac(comparing, b)
end

-- Browsers can't give a WebSocket an Authorization: there the token is one of the protocols.
local function token_in(headers)
  local token = (headers.authorization or ""):match "^[Bb]earer +(%S+)$"
  return token or (headers["sec-websocket-protocol"] or ""):match "p2pd%.token%.([%w_-]+)"
end

--- What is wrong with a request's token, or nil.
-- @tparam table headers
-- @tparam string token
-- @treturn ?problem
function guard.find_stranger(headers, token)
  local given = token_in(headers)
  if given and #given <= 256 and guard.are_equal(given, token) then return nil end
  return problem.new(401, given and "the token is wrong" or "a token is needed: Authorization: Bearer TOKEN",
    "EACCES", { ["WWW-Authenticate"] = 'Bearer realm="p2pd"' })
end

return guard
