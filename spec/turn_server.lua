--- A TURN server of tables, for the specs of the client's machine: it answers as it is told to.
local core = require "p2pd.core"

local turn_server = { USER = "alice", PASS = "secret", REALM = "example.org", NONCE = "nonce 1" }

local METHODS = { allocate = 3, refresh = 4, data = 7, permit = 8, bind = 9, connect = 10, join = 11,
  attempt = 12, binding = "binding" }

local NAMES = { "binding" }
for name, number in pairs(METHODS) do NAMES[number] = name end

function turn_server.key(pass, algorithm)
  return core.stun.long_term_key(turn_server.USER, turn_server.REALM, pass or turn_server.PASS, algorithm)
end

--- A client with the credentials that the server knows.
function turn_server.client(options)
  local all = { user = turn_server.USER, pass = turn_server.PASS }
  for name, value in pairs(options or {}) do all[name] = value end
  return core.turn.client(all)
end

--- A client that has been asked to prove its password.
function turn_server.challenged(options)
  local client = turn_server.client(options)
  client:feed(turn_server.challenge(turn_server.take(client, 0)), 0, 0)
  return client
end

--- The request that the client sends now, as a table with its `name`; fails when it sends none.
function turn_server.take(client, now)
  local action, bytes, connection = client:poll(now)
  assert(action == "send", "the client sends nothing")
  local m = assert(core.stun.decode(bytes, turn_server.key()))
  m.name, m.on, m.bytes = NAMES[m.method], connection, bytes
  return m
end

local function encode(request, class, fields, key)
  local message = { class = class, method = request.method, id = request.id, key = key }
  for name, value in pairs(fields or {}) do message[name] = value end
  return (core.stun.encode(message))
end

--- A success response, signed with `fields.key` (false: not at all), else with the right key.
function turn_server.success(request, fields)
  fields = fields or {}
  local key = fields.key
  if key == nil then key = turn_server.key() end
  local rest = {}
  for name, value in pairs(fields) do rest[name] = value end
  rest.key = nil
  return encode(request, "success", rest, key or nil)
end

--- An error response.
function turn_server.refuse(request, code, fields)
  local all = { error = { code = code, reason = "" } }
  for name, value in pairs(fields or {}) do all[name] = value end
  return encode(request, "error", all)
end

--- The challenge of a server that wants credentials: 401, or 438 with a new nonce.
function turn_server.challenge(request, code, nonce, realm)
  return turn_server.refuse(request, code or 401,
    { realm = realm or turn_server.REALM, nonce = nonce or turn_server.NONCE })
end

--- An indication from the server.
function turn_server.indicate(name, fields)
  local message = { class = "indication", method = METHODS[name] }
  for key, value in pairs(fields) do message[key] = value end
  return (core.stun.encode(message))
end

turn_server.RELAYED = { ip = "203.0.113.1", port = 50000 }
turn_server.MAPPED = { ip = "198.51.100.7", port = 40000 }

--- Brings a client to its allocation, at instant 0; gives its event.
function turn_server.allocate(client, fields)
  client:feed(turn_server.challenge(turn_server.take(client, 0)), 0, 0)
  local all = { relayed = turn_server.RELAYED, mapped = turn_server.MAPPED, lifetime = 600 }
  for name, value in pairs(fields or {}) do all[name] = value end
  client:feed(turn_server.success(turn_server.take(client, 0), all), 0, 0)
  return assert(client:event(), "no allocation")
end

--- A client that has an allocation.
function turn_server.allocated(options)
  local client = turn_server.client(options)
  turn_server.allocate(client)
  return client
end

--- The kinds of its events.
function turn_server.kinds(client)
  local list = {}
  for event in function() return (client:event()) end do list[#list + 1] = event.kind end
  return list
end

--- Until when it waits; fails when it does not.
function turn_server.waits(client, now)
  local action, due = client:poll(now)
  assert(action == "wait", action)
  return due
end

return turn_server
