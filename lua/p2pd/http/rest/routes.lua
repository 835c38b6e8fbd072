--- The paths of P2PD's REST API: everything by GET, connections by name, parameters as further /key/value
-- pairs of the path, `error` in every answer (0, or what went wrong).
-- @module p2pd.http.rest.routes
local describe = require "p2pd.http.describe"
local problem = require "p2pd.http.problem"
local version = require "p2pd.version"

local rest = {}

--- What nodes that have this API speak with each other, unless /open says otherwise.
rest.PROTOCOL = "p2pd-rest/1"

local TEST, ANSWER = "long_p2pd_test_string_abcd123", "got p2pd test string"
local BODY_MAX = 16 * 1024 * 1024
local RECEIVE_S = 2
local AF = { ipv4 = 2, ipv6 = 10 } -- Linux' AF_INET, AF_INET6

local STRATEGIES = { direct = "direct connect", reverse = "reverse connect", punch = "tcp hole punch",
  relay = "turn relay" }

-- -- parameters

-- The further segments as pairs; what is not known is refused.
local function pairs_of(call, known)
  local rest_of, found = call.params.rest, {}
  for i = 1, #rest_of, 2 do
    local key, value = rest_of[i], rest_of[i + 1]
    if not known[key] or not value then return problem.new(400, ("no parameter is called %s"):format(key)) end
    found[key] = value
  end
  return found
end

local function seconds_of(text, otherwise)
  if text == nil then return otherwise end
  local seconds = tonumber(text)
  if not seconds or not (seconds >= 0 and seconds <= 600) then
    return problem.new(400, "the timeout is no number of seconds from 0 to 600")
  end
  return seconds
end

-- JSON is UTF-8: other bytes are taken as Latin-1.
local function to_text(bytes)
  if utf8.len(bytes) then return bytes end
  return (bytes:gsub("[\x80-\xff]", function(c) return utf8.char(c:byte()) end))
end

-- -- what there is

local function show_version(call)
  return call:send_json(200, { title = "P2PD", author = "p2pd authors", version = version, error = 0 })
end

local function show_address(call)
  return call:send_json(200, { addr = call.service.node.address, error = 0 })
end

local function route_object(route)
  local bits = AF[route.family] == 2 and 32 or 128
  local function ips(ip)
    return describe.list { ip and { af = AF[route.family], cidr = bits, ip = ip } or nil }
  end
  return { af = AF[route.family], ext_ips = ips(route.external_known and route.external),
    nic_ips = ips(route.nic) }
end

