--- Services of one machine, for peers: `p2pd expose` and `p2pd forward`. Both sides speak the protocol
-- "forward/1": each stream is a pipe, whose first message names a service; the answer is "ok", or "no " and
-- the reason; then come the stream's bytes, both ways.
-- @module p2pd.forward
local advice = require "p2pd.advice"
local task = require "p2pd.task"
local tcp = require "p2pd.tcp"
local text = require "p2pd.text"

local forward = {}

forward.PROTOCOL = "forward/1"

local MESSAGE_MAX = 512 -- bytes
local REQUEST_S = 10    -- until the request, and for the service to answer
local ANSWER_S = 15     -- until the peer has done so
local OPENING_MAX = 64  -- streams that are being opened at a time
local LOOK_S = 0.5      -- between two looks at the path

local NOTHING = { received = 0, sent = 0 }

-- -- what is exposed

--- Reads what a person wants to expose: a place, or NAME=PLACE.
-- @tparam {string,...} list
-- @treturn table by name the places, `[1]` the first one; or nil, message, code
function forward.services(list)
  local services = {}
  for _, item in ipairs(list) do
    local name, place = item:match "^([%w._-]+)=(.+)$"
    local parsed, reason, code = tcp.parse(place or item)
    if not parsed then return nil, reason, code end
    local canonical = tcp.format(parsed)
    services[1] = services[1] or canonical
    services[canonical], services[name or canonical] = canonical, canonical
  end
  return services
end

local function connect(services, wanted)
  local place = services[wanted == "" and 1 or wanted]
  if not place then
    return nil, wanted == "" and "nothing is exposed" or ("%s is not exposed"):format(text.printable(wanted)),
      "EACCES"
  end
  return tcp.connect(place, { timeout = REQUEST_S })
end

local function receive_request(pipe)
  pipe:settimeout(REQUEST_S)
  local wanted, reason, code = pipe:receive(MESSAGE_MAX)
  pipe:settimeout(nil)
  if wanted then return wanted end
  return nil, reason or "the peer asked for nothing", code or "EPROTO"
end

local function serve(pipe, services, on_event)
  local wanted, reason = receive_request(pipe)
  if not wanted then return on_event("refused", { pipe = pipe, reason = reason }) end
  local stream <close>, failure = connect(services, wanted)
  if not stream then
    pipe:send("no " .. failure)
    pipe:shutdown()
    return on_event("refused", { pipe = pipe, service = wanted, reason = failure })
  end
  if not pipe:send "ok" then return end
  on_event("begin", { pipe = pipe, service = wanted })
  local counts, why, _, failed = pipe:link(stream)
  on_event("end", { pipe = pipe, service = wanted, counts = counts or failed, reason = why })
end

--- Serves peers until the node is closed; waits.
-- @tparam node node whose `allow` says whom
-- @tparam table services see @{services}
-- @tparam[opt] function on_event called with "begin", "end" or "refused", and a table: `pipe`, `service`,
-- `counts`, `reason`
function forward.serve(node, services, on_event)
  on_event = on_event or function() end
  local streams <close> = task.group()
  for pipe in node:pipes(forward.PROTOCOL) do
    streams:detach(function()
      local accepted <close> = pipe
      serve(accepted, services, on_event)
    end)
  end
end

-- -- the other side

local function receive_answer(pipe)
  pipe:settimeout(ANSWER_S)
  local answer, reason, code = pipe:receive(MESSAGE_MAX)
  pipe:settimeout(nil)
  if answer == "ok" then return true end
  if not answer then return nil, reason or "the peer hung up", code or "ECONNRESET" end
  return nil, "refused by the peer: " .. text.printable(answer:match "^no (.*)$" or "?"), "EACCES"
end

--- Opens a stream to a peer's service.
-- @tparam node node
-- @tparam string address the peer's
-- @tparam string service its name, or a place that is exposed; "" for the first one
-- @treturn pipe; or nil, message, code (EACCES: it is refused)
function forward.open(node, address, service)
  local made, failure = node:connect(address, { protocol = forward.PROTOCOL })
  if not made then return nil, advice.sentence(failure), failure.code end
  local held <close> = task.hold(made)
  local ok, reason, code = made:send(service, MESSAGE_MAX)
  if ok then ok, reason, code = receive_answer(made) end
  if not ok then return nil, reason, code end
  return held:release()
end

-- Opens some at a time: the peer has so much room for pipes that nobody has accepted yet.
local function open_in_turn(gate, open, stream)
  while gate.count == OPENING_MAX do gate.changed:wait() end
  gate.count = gate.count + 1
  local _ <close> = setmetatable({}, { __close = function()
    gate.count = gate.count - 1
    gate.changed:signal()
  end })
  return open(stream)
end

local function carry(gate, stream, open, on_event)
  local held <close> = stream
  local pipe <close>, reason = open_in_turn(gate, open, stream)
  if not pipe then
    held:reset()
    return on_event("refused", { reason = reason })
  end
  on_event("begin", { pipe = pipe })
  local _ <close> = setmetatable({}, { __close = function() gate.pipes[pipe] = nil end })
  gate.pipes[pipe] = true
  local counts, why, _, failed = pipe:link(held)
  on_event("end", { pipe = pipe, counts = counts or failed or NOTHING, reason = why })
end

-- The streams share a session and its path: one of them tells for all.
local function watch_path(gate, on_event)
  local was_lost = false
  while true do
    task.sleep(LOOK_S)
    local pipe = next(gate.pipes)
    local is_lost = pipe ~= nil and pipe:info() ~= nil and pipe.strategy == nil
    if pipe and is_lost ~= was_lost then on_event(is_lost and "lost" or "back", { pipe = pipe }) end
    was_lost = is_lost
  end
end

--- Carries the connections of a listener to wherever they are to go, until it is closed; waits.
-- @tparam listener listener
-- @tparam function open called with the accepted stream, gives a pipe; or nil and the reason: then the stream
-- is reset
-- @tparam[opt] function on_event as for @{serve}; also "lost" and "back", of the path to the peer
function forward.listen(listener, open, on_event)
  on_event = on_event or function() end
  local streams <close> = task.group()
  local gate = { count = 0, changed = task.condition(), pipes = {} }
  local _ <close> = task.spawn(watch_path, gate, on_event)
  for stream in listener:streams() do streams:detach(carry, gate, stream, open, on_event) end
end

return forward
