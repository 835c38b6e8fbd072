--- Routes of /v1 about the node, its peers and its sessions.
-- @module p2pd.http.v1.node
local core = require "p2pd.core"
local describe = require "p2pd.http.describe"
local json = require "dkjson"
local metrics = require "p2pd.http.metrics"
local problem = require "p2pd.http.problem"
local qr = require "p2pd.http.qr"

local NODE_AGE_S = 0.02

local STRING = { type = "string" }
local array, object, ref = describe.array, describe.object, describe.ref

local ID = { id = { type = "string", description = "A session's id." } }

local function find_session(call)
  for _, one in ipairs(call.service.node:sessions()) do
    if one.id == call.params.id then return one end
  end
  return problem.new(404, "no session has this id")
end

-- It is made anew when it is older than that: many may ask at once.
local function show_node(call)
  local service, now = call.service, core.clock.monotonic()
  if not service.node_text or now - service.node_text_at > NODE_AGE_S then
    service.node_text, service.node_text_at = json.encode(describe.node(service.node)) .. "\n", now
  end
  return call:send(200, "application/json", service.node_text)
end

local function show_address(call)
  return call:send_json(200, { address = call.service.node.address, id = call.service.node.id })
end

local function show_qr(call)
  local svg, reason, code = qr.svg(call.service.node.address)
  if not svg then return problem.new(501, reason, code) end
  return call:send(200, "image/svg+xml", svg)
end

-- One line for each peer with whom there is a session or a pipe.
local function list_peers(call)
  local list, found = describe.list(), {}
  local function note(peer, what)
    local one = found[peer]
    if not one then
      one = { id = peer, sessions = 0, pipes = 0 }
      found[peer], list[#list + 1] = one, one
    end
    one[what] = one[what] + 1
  end
  for _, session in ipairs(call.service.node:sessions()) do note(session.peer, "sessions") end
  for _, entry in ipairs(call.service.pipes:list()) do note(entry.pipe.peer, "pipes") end
  return call:send_json(200, { peers = list })
end

local function ask_address(call)
  local whom, fault = describe.resolve(call.service.node, call.body.address)
  if not whom then return problem.new(400, fault, "EINVAL") end
  local found, reason, code = call.service.node:get_address(whom, call.body.timeout)
  if not found then return problem.of(reason, code) end
  return call:send_json(200, { address = found })
end

local function echo(call)
  local whom, fault = describe.resolve(call.service.node, call.body.address)
  if not whom then return problem.new(400, fault, "EINVAL") end
  local data, seconds, code = call.service.node:echo(whom, call.body.data or "ping",
    call.body.timeout)
  if not data then return problem.of(seconds, code) end
  return call:send_json(200, { data = data, seconds = seconds })
end

local function list_sessions(call)
  local list = describe.list()
  for i, one in ipairs(call.service.node:sessions()) do list[i] = describe.session(one) end
  return call:send_json(200, { sessions = list })
end

local function show_session(call)
  local session = find_session(call)
  if problem.is(session) then return session end
  return call:send_json(200, describe.session(session))
end

local function close_session(call)
  local session = find_session(call)
  if problem.is(session) then return session end
  session:close()
  return call:send_nothing(204)
end

local function show_metrics(call)
  return call:send(200, metrics.TYPE, call.service.metrics:text())
end

local function show_openapi(call)
  call.service.openapi_text = call.service.openapi_text or json.encode(call.service.openapi) .. "\n"
  return call:send(200, "application/json", call.service.openapi_text)
end

local ASK = object({ address = STRING, timeout = { type = "number", minimum = 0, maximum = 600 } },
  { "address" })
local ECHO = object({ address = STRING, data = { type = "string", maxLength = 7000 },
  timeout = { type = "number", minimum = 0, maximum = 600 } }, { "address" })

return {
  { method = "GET", path = "/v1/node", id = "getNode", tag = "node", handler = show_node,
    summary = "What the node is: address, id, NATs, interfaces, brokers, mappings, clock, limits.",
    answers = { [200] = { description = "The node.", schema = ref "Node" } } },
  { method = "GET", path = "/v1/address", id = "getAddress", tag = "node", handler = show_address,
    summary = "The address by which peers reach the node.",
    answers = { [200] = { description = "Address and id.",
      schema = object({ address = STRING, id = STRING }, { "address", "id" }) } } },
  { method = "GET", path = "/v1/address/qr", id = "getAddressQr", tag = "node", handler = show_qr,
    summary = "The address as a QR code; status 501 where libqrencode is not installed.",
    answers = { [200] = { description = "An SVG document.", type = "image/svg+xml" } } },
  { method = "GET", path = "/v1/peers", id = "listPeers", tag = "peers", handler = list_peers,
    summary = "The peers with whom there is a session or a pipe.",
    answers = { [200] = { description = "The peers.", schema = object({ peers = array(object({ id = STRING,
      sessions = { type = "integer" }, pipes = { type = "integer" } }, { "id", "sessions", "pipes" })) },
      { "peers" }) } } },
  { method = "POST", path = "/v1/peers/address", id = "askAddress", tag = "peers", handler = ask_address,
    waits = true, body = ASK, summary = "Asks a peer for its present address, over signalling.",
    answers = { [200] = { description = "The address.", schema = object({ address = STRING },
      { "address" }) } } },
  { method = "POST", path = "/v1/peers/echo", id = "echo", tag = "peers", handler = echo, waits = true,
    body = ECHO, summary = "Sends a text to a peer and back, over signalling.",
    answers = { [200] = { description = "The text, and the round trip in seconds.",
      schema = object({ data = STRING, seconds = { type = "number" } }, { "data", "seconds" }) } } },
  { method = "GET", path = "/v1/sessions", id = "listSessions", tag = "sessions", handler = list_sessions,
    summary = "The sessions with peers, the oldest first.",
    answers = { [200] = { description = "The sessions.",
      schema = object({ sessions = array(ref "Session") }, { "sessions" }) } } },
  { method = "GET", path = "/v1/sessions/{id}", id = "getSession", tag = "sessions", handler = show_session,
    params = ID, summary = "A session, and the paths that have carried it.",
    answers = { [200] = { description = "The session.", schema = ref "Session" } } },
  { method = "DELETE", path = "/v1/sessions/{id}", id = "closeSession", tag = "sessions",
    handler = close_session, params = ID, summary = "Closes a session and its pipes.",
    answers = { [204] = { description = "It is closed." } } },
  { method = "GET", path = "/v1/metrics", id = "getMetrics", tag = "node", handler = show_metrics,
    summary = "Counts and states, for Prometheus and the like.",
    answers = { [200] = { description = "OpenMetrics text.", type = "application/openmetrics-text" } } },
  { method = "GET", path = "/v1/openapi.json", id = "getDescription", tag = "node", handler = show_openapi,
    summary = "This description.",
    answers = { [200] = { description = "An OpenAPI 3.1 document.", schema = { type = "object" } } } },
}
