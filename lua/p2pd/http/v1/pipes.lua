--- Routes of /v1 about pipes: dialing, accepting, sending, receiving.
-- @module p2pd.http.v1.pipes
local describe = require "p2pd.http.describe"
local pipes = require "p2pd.http.pipes"
local problem = require "p2pd.http.problem"
local task = require "p2pd.task"
local websocket = require "p2pd.http.websocket"

local STRING = { type = "string" }
local array, object, ref = describe.array, describe.object, describe.ref

local ID = { id = { type = "string", description = "A pipe's id." } }
local DIAL_ID = { id = { type = "string", description = "A dial's id." } }

local PROTOCOL = { type = "string", minLength = 1, maxLength = 64, description = "What is to be spoken." }
local SECONDS = { type = "number", minimum = 0, maximum = 600 }

local DIAL = object({
  address = { type = "string", maxLength = 2048, description = 'The peer\'s address, or "self".' },
  strategies = { type = "array", items = STRING, maxItems = 16 },
  policy = { type = "string", enum = { "race", "sequence" } },
  protocol = PROTOCOL, timeout = SECONDS, exclusive = { type = "boolean" },
}, { "address" })
DIAL.additionalProperties = false

-- -- making them

local function list_pipes(call)
  local list = describe.list()
  for i, entry in ipairs(call.service.pipes:list()) do list[i] = describe.pipe(entry) end
  return call:send_json(200, { pipes = list })
end

-- A pipe that nobody learns of is closed.
local function send_new(call, entry)
  if problem.is(entry) then return entry end
  local ok = call:send_json(201, describe.pipe(entry), { Location = "/v1/pipes/" .. entry.id })
  if not ok then call.service.pipes:remove(entry) end
end

local function open_pipe(call)
  return send_new(call, call.service.dials:connect(call.body))
end

local function accept_pipe(call)
  local node, body = call.service.node, call.body
  local ok, pipe, reason, code = pcall(node.accept, node, body.protocol, body.timeout or 30)
  if not ok then return problem.new(400, "that is no protocol's name", "EINVAL") end
  if not pipe then return problem.of(reason, code) end
  return send_new(call, call.service.pipes:add(pipe, true))
end

local function with_pipe(handler)
  return problem.or_found(function(call) return call.service.pipes:find(call.params.id) end, handler)
end

local show_pipe = with_pipe(function(call, entry)
  return call:send_json(200, describe.pipe(entry))
end)

local close_pipe = with_pipe(function(call, entry)
  call.service.pipes:remove(entry)
  return call:send_nothing(204)
end)

local end_pipe = with_pipe(function(call, entry)
  local ok, reason, code = entry.pipe:shutdown()
  if not ok then return problem.of(reason, code) end
  return call:send_nothing(204)
end)

-- -- sending

local send_data = with_pipe(function(call, entry)
  local sent, reason, code, taken = entry.pipe:copy_from(call.request:stream())
  if not sent then return problem.of(("after %d bytes: %s"):format(taken, reason), code) end
  return call:send_json(200, { sent = sent })
end)

-- -- receiving

local function receive_some(call, entry)
  local data, reason, code =
    task.timeout(call.query.wait, pipes.recv, entry, call.query.max)
  if data then return call:send(200, "application/octet-stream", data) end
  if code == "ETIMEDOUT" then return call:send_nothing(204) end
  if reason then return problem.of(reason, code) end
  return problem.new(410, "the peer has ended its half", "END")
end

-- Until the peer's end. An answer that ends without its last chunk has failed.
local function receive_all(call, entry)
  local stream = call:begin(200, "application/octet-stream")
  if stream and pipes.copy(entry, stream) then stream:shutdown() end
end

local receive_data = with_pipe(function(call, entry)
  local right <close> = pipes.take_reader(entry)
  if problem.is(right) then return right end
  if call.query.wait then return receive_some(call, entry) end
  return receive_all(call, entry)
end)

local open_socket = with_pipe(function(call, entry)
  local fault = websocket.find_fault(call.headers)
  if fault then return fault end
  local right <close> = pipes.take_reader(entry)
  if problem.is(right) then return right end
  call.status = 101
  local stream, reason, code = call.request:upgrade(websocket.answer(call.headers), 10)
  if not stream then return problem.of(reason, code) end
  websocket.run(stream, entry)
end)

-- -- dials

local function list_dials(call)
  local list, dials = describe.list(), call.service.dials
  for i, entry in ipairs(dials.order) do list[i] = dials:report(entry) end
  return call:send_json(200, { dials = list })
end

