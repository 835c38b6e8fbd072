--- The accepting side of a node: who has connected, until he has proved himself; and the pipes that wait for
-- accept(). Nobody gets more than a few seconds and one of a few places; when all are taken, the source that
-- holds the most of them makes room.
-- @module p2pd.node.acceptor
local core = require "p2pd.core"
local handshake = require "p2pd.handshake"
local pipe = require "p2pd.pipe"
local task = require "p2pd.task"

local acceptor = {}

acceptor.ACCEPTED_MAX = 128 -- pipes that wait for accept()
acceptor.UNVERIFIED_MAX = 64 -- streams that have not proved themselves

-- What is counted of a stream that was turned away, by the code of its failure.
local REASONS = { EACCES = "not allowed", EPROTO = "no peer", EMSGSIZE = "no peer", ECONNRESET = "hung up",
  ETIMEDOUT = "too slow", EBUSY = "too busy" }

--- Hands a verified stream to accept(), as a pipe.
-- @tparam node node
-- @tparam stream stream
-- @tparam table about as for pipe.new
function acceptor.offer(node, stream, about)
  local accepted = node.accepted
  if #accepted >= acceptor.ACCEPTED_MAX then
    acceptor.turn_away(node, stream:getpeername(), "EBUSY", "too many pipes wait to be accepted")
    return stream:close()
  end
  node.counts.accepted = node.counts.accepted + 1
  about.interface = node:interface_of(stream)
  node.responder:settle(about.peer, about.id)
  table.insert(accepted, pipe.new(stream, about))
  accepted.waiting:signal()
  if node.allow then node.signal.admission:trust(about.peer, core.clock.monotonic()) end
end

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

-- -- who it is

-- The dialer has connected to us. Returns who takes the stream over.
local function answer_dial(node, stream, hello)
  if #node.accepted >= acceptor.ACCEPTED_MAX then
    handshake.refuse_busy(stream, hello, { to = node.id, context = node.tls })
    return nil, "too many pipes wait to be accepted", "EBUSY"
  end
  local found, reason, code = handshake.answer(stream, hello, {
    to = node.id, context = node.tls, insecure = node.insecure,
    allow = function(from) return node:is_allowed(from, { type = "DIRECT", from = from }) end,
  })
  if not found then return nil, reason, code end
  return function()
    acceptor.offer(node, stream,
      { strategy = "direct", peer = found.from, id = found.pipe, secure = not found.insecure })
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

local function meet(node, stream)
  local hello, reason, code = handshake.receive(stream)
  if not hello then return nil, reason, code end
  return (hello.role == "back" and meet_dial or answer_dial)(node, stream, hello)
end

local function forget(node, stream)
  if not node.strangers[stream] then return end
  node.strangers[stream], node.unverified = nil, node.unverified - 1
end

-- A stream that is among the strangers, until a pipe or a dial has it.
local function receive(node, stream, ip)
  local held <close> = task.hold(stream)
  local _ <close> = setmetatable({}, { __close = function() forget(node, stream) end })
  local take, reason, code = task.timeout(handshake.TIMEOUT, meet, node, stream)
  if take then
    take()
    return held:release()
  end
  if code ~= "ECANCELED" then acceptor.turn_away(node, ip, code, reason) end
end

-- -- who may wait

-- One household, as far as an address tells: an IPv6 network is one.
local function source_of(ip)
  return ip:match "^%x+:%x+:%x+:%x+" or ip:match "^(%x.-)::" or ip
end

-- The source with the most strangers, how many those are, and its oldest one.
local function find_heaviest(node)
  local sources, heaviest = {}, { count = 0 }
  for stream, stranger in pairs(node.strangers) do
    local source = sources[stranger.source] or { count = 0, since = math.huge }
    sources[stranger.source] = source
    source.count = source.count + 1
    if stranger.since < source.since then source.since, source.oldest = stranger.since, stream end
    if source.count > heaviest.count then heaviest = source end
  end
  return heaviest, sources
end

-- Makes room for one more of a source, if another one holds more.
local function make_room(node, source)
  local heaviest, sources = find_heaviest(node)
  local mine = sources[source] and sources[source].count or 0
  if mine + 1 >= heaviest.count then return false end
  local stream = heaviest.oldest
  local stranger = node.strangers[stream]
  acceptor.turn_away(node, stranger.ip, "EBUSY", "others want to come in, too")
  forget(node, stream)
  if stranger.task then stranger.task:cancel() end
  stream:abort()
  return true
end

local function welcome(node, stream)
  local ip = stream:getpeername()
  local source = source_of(ip or "")
  if node.unverified >= acceptor.UNVERIFIED_MAX and not make_room(node, source) then
    acceptor.turn_away(node, ip, "EBUSY", "too many connections have not proved themselves")
    return stream:abort()
  end
  local stranger = { ip = ip, source = source, since = core.clock.monotonic() }
  node.strangers[stream], node.unverified = stranger, node.unverified + 1
  stranger.task = node.tasks:detach(receive, node, stream, ip)
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
      core.log.write("warn", reason)
      task.sleep(0.1)
    end
  end
end

return acceptor
