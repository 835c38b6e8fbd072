--- The accepting side of a node: who has connected, until he has proved himself; and the pipes that wait for
-- accept(). Nobody gets more than a few seconds and one of a few places (@{p2pd.limit.budgets}).
-- @module p2pd.node.acceptor
local core = require "p2pd.core"
local handshake = require "p2pd.handshake"
local pipe = require "p2pd.pipe"
local task = require "p2pd.task"

local acceptor = {}

-- What is counted of a stream that was turned away, by the code of its failure.
local REASONS = { EACCES = "not allowed", EPROTO = "no peer", EMSGSIZE = "no peer", ECONNRESET = "hung up",
  ETIMEDOUT = "too slow", EBUSY = "too busy" }

local NO_DESCRIPTOR = { EMFILE = true, ENFILE = true, ENOBUFS = true, ENOMEM = true }
local PAUSE_S = 0.1 -- after an accept that has failed

--- Counts a stream that is turned away, and tells.
-- @tparam node node
-- @tparam ?string ip whose
-- @tparam ?string code of the failure
-- @tparam string reason
function acceptor.turn_away(node, ip, code, reason)
  ip = ip or "somebody"
  node.counts.turned_away = node.counts.turned_away + 1
  node.refusals:note(REASONS[code] or "failed", ip, "a connection from %s was turned away: %s", ip,
    tostring(reason))
end

-- Tells the dialer why, in the background, as long as there is room for that.
local function turn_down(node, stream, code, reason)
  acceptor.turn_away(node, stream:getpeername(), code, reason)
  local place = node.limits:hold("refused", {})
  if not place then return stream:abort() end
  node.tasks:detach(function()
    local _ <close> = place
    handshake.turn_down(stream, reason)
  end)
end

local function take_place(node, who, on_give_way)
  local ok, reason, code = node.limits:has_descriptors(node.limits.trust:step(who.peer))
  if not ok then return nil, reason, code end
  return node.limits:hold("pipes", who, on_give_way)
end

-- `ip`: where the stream came from, as it was before a session took it over.
local function remember(node, ip, about)
  local admission = node.signal.admission
  if node.allow then admission:trust(about.peer, core.clock.monotonic()) end
  if ip and (not about.addresses or about.addresses[ip]) then node.limits.trust:prove(ip, about.peer) end
  if about.relay then node.limits.trust:prove(about.relay) end
end

-- -- pipes

-- A stream on which nothing but its verdict is missing goes to accept(), when there is room for it.
local function offer_pipe(node, stream, about)
  if not node.accepted:speaks(about.protocol) then
    return nil, "nobody here speaks " .. about.protocol, "EACCES"
  end
  local waiting, reason, code = node.limits:hold("pipes_waiting", about)
  if not waiting then return nil, reason, code end
  handshake.accept(stream)
  node.counts.accepted = node.counts.accepted + 1
  local made = pipe.new(stream, about)
  node.accepted:add(made, waiting)
  node:tell_pipe(made, true)
  return true
end

--- Hands a stream of a session to accept(), as a pipe.
-- @tparam node node
-- @tparam session session
-- @tparam stream stream taken over
-- @tparam table header id, protocol
function acceptor.offer_stream(node, session, stream, header)
  if node.closed then return stream:abort() end
  local about = { session = session, peer = session.peer, id = header.id, protocol = header.protocol,
    secure = session.secure }
  local ok, reason, code = node:is_allowed(session.peer, { type = "PIPE", from = session.peer,
    protocol = header.protocol }), "not allowed", "EACCES"
  if ok then
    about.place, reason, code = node.limits:hold("streams", about)
    ok = about.place ~= nil
  end
  if ok then ok, reason, code = offer_pipe(node, stream, about) end
  if ok then return end
  if about.place then about.place:close() end
  turn_down(node, stream, code, reason)
end

-- -- verified streams