local function start_dial(call)
  local entry = call.service.dials:start(call.body)
  if problem.is(entry) then return entry end
  return call:send_json(202, call.service.dials:report(entry), { Location = "/v1/dials/" .. entry.id })
end

local function show_dial(call)
  local entry = call.service.dials:find(call.params.id)
  if problem.is(entry) then return entry end
  return call:send_json(200, call.service.dials:report(entry))
end

local function remove_dial(call)
  local entry = call.service.dials:find(call.params.id)
  if problem.is(entry) then return entry end
  call.service.dials:remove(entry)
  return call:send_nothing(204)
end

local PIPE = { description = "The pipe.", schema = ref "Pipe" }
local DONE = { description = "It is done." }

return {
  { method = "GET", path = "/v1/pipes", id = "listPipes", tag = "pipes", handler = list_pipes,
    summary = "The pipes that users of the API hold, the oldest first.",
    answers = { [200] = { description = "The pipes.", schema = object({ pipes = array(ref "Pipe") },
      { "pipes" }) } } },
  { method = "POST", path = "/v1/pipes", id = "openPipe", tag = "pipes", handler = open_pipe, waits = true,
    body = DIAL, summary = "Connects to a peer. Waits until there is a pipe, or a reason why not.",
    answers = { [201] = PIPE } },
  { method = "POST", path = "/v1/pipes/accept", id = "acceptPipe", tag = "pipes", handler = accept_pipe,
    waits = true, body = object { protocol = PROTOCOL, timeout = SECONDS },
    summary = "Waits for a pipe that a peer makes, 30 seconds or as long as `timeout` says.",
    answers = { [201] = PIPE } },
  { method = "GET", path = "/v1/pipes/{id}", id = "getPipe", tag = "pipes", handler = show_pipe, params = ID,
    summary = "A pipe.", answers = { [200] = PIPE } },
  { method = "DELETE", path = "/v1/pipes/{id}", id = "closePipe", tag = "pipes", handler = close_pipe,
    params = ID, summary = "Closes a pipe; what was sent still goes out.", answers = { [204] = DONE } },
  { method = "POST", path = "/v1/pipes/{id}/end", id = "endPipe", tag = "pipes", handler = end_pipe,
    params = ID, waits = true, summary = "Ends the local half: the peer reads the end.",
    answers = { [204] = DONE } },
  { method = "POST", path = "/v1/pipes/{id}/data", id = "sendData", tag = "pipes", handler = send_data,
    params = ID, waits = true, body = "bytes", summary = "Sends the body, of any size, as it comes.",
    answers = { [200] = { description = "How many bytes were sent.",
      schema = object({ sent = { type = "integer" } }, { "sent" }) } } },
  { method = "GET", path = "/v1/pipes/{id}/data", id = "receiveData", tag = "pipes", handler = receive_data,
    params = ID, waits = true,
    query = {
      wait = { type = "number", minimum = 0, maximum = 600,
        description = "Long poll: answer with what comes first within so many seconds." },
      max = { type = "integer", minimum = 1, maximum = 65536, default = 65536,
        description = "Bytes of a long poll's answer, at most." },
    },
    summary = "Receives until the peer's end, as it comes; or, with `wait`, what comes first.",
    answers = { [200] = { description = "Bytes.", type = "application/octet-stream" },
      [204] = { description = "Nothing came in time." } } },
  { method = "GET", path = "/v1/pipes/{id}/websocket", id = "openWebSocket", tag = "pipes",
    handler = open_socket, params = ID, waits = true,
    summary = "A WebSocket (RFC 6455): binary messages are the pipe's bytes, both ways.",
    answers = { [101] = { description = "It is a WebSocket now." } } },
  { method = "GET", path = "/v1/dials", id = "listDials", tag = "dials", handler = list_dials,
    summary = "Dials that run, and reports of the last ones.",
    answers = { [200] = { description = "The dials.", schema = object({ dials = array(ref "Dial") },
      { "dials" }) } } },
  { method = "POST", path = "/v1/dials", id = "startDial", tag = "dials", handler = start_dial, body = DIAL,
    summary = "Begins to dial, and does not wait.",
    answers = { [202] = { description = "The dial, which runs.", schema = ref "Dial" } } },
  { method = "GET", path = "/v1/dials/{id}", id = "getDial", tag = "dials", handler = show_dial,
    params = DIAL_ID, summary = "A dial's report, also while it runs.",
    answers = { [200] = { description = "The report.", schema = ref "Dial" } } },
  { method = "DELETE", path = "/v1/dials/{id}", id = "cancelDial", tag = "dials", handler = remove_dial,
    params = DIAL_ID, summary = "Cancels a dial, or forgets its report.", answers = { [204] = DONE } },
}
