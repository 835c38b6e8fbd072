--- A node for programs in any language: JSON over HTTP at /v1, the paths of P2PD's REST API, and a page.
-- docs/http.md tells how it is used; `p2pd serve` runs it.
-- @module p2pd.http
local core = require "p2pd.core"
local describe = require "p2pd.http.describe"
local dials = require "p2pd.http.dials"
local exchange = require "p2pd.http.exchange"
local feed = require "p2pd.http.feed"
local files = require "p2pd.http.files"
local guard = require "p2pd.http.guard"
local inbox = require "p2pd.http.inbox"
local metrics = require "p2pd.http.metrics"
local named = require "p2pd.http.rest.named"
local openapi = require "p2pd.http.openapi"
local options = require "p2pd.options"
local outbox = require "p2pd.http.outbox"
local page = require "p2pd.http.page"
local pipes = require "p2pd.http.pipes"
local problem = require "p2pd.http.problem"
local rest = require "p2pd.http.rest.routes"
local router = require "p2pd.http.router"
local task = require "p2pd.task"
local token = require "p2pd.http.token"
local transfers = require "p2pd.http.transfers"

local http = {}

http.PORT = 12333 -- P2PD's

local function are_hosts(value)
  if type(value) ~= "table" then return false end
  for _, name in ipairs(value) do
    if not guard.host_name(name) then return false end
  end
  return true
end

local KNOWN = {
  ip = options.is_a "string",
  port = options.PORT,
  path = options.is_a "string",
  token = options.is_a "string",
  connections = options.is_a "number",
  head = options.is_a "number",
  idle = options.SECONDS,
  allow_null_origin = options.BOOLEAN,
  hosts = { "a list of names of hosts", are_hosts },
  files = options.is_a "string",
  take_files = { "nobody, contacts or anyone", function(value) return inbox.RULES[value] end },
}