--- Takes a verified stream: it is a pipe, or a path of a session.
-- @tparam node node
-- @tparam stream stream
-- @tparam table found what the dialer has said, see @{p2pd.handshake.answer}
-- @tparam table about strategy, and what is known: `address` (the peer's, parsed), `addresses`: set of those
-- that are the peer's own (nil: any), `relay`: address of the one that it came by
function acceptor.offer(node, stream, found, about)
  if node.closed then return stream:abort() end
  about.peer, about.id, about.secure = found.from, found.pipe, not found.insecure
  local who = { peer = about.peer, source = stream:getpeername() }
  local ok, reason, code
  about.place, reason, code = take_place(node, who, function() stream:abort() end)
  if not about.place then return turn_down(node, stream, code, reason) end
  about.interface = node:interface_of(stream)
  stream:setsilence(node.settings.silence)
  if found.kind == "pipe" then
    about.protocol = found.name
    ok, reason, code = offer_pipe(node, stream, about)
  else
    ok, reason, code = node.open_sessions:take_path(stream, found, about)
  end
  if not ok then
    about.place:close()
    return turn_down(node, stream, code, reason)
  end
  node.responder:settle(about.peer, about.id)
  remember(node, who.source, about)
end

-- -- who it is

-- The dialer has connected to us. Returns who takes the stream over.
local function answer_dial(node, stream, hello)
  if not node.limits:has_room("pipes_waiting", { step = "trusted" }) then
    handshake.refuse_busy(stream, hello, { to = node.id, context = node.tls })
    return nil, "too many pipes wait to be accepted", "EBUSY"
  end
  local found, reason, code = handshake.answer(stream, hello, {
    to = node.id, context = node.tls, insecure = node.insecure,
    allow = function(from) return node:is_allowed(from, { type = "DIRECT", from = from }) end,
  })
  if not found then return nil, reason, code end
  return function()
    if found.refused then return turn_down(node, stream, "EACCES", found.refused) end
    acceptor.offer(node, stream, found, { strategy = found.strategy })
  end
end

-- A peer has connected back, for a dial of ours. Until one has proved to be the peer, others may try.
local function meet_dial(node, stream, hello)
  local entry = node.expected[hello.pipe]
  if not entry or entry.ended then
    return nil, "an unexpected connection", "EPROTO"
  end
  local ok, reason, code = entry.dial:secure(stream)
  if not ok then return nil, reason, code end
  return function()
    if entry.ended then return stream:close() end
    entry.stream, entry.ended = stream, true
    entry.condition:broadcast()
  end
end

local function meet(node, stream, place)
  local hello, reason, code = task.timeout(handshake.FIRST_TIMEOUT, handshake.receive, stream)
  if not hello then return nil, reason, code end
  place.idle = false
  return (hello.role == "back" and meet_dial or answer_dial)(node, stream, hello)
end

-- A stream that has a place among the unverified, until a pipe or a dial has it.
local function receive(node, stream, ip, place)
  local held <close> = task.hold(stream)
  local _ <close> = setmetatable({}, { __close = function()
    node.unverified[stream] = nil
    place:close()
  end })
  local take, reason, code = task.timeout(handshake.TIMEOUT, meet, node, stream, place)
  if take then
    held:release()
    return take()
  end
  if code ~= "ECANCELED" then acceptor.turn_away(node, ip, code, reason) end
end

-- -- who may wait

local function welcome(node, stream)
  local ip = stream:getpeername()
  local step, child = node.limits.trust:step_of_source(ip), nil
  if not node.limits:has_descriptors(step) then
    acceptor.turn_away(node, ip, "EBUSY", "no descriptors are left for it")
    return stream:abort()
  end
  local place, reason, code = node.limits:hold("unverified", { source = ip, step = step }, function()
    acceptor.turn_away(node, ip, "EBUSY", "others want to come in, too")
    if child then child:cancel() end
    stream:abort()
  end)
  if not place then
    acceptor.turn_away(node, ip, code, reason)
    return stream:abort()
  end
  place.idle = true
  node.unverified[stream] = true
  child = node.tasks:detach(receive, node, stream, ip, place)
end

--- The accept loop of one listener.
-- @tparam node node
-- @tparam listener listener
function acceptor.serve(node, listener)
  while true do
    local stream, reason, code = listener:accept()
    if stream then
      welcome(node, stream)
    elseif code == "EBADF" then
      return
    else
      local counted = NO_DESCRIPTOR[code] and "no descriptors" or "failed"
      node.refusals:note(counted, "listener", "accept: %s", reason)
      task.sleep(PAUSE_S)
    end
  end
end

return acceptor
