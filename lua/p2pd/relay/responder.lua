--- The peer's side of a relayed connection: comes to the dialer's relay, or offers one of its own.
-- @module p2pd.relay.responder
local local_relay = require "p2pd.relay.local_relay"
local remote_relay = require "p2pd.relay.remote_relay"
local task = require "p2pd.task"

local responder = {}

local REPEAT_S = 1    -- until an offer is said again, then twice as long
local BLOCKED_S = 1.5 -- for datagrams to reach a relay: else UDP is blocked here
local SAY_S = 0.3     -- for a connection that is refused: then that is the answer
local ATTEMPTS = 3    -- to come to a relay
local AGAIN_S = 0.1   -- between them, and more each time

-- -- a local relay

-- Says it again as long as nobody has come: an answer may be lost.
local function keep_offering(node, m, allocation)
  local wait = REPEAT_S
  while true do
    node:reply(m, local_relay.fields(allocation))
    task.sleep(wait)
    wait = wait * 2
  end
end

local function answer_by_local(node, m)
  m.untried = true
  local place <close>, full, busy = local_relay.take_place(node, m.from)
  if not place then return nil, full, busy end
  local allocation, why, code = local_relay.open(node, m.sender)
  if not allocation then return nil, why, code end
  local held <close> = task.hold(allocation)
  local ok, reason
  ok, reason, code = local_relay.permit(node, allocation, m.sender)
  if not ok then return nil, reason, code end
  local _ <close> = task.spawn(keep_offering, node, m, allocation)
  local stream
  stream, reason, code = local_relay.receive(allocation, m.pipe, "answerer",
    function(come) return node:admit(come, m) end)
  if stream then held:release() end
  return stream, reason, code
end

-- -- the dialer's relay

local function connect_by_local(node, m)
  local ok, why, errno = remote_relay.check(node, m)
  if not ok then return nil, why, errno end
  task.sleep(BLOCKED_S)
  local place <close>, full, busy = local_relay.take_place(node, m.from)
  if not place then return nil, full, busy end
  local allocation, reason, code = local_relay.open_sender(node)
  if not allocation then return nil, reason, code end
  local held <close> = task.hold(allocation)
  node:reply(m, local_relay.fields(allocation))
  local stream
  stream, reason, code = remote_relay.connect_by(allocation, m, m.pipe, "answerer")
  if stream then held:release() end
  return stream, reason, code
end

-- Comes to a UDP relay: from here, and a little later, if UDP is blocked here, from a relay of our own. The
-- reply says which, and so waits; without a server of our own there is nothing to wait for.
local function answer_udp(node, m)
  local has_server = local_relay.is_possible(node)
  local ways = { function() return remote_relay.connect(node, m, m.pipe, "answerer") end }
  if has_server then
    ways[2] = function() return connect_by_local(node, m) end
  else
    node:reply(m)
  end
  local stream, reason, code = task.race(ways)
  if not stream then return nil, reason, code end
  if has_server then node:reply(m) end
  return node:admit(stream, m)
end

-- Comes to a TCP relay. Its server may cut us off at first, when we come from an address that the dialer
-- learns of by our reply only: so once more, a little later.
local function answer_tcp(node, m)
  local said = false
  local function say()
    said = said or node:reply(m)
  end
  local _ <close> = task.spawn(function()
    task.sleep(SAY_S)
    say()
  end)
  local stream, reason, code
  for attempt = 1, ATTEMPTS do
    if attempt > 1 then task.sleep(AGAIN_S * attempt) end
    stream, reason, code = remote_relay.connect(node, m, m.pipe, "answerer")
    if not stream then return nil, reason, code end
    say()
    stream, reason, code = node:admit(stream, m)
    if stream or code ~= "ECANCELED" then break end
  end
  return stream, reason, code
end

--- Answers a TURN_REQUEST. Waits.
-- @tparam node node
-- @tparam table m the message
-- @treturn stream a verified stream; or nil, message, code
function responder.answer(node, m)
  if m.relayed and m.udp then return answer_udp(node, m) end
  if m.relayed then return answer_tcp(node, m) end
  return answer_by_local(node, m)
end

return responder