--- Every route there is, in the order of the description.
-- @treturn {table,...} see @{p2pd.http.router}
function http.routes()
  local all = {}
  for _, list in ipairs { require "p2pd.http.v1.node", require "p2pd.http.v1.pipes",
    require "p2pd.http.v1.transfers", require "p2pd.http.v1.files", require "p2pd.http.v1.contacts",
    require "p2pd.http.v1.events", rest.ROUTES, page.ROUTES } do
    for _, route in ipairs(list) do all[#all + 1] = route end
  end
  return all
end

-- -- a request

local function admit(service, call, route, failure)
  local is_open = route and (route.open or route.style == "p2pd" and not service.rules.is_public)
  local foreign = guard.find_foreign(call.headers, service.rules, route and route.style == "p2pd")
  if foreign then return foreign end
  if not is_open and call.target:find "^/" and (route or service.rules.is_public) then
    local stranger = guard.find_stranger(call.headers, service.token)
    if stranger then return stranger end
  end
  return not route and failure or nil
end

local function prepare(call, query)
  local fault = call:read_query(query)
  if not fault and type(call.route.body) == "table" then fault = call:read_body() end
  return fault
end

local function run_handler(call, query)
  return prepare(call, query) or call.route.handler(call)
end

-- The handler answers, or returns a problem.
local function handle(service, call, query)
  local ok, result = xpcall(run_handler, debug.traceback, call, query)
  if not ok then
    core.log.write("error", ("http: %s %s: %s"):format(call.method, call.route.path, result))
    result = problem.new(500, "an error in the server")
  end
  if problem.is(result) and not call.status then call:send_problem(result) end
  service.metrics:count_request(call.status or 0)
end

local function handle_and_close(service, call, query)
  local _ <close> = call.request
  handle(service, call, query)
end

-- Ends with the handler, or when nobody waits for the answer any more.
local function attend(service, call, query)
  local request <close> = call.request
  local _ <close> = task.spawn(handle_and_close, service, call, query)
  request:wait_gone()
end

local function refuse(service, call, failure)
  local _ <close> = call.request
  call:send_problem(failure)
  service.metrics:count_request(call.status)
end

local function dispatch(service, request)
  local call = exchange.new(request, service)
  local route, params, query = service.router:find(call.method, call.target)
  call.route, call.params, call.style = route, params, service.router:style(call.target)
  local failure = admit(service, call, route, params)
  if failure then return refuse(service, call, failure) end
  if route.waits or type(route.body) == "table" then return service.tasks:detach(attend, service, call,
    query) end
  handle_and_close(service, call, query)
end

local function serve(service, listener)
  while true do
    local request, _, code = listener:accept()
    if not request and code == "EBADF" then return end
    if request then dispatch(service, request) end
  end
end

-- -- the server

local Server = { __name = "p2pd.http.server" }
Server.__index = Server

local function names_of(given)
  local names = given.ip and { [given.ip] = true, ["[" .. given.ip .. "]"] = true } or {}
  for _, name in ipairs(given.hosts or {}) do names[guard.host_name(name)] = true end
  return names
end

-- Whether others than this host's users may get here, by themselves or by a proxy.
local function is_public(given)
  return given.ip ~= nil and not guard.is_loopback(given.ip) or given.hosts ~= nil and #given.hosts > 0
end

-- The part that sends and receives files, when there is a folder for them.
local function add_files(service, given)
  service.transfers = transfers.new(service.feed)
  if not given.files then return end
  service.files = files.new(given.files)
  service.outbox, service.inbox = outbox.new(service), inbox.new(service, given.take_files)
  service.tasks:detach(service.inbox.serve, service.inbox)
end

local function make(node, given)
  local service = setmetatable({
    node = node, token = given.token or token.new(), tasks = task.group(),
    pipes = pipes.new(), named = named.new(), feed = feed.new(node), schemas = describe.SCHEMAS,
    rules = { names = names_of(given), allow_null_origin = given.allow_null_origin or false,
      is_public = is_public(given) },
    listeners = {},
  }, Server)
  local routes = http.routes()
  service.router, service.openapi = router.new(routes), openapi.describe(routes)
  service.metrics, service.dials = metrics.new(service), dials.new(service)
  service.feed:watch(function(kind, event) service.metrics:note(kind, event) end)
  service.tasks:detach(rest.serve_peers, service)
  add_files(service, given)
  return service
end

local function listen(service, where, given)
  local listener, reason, code = core.http.listen { ip = where.ip, port = where.port, path = where.path,
    connections = given.connections, head = given.head, idle = given.idle }
  if not listener then return nil, reason, code end
  service.listeners[#service.listeners + 1] = listener
  service.tasks:detach(serve, service, listener)
  return listener
end

--- Serves a node.
-- @tparam node node
-- @tparam[opt] table given ip ("127.0.0.1", when there is no path) and port (12333; 0: any), path (of a unix
-- socket, mode 0600), token (of one's own), allow_null_origin (pages that are files may use P2PD's paths, and
-- so may sandboxed frames of any page), hosts (further names of this server's, by which a proxy in front
-- passes requests on: then every path asks for the token), files (a folder for what peers send, made when it
-- is needed: the server then takes pipes of files/1; without one no files are sent or received), take_files
-- (whose files are taken without asking: "nobody", else "contacts" or "anyone"), connections, head, idle (see
-- core.http.listen)
-- @treturn server `token`, `url`, `getsockname()`, `close()`; or nil, message, code (ELIBACC: libmicrohttpd
-- is not there)
-- @raise for an option that is not known or of a wrong kind; for an address that is not loopback without a
-- token of one's own
function http.serve(node, given)
  given = given or {}
  options.check(given, KNOWN, "http.serve")
  local where = {}
  for name, value in pairs(given) do where[name] = value end
  if not where.ip and not where.path then where.ip = "127.0.0.1" end
  if where.ip and not guard.is_loopback(where.ip) and not where.token then
    error("http.serve: an address that is not loopback needs a token", 2)
  end
  local service = make(node, where)
  local held <close> = task.hold(service)
  local places = { where.ip and { ip = where.ip, port = where.port or http.PORT } or nil }
  places[#places + 1] = where.path and { path = where.path }
  for _, place in ipairs(places) do
    local listener, reason, code = listen(service, place, where)
    if not listener then return nil, reason, code end
    if place.ip then service:set_url(listener) end
  end
  return held:release()
end

function Server:set_url(listener)
  local ip, port = listener:getsockname()
  self.port = port
  self.url = ("http://%s:%d/"):format(ip:find ":" and "[" .. ip .. "]" or ip, port)
end

--- Where it listens.
-- @return ip and port of the first listener, or a path
function Server:getsockname()
  return self.listeners[1]:getsockname()
end

--- Ends every request, and closes the pipes that users of the API hold. May be called twice.
function Server:close()
  if self.closed then return end
  self.closed = true
  for _, listener in ipairs(self.listeners) do listener:close() end
  self.tasks:cancel()
  for _, part in ipairs { "outbox", "inbox", "dials", "pipes", "named", "feed", "metrics" } do
    if self[part] then self[part]:close() end
  end
end

Server.__close = Server.close

function Server:__tostring()
  return ("http server (%s)"):format(self.closed and "closed" or self.url or self:getsockname())
end

return http