local function list_interfaces(call)
  local list, found = describe.list(), {}
  for _, route in ipairs(call.service.node.routes) do
    local one = found[route.name]
    if not one then
      one = { name = route.name, offset = route.interface, routes = describe.list() }
      found[route.name], list[#list + 1] = one, one
    end
    table.insert(one.routes, route_object(route))
  end
  return call:send_json(200, { ifs = list, error = 0 })
end

local function route_of(node, connection)
  local ip = connection.local_tuple and connection.local_tuple[1]
  for _, route in ipairs(node.routes) do
    if route.nic == ip or not ip and route.name == connection.pipe.interface then return route end
  end
end

local function connection_object(call, connection)
  local route = route_of(call.service.node, connection)
  local strategy = connection.pipe.strategy
  return {
    name = connection.name, fd = connection.serial, laddr = describe.list(connection.local_tuple),
    raddr = describe.list(connection.tuple), strategy = STRATEGIES[strategy] or strategy,
    ["if"] = { name = route and route.name or connection.pipe.interface or "", offset = route
      and route.interface or 0 },
    route = route and route_object(route) or { af = 2, ext_ips = describe.list(), nic_ips = describe.list() },
    error = 0,
  }
end

-- -- connections

-- A connection to the node itself is a path of its own: so its two ends have addresses.
local function dial(call, options)
  local address, is_own, code = describe.resolve(call.service.node, call.params.address)
  if not address then return problem.new(400, is_own, code) end
  local protocol = options.protocol or rest.PROTOCOL
  if protocol == "none" then protocol = nil end
  local ok, pipe, failure = pcall(call.service.node.connect, call.service.node, address,
    { protocol = protocol, exclusive = is_own or nil, timeout = options.timeout })
  if not ok then return problem.new(400, "that is no protocol's name", "EINVAL") end
  return pipe or problem.of(tostring(failure), failure.code)
end

local function open(call)
  local options = pairs_of(call, { timeout = true, protocol = true })
  if problem.is(options) then return options end
  options.timeout = seconds_of(options.timeout)
  if problem.is(options.timeout) then return options.timeout end
  local named = call.service.named
  local reserved <close> = named:reserve(call.params.name)
  if problem.is(reserved) then return reserved end
  local pipe = dial(call, options)
  if problem.is(pipe) then return pipe end
  local connection = named:add(call.params.name, pipe)
  if not call:send_json(200, connection_object(call, connection)) then named:remove(connection) end
end

local function with_connection(known, handler)
  return function(call)
    local connection = call.service.named:find(call.params.name)
    if problem.is(connection) then return connection end
    local options = known and pairs_of(call, known)
    if problem.is(options) then return options end
    return handler(call, connection, options)
  end
end

local show = with_connection(nil, function(call, connection)
  return call:send_json(200, connection_object(call, connection))
end)

local close = with_connection(nil, function(call, connection)
  call.service.named:remove(connection)
  return call:send_json(200, { name = connection.name, closed = true, error = 0 })
end)

-- -- sending and receiving

local function send_bytes(call, connection, bytes)
  local ok, reason, code = connection.pipe:write(bytes)
  if not ok then return problem.of(reason, code) end
  return call:send_json(200, { name = connection.name, sent = #bytes, error = 0 })
end

local send = with_connection(nil, function(call, connection)
  return send_bytes(call, connection, call.params.text)
end)

local push = with_connection(nil, function(call, connection)
  local bytes = call:read_all(BODY_MAX)
  if problem.is(bytes) then return bytes end
  return send_bytes(call, connection, bytes)
end)

local RECEIVE = { name = true, timeout = true }

local function receive_message(connection, options)
  local timeout = seconds_of(options.timeout, RECEIVE_S)
  if problem.is(timeout) then return timeout end
  return connection:receive(options.name or "all", timeout)
end

local receive = with_connection(RECEIVE, function(call, connection, options)
  local message = receive_message(connection, options)
  if problem.is(message) then return message end
  return call:send_json(200, { con_name = connection.name, data = to_text(message.data),
    client_tup = describe.list(message.tuple), error = 0 })
end)

local pull = with_connection(RECEIVE, function(call, connection, options)
  local message = receive_message(connection, options)
  if problem.is(message) then return message end
  return call:send(200, "application/octet-stream", message.data)
end)

local tunnel = with_connection(nil, function(call, connection)
  if connection.tunnel then return problem.new(409, "the connection is a tunnel already") end
  call.status = 101
  local stream, reason, code = call.request:upgrade({ Upgrade = "p2pd-tunnel" }, 10)
  if not stream then return problem.of(reason, code) end
  connection:relay(stream)
end)

-- -- subscriptions

local subscribe = with_connection({ name = true, msg_p = true, addr_p = true }, function(call, connection,
  options)
  if not options.name then return problem.new(400, "the subscription needs a name") end
  local sub = connection:subscribe(options.name, options.msg_p, options.addr_p)
  if problem.is(sub) then return sub end
  return call:send_json(200, { name = connection.name, sub = sub, error = 0 })
end)

local unsubscribe = with_connection({ name = true }, function(call, connection, options)
  local sub = connection:unsubscribe(options.name or "all")
  if not sub then return problem.new(404, "no subscription has this name") end
  return call:send_json(200, { name = connection.name, unsub = sub, error = 0 })
end)

-- -- the other side

-- A node that is sent the test string says so.
local function answer(accepted)
  local pipe <close> = accepted
  while true do
    local data = pipe:recv()
    if not data or data:find(TEST, 1, true) and not pipe:write(ANSWER) then return end
  end
end

--- Answers what peers send by connections of this API, until the node is closed.
-- @tparam table service
function rest.serve_peers(service)
  for pipe in service.node:pipes(rest.PROTOCOL) do service.tasks:detach(answer, pipe) end
end

-- -- the routes

local function route(method, path, id, handler, summary, more)
  local one = { method = method, path = path, id = id, tag = "P2PD", handler = handler, summary = summary,
    style = "p2pd", waits = true,
    answers = { [200] = { description = "An object with `error`.",
      schema = describe.object({ error = { type = { "integer", "string" } } }, { "error" }) } } }
  local params = {}
  for name in path:gmatch "{([%w_]+)}" do params[name] = { type = "string", description = "The " .. name
    .. "." } end
  one.params = next(params) and params
  for key, value in pairs(more or {}) do one[key] = value end
  return one
end

local BYTES = { answers = { [200] = { description = "Bytes.", type = "application/octet-stream" } } }

rest.ROUTES = {
  route("GET", "/version", "p2pdVersion", show_version, "Title, author, version.", { waits = false }),
  route("GET", "/ifs", "p2pdInterfaces", list_interfaces, "The node's interfaces.", { waits = false }),
  route("GET", "/addr", "p2pdAddress", show_address, "The node's address.", { waits = false }),
  route("GET", "/open/{name}/{address}/...", "p2pdOpen", open,
    "Connects to a peer, or to `self`, and names it."),
  route("GET", "/info/{name}", "p2pdInfo", show, "What a connection is.", { waits = false }),
  route("GET", "/send/{name}/{text}", "p2pdSend", send, "Sends a text."),
  route("GET", "/recv/{name}/...", "p2pdReceive", receive, "The next message: /name/SUB, /timeout/SECONDS."),
  route("POST", "/binary/{name}", "p2pdPush", push, "Sends bytes.", { body = "bytes" }),
  route("GET", "/binary/{name}/...", "p2pdPull", pull, "The next message, as it is.", BYTES),
  route("GET", "/tunnel/{name}", "p2pdTunnel", tunnel, "The HTTP connection becomes a relay, both ways.",
    { answers = { [101] = { description = "It is a relay now." } } }),
  route("GET", "/sub/{name}/...", "p2pdSubscribe", subscribe,
    "Subscribes to messages: /name/SUB/msg_p/REGEX, /addr_p/TUPLE."),
  route("DELETE", "/sub/{name}/...", "p2pdUnsubscribe", unsubscribe, "Ends a subscription: /name/SUB."),
  route("GET", "/close/{name}", "p2pdClose", close, "Closes a connection.", { waits = false }),
}

return rest
