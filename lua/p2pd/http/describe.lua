--- What a node, its sessions and pipes are, as JSON has it; and the schemas of that.
-- @module p2pd.http.describe
local clock = require "p2pd.clock"
local port_mapping = require "p2pd.port_mapping"
local version = require "p2pd.version"
local whom = require "p2pd.whom"

local describe = {}

local ARRAY = { __jsontype = "array" }

--- A list that is an array even when it is empty.
-- @tparam[opt] table list
-- @treturn table
function describe.list(list)
  return setmetatable(list or {}, ARRAY)
end

local function digits(value)
  return value and tonumber(("%.6g"):format(value))
end

-- -- the node

local function nat_of(route)
  local nat = route.nat
  return nat and { type = nat.type, delta = nat.delta, value = nat.value } or nil
end

local function route_object(route)
  return { family = route.family, nic = route.nic, external = route.external_known and route.external or nil,
    nat = nat_of(route) }
end

local function interfaces_of(node)
  local list, found = describe.list(), {}
  for _, route in ipairs(node.routes) do
    local one = found[route.name]
    if not one then
      one = { name = route.name, number = route.interface, routes = describe.list() }
      found[route.name], list[#list + 1] = one, one
    end
    table.insert(one.routes, route_object(route))
  end
  return list
end

local function brokers_of(stats)
  local list = describe.list()
  for _, broker in ipairs(stats.signalling.brokers) do
    list[#list + 1] = { name = broker.name, offset = broker.offset, state = broker.state,
      reason = broker.reason }
  end
  return list
end

local function mappings_of(node)
  local list = describe.list()
  for _, route in ipairs(node.routes) do
    local one = port_mapping.describe(route)
    if one then
      list[#list + 1] = { interface = route.name, family = route.family, nic = route.nic, state = one.state,
        protocol = one.protocol, ip = one.ip, port = one.port,
        verified = port_mapping.is_verified(route) and true or false }
    end
  end
  return list
end

local function clock_of()
  local known = clock.offset()
  return { now = clock.now(), source = known.source, offset = digits(known.offset), servers = known.servers,
    bound = known.bound < math.huge and digits(known.bound) or nil }
end

local function limits_of(stats)
  local list = describe.list()
  for name, one in pairs(stats.limits) do
    list[#list + 1] = { name = name, number = one.number, used = one.used, refused = one.refused }
  end
  table.sort(list, function(a, b) return a.name < b.name end)
  return list
end

--- What a node is.
-- @tparam node node
-- @treturn table
function describe.node(node)
  local stats = node:stats()
  return {
    version = version, address = node.address, id = node.id, name = node.name,
    ready = not (node.discovering or node.connecting),
    interfaces = interfaces_of(node), brokers = brokers_of(stats), mappings = mappings_of(node),
    clock = clock_of(), limits = limits_of(stats),
    counts = { accepted = stats.accepted, turned_away = stats.turned_away, unverified = stats.unverified,
      waiting = stats.waiting, answering = stats.answering, sessions = #node:sessions() },
  }
end

-- -- sessions, pipes, dials

local function path_object(path)
  return path and { strategy = path.strategy, ["local"] = path["local"], remote = path.remote,
    interface = path.interface, accepted = path.accepted, seconds = digits(path.seconds), why = path.why }
end

--- What a session is.
-- @tparam session session
-- @treturn table
function describe.session(session)
  local info = session:info()
  local story = describe.list()
  for i, path in ipairs(info.story) do story[i] = path_object(path) end
  return { id = info.id, peer = info.peer, secure = info.secure, path = path_object(info.path), story = story,
    paths = info.paths, resumed = info.resumed, kept = info.kept, sent = info.sent, received = info.received,
    rtt = digits(info.rtt), pipes = info.pipes, age = digits(info.age) }
end

--- What tries a dial has made.
-- @tparam {table,...} attempts
-- @treturn table
function describe.attempts(attempts)
  local list = describe.list()
  for i, one in ipairs(attempts or {}) do
    list[i] = { strategy = one.strategy, ok = one.ok or false, running = one.is_running or nil,
      reason = one.reason, began = digits(one.began), seconds = digits(one.seconds) }
  end
  return list
end

--- What a pipe is.
-- @tparam table entry of @{p2pd.http.pipes}
-- @treturn table
function describe.pipe(entry)
  local pipe = entry.pipe
  local info = pipe:info() or {}
  return {
    id = entry.id, state = entry.state, peer = pipe.peer, protocol = pipe.protocol, secure = pipe.secure,
    accepted = entry.accepted, strategy = info.strategy, interface = info.interface,
      ["local"] = info["local"],
    remote = info.remote, received = info.received, sent = info.sent, queued = info.queued,
    rtt = digits(info.rtt), age = digits(info.age), session = info.session and info.session.id,
    attempts = describe.attempts(pipe.attempts),
  }
end

-- -- schemas

local STRING, INTEGER, NUMBER, BOOLEAN = { type = "string" }, { type = "integer" }, { type = "number" },
  { type = "boolean" }

local function object(properties, required)
  return { type = "object", properties = properties, required = required and describe.list(required) }
end

local function array(items)
  return { type = "array", items = items }
end

local function ref(name)
  return { ["$ref"] = "#/components/schemas/" .. name }
end

describe.object, describe.array, describe.ref = object, array, ref

--- By name, for the OpenAPI description.
describe.SCHEMAS = {
  Node = object({
    version = STRING, address = STRING, id = STRING, name = STRING, ready = BOOLEAN,
    interfaces = array(object({ name = STRING, number = INTEGER, routes = array(object({
      family = STRING, nic = STRING, external = STRING,
      nat = object { type = NUMBER, delta = NUMBER, value = NUMBER } }, { "family", "nic" })) },
      { "name", "number", "routes" })),
    brokers = array(object({ name = STRING, offset = INTEGER, state = STRING, reason = STRING },
      { "name", "offset", "state" })),
    mappings = array(object({ interface = STRING, family = STRING, nic = STRING, state = STRING,
      protocol = STRING, ip = STRING, port = INTEGER, verified = BOOLEAN }, { "interface", "state" })),
    clock = object({ now = NUMBER, source = STRING, offset = NUMBER, bound = NUMBER, servers = INTEGER },
      { "now", "source" }),
    limits = array(object({ name = STRING, number = NUMBER, used = NUMBER, refused = INTEGER }, { "name" })),
    counts = object { accepted = INTEGER, turned_away = INTEGER, unverified = INTEGER, waiting = INTEGER,
      answering = INTEGER, sessions = INTEGER },
  }, { "version", "address", "id", "ready", "interfaces", "brokers", "mappings", "clock", "limits",
    "counts" }),
  Path = object({ strategy = STRING, ["local"] = STRING, remote = STRING, interface = STRING,
    accepted = BOOLEAN, seconds = NUMBER, why = STRING }, { "strategy" }),
  Session = object({ id = STRING, peer = STRING, secure = BOOLEAN, path = ref "Path",
    story = array(ref "Path"),
    paths = INTEGER, resumed = INTEGER, kept = INTEGER, sent = INTEGER,
    received = INTEGER, rtt = NUMBER, pipes = INTEGER, age = NUMBER },
    { "id", "peer", "secure", "story", "paths", "resumed", "pipes", "age" }),
  Attempt = object({ strategy = STRING, ok = BOOLEAN, running = BOOLEAN, reason = STRING, began = NUMBER,
    seconds = NUMBER }, { "strategy", "ok" }),
  Pipe = object({ id = STRING, state = { type = "string", enum = { "open", "ended", "failed" } },
    peer = STRING,
    protocol = STRING, secure = BOOLEAN, accepted = BOOLEAN, strategy = STRING, interface = STRING,
    ["local"] = STRING, remote = STRING, received = INTEGER, sent = INTEGER, queued = INTEGER, rtt = NUMBER,
    age = NUMBER, session = STRING, attempts = array(ref "Attempt") }, { "id", "state", "peer", "accepted" }),
  Dial = object({ id = STRING, address = STRING, state = { type = "string",
    enum = { "redeeming", "running", "connected", "failed", "canceled" } }, seconds = NUMBER, pipe = STRING,
      error = STRING,
    code = STRING, attempts = array(ref "Attempt") }, { "id", "address", "state", "seconds", "attempts" }),
  Transfer = object({ id = STRING, direction = { type = "string", enum = { "send", "receive" } },
    peer = STRING, name = STRING, state = { type = "string",
      enum = { "uploading", "offered", "running", "done", "failed", "refused", "canceled" } },
    files = INTEGER, bytes = INTEGER, moved = INTEGER, saved = INTEGER, seconds = NUMBER, error = STRING,
    code = STRING, items = array(object({ path = STRING, size = INTEGER, sha256 = STRING, how = STRING,
      url = STRING, error = STRING })) },
    { "id", "direction", "peer", "state", "files", "bytes", "moved", "saved", "seconds", "items" }),
  File = object({ path = STRING, url = STRING, peer = STRING, name = STRING, size = INTEGER,
    modified = INTEGER, partial = BOOLEAN },
    { "path", "url", "peer", "name", "size", "modified", "partial" }),
  Contact = object({ name = STRING, address = STRING, id = STRING }, { "name", "address" }),
  Problem = object({ type = STRING, title = STRING, status = INTEGER, detail = STRING, code = STRING },
    { "type", "title", "status", "detail" }),
}

--- Whom a request means: an address is known at once, a code's is to be found.
-- @tparam node node
-- @tparam string text an address, a node id, a contact's name, a code, or "self"
-- @treturn table as @{p2pd.whom.find} gives it; or nil, message, code
function describe.find_whom(node, text)
  if text == "self" then return { address = node.address } end
  return whom.find(text, { settings = node.settings, insecure = node.insecure })
end

--- Whom a request means. Waits for a code's address.
-- @tparam node node
-- @tparam string text an address, a node id, a contact's name, a code, or "self"
-- @treturn string the address to dial; or nil, message, code
-- @treturn boolean whether it is this node's own
function describe.resolve(node, text)
  if text == "self" then return node.address, true end
  local found, reason, code = describe.find_whom(node, text)
  local address
  if found then address, reason, code = found:reach(node) end
  if not address then return nil, reason, code end
  return address, address:match "[^-]+$" == node.id
end

return describe
