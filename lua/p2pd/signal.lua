--- Signalling: messages between nodes over the MQTT brokers of their addresses, sealed by
-- p2pd.signal.envelope and let in by p2pd.signal.admission.
-- A node subscribes to its id on each of its brokers. A request goes out on a broker that both share and,
-- unanswered after a retransmit time, on the next; each copy is a message of its own with its own id, so
-- a receiver can drop every id it has seen. A broker that both do not share is joined for the request.
-- @module p2pd.signal
local core = require "p2pd.core"
local clock = require "p2pd.clock"
local admission = require "p2pd.signal.admission"
local id = require "p2pd.id"
local message = require "p2pd.signal.message"
local refusals = require "p2pd.limit.refusals"
local task = require "p2pd.task"

local signal = {}

local WANTED_BROKERS = 3
signal.START_WAIT = 1.0   -- seconds for which a node's start waits for a first broker
local RETRANSMIT = 1.0    -- seconds until a request is repeated, on the next broker
local RETRANSMIT_MAX = 8.0
local JOIN_WAIT = 5.0     -- seconds for which a request waits for a broker that we have to join

local ANSWERS = { ECHO = "ECHO_REPLY", GET_ADDR = "RETURN_ADDR", INITIAL_MAPPINGS = "UPDATED_MAPPINGS",
  TURN_REQUEST = "TURN_RESPONSE" }

local Signal = { __name = "p2pd.signal" }
Signal.__index = Signal

--- Makes the signalling of a node; @{start} connects it.
-- @tparam table options key (the node's), mqtt (the settings' list), address (function: our address as text),
-- handlers (type -> function(message)), insecure (see p2pd.signal.admission), allow (function of the sender's
-- id and the message: whether a request is wanted), refusals (where they are noted)
function signal.new(options)
  return setmetatable({
    node_id = options.key:id(),
    admission = admission.new { key = options.key, insecure = options.insecure },
    allow = options.allow or function() return true end,
    refusals = options.refusals or refusals.new(),
    servers = options.mqtt,
    address = options.address,
    handlers = options.handlers,
    brokers = {},   -- by offset: { offset, client, reader }
    chosen = {},    -- offsets of our address, best first
    exchanges = {}, -- by the id of a request under way
    counts = { received = 0, sent = 0 },
    tasks = task.group(),
    changed = task.condition(),
  }, Signal)
end

local function broker_name(server)
  return ("%s:%d"):format(server.host, server.port)
end

function Signal:count(what)
  self.counts[what] = (self.counts[what] or 0) + 1
end

-- -- receiving

-- An answer to a request of ours.
local function take_answer(self, m)
  local exchange = self.exchanges[m.re]
  if not exchange then return self:count "late" end
  local fits = m.type == exchange.answer_type or m.type == "REFUSED"
  if not fits or m.from ~= exchange.peer_id then return self:count "wrong answer" end
  exchange.answer = exchange.answer or m
  exchange.condition:broadcast()
end

-- A request of somebody's.
local function take_request(self, m)
  if self.allow(m.from, m) then return self.handlers[m.type](m) end
  self:drop("not allowed", m.from)
  if m.pipe then self:reply(m, "REFUSED", { pipe = m.pipe, reason = "not allowed" }) end
end

--- Counts a message that is not taken.
function Signal:drop(reason, from)
  self:count(reason)
  from = from or "somebody"
  self.refusals:note(reason, from, "a message of %s was dropped: %s", from, reason)
end

--- Takes one payload that came over a broker: dispatches it, or drops and counts it.
function Signal:deliver(payload, broker)
  self:count "received"
  local m, reason, from = self.admission:take(payload, clock.monotonic(), clock.now())
  if not m then return self:drop(reason, from) end
  m.broker = broker
  return (self.handlers[m.type] and take_request or take_answer)(self, m)
end

local function read_broker(self, broker)
  while true do
    local topic, payload = broker.client:receive()
    if not topic then return end
    self:deliver(payload, broker)
  end
end

local function watch_broker(self, broker)
  local state = broker.client:state()
  while state and state ~= "closed" do
    state = broker.client:wait_change(state)
    self.changed:broadcast()
  end
end

-- -- brokers

-- The client of a broker, opened when it is first asked for; nil and why there is none.
function Signal:broker(offset)
  local broker = self.brokers[offset]
  if broker then return broker end
  local server = self.servers[offset + 1]
  if not server then return nil, "not in the settings" end
  local client, reason = core.mqtt.open {
    host = server.host, port = server.port, tls = server.tls, ca = server.ca,
    user = server.user, pass = server.pass,
  }
  if not client then return nil, reason end
  broker = { offset = offset, client = client, name = broker_name(server) }
  self.brokers[offset] = broker
  client:subscribe(self.node_id)
  self.tasks:spawn(read_broker, self, broker)
  self.tasks:spawn(watch_broker, self, broker)
  return broker
end

local function is_online(broker)
  return broker ~= nil and broker.client:state() == "online"
end

--- The offsets of our address: brokers that answer first, then those we wait for.
-- @treturn {integer,...} 1 to 3 of them
function Signal:offsets()
  local list = {}
  for _, want in ipairs { true, false } do
    for _, offset in ipairs(self.chosen) do
      if is_online(self.brokers[offset]) == want and #list < WANTED_BROKERS then
        list[#list + 1] = offset
      end
    end
  end
  return list
end

-- Stands for one of our brokers: tries servers from the list until one answers. The last one tried is kept
-- even if it is down: it is asked for ever, and may come back.
local function find_broker(self, next_offset, progress)
  while true do
    local offset = next_offset()
    if not offset then break end
    self.chosen[#self.chosen + 1] = offset
    local broker, reason = self:broker(offset)
    local ok
    if broker then ok, reason = broker.client:wait_online(signal.START_WAIT) end
    if ok then
      progress.online = progress.online + 1
      break
    end
    table.insert(progress.reasons, ("%s: %s"):format(broker_name(self.servers[offset + 1]), reason))
  end
  progress.pending = progress.pending - 1
  self.changed:broadcast()
end

--- Connects. Returns when the first broker answers, or when none does (the node runs all the same and keeps
-- trying).
-- @treturn boolean whether a broker answers; else false and the reasons
function Signal:start()
  local progress = { pending = 0, online = 0, reasons = {} }
  local offset = -1
  local function next_offset()
    offset = offset + 1
    return self.servers[offset + 1] and offset
  end
  for _ = 1, math.min(WANTED_BROKERS, #self.servers) do
    progress.pending = progress.pending + 1
    self.tasks:spawn(find_broker, self, next_offset, progress)
  end
  local deadline = core.clock.monotonic() + signal.START_WAIT
  while progress.online == 0 and progress.pending > 0 do
    local left = deadline - core.clock.monotonic()
    if left <= 0 then break end
    self.changed:wait(left)
  end
  if progress.online > 0 then return true end
  if progress.pending > 0 then table.insert(progress.reasons, "no answer yet from the rest") end
  return false, table.concat(progress.reasons, "; ")
end

-- -- sending

local function compose(self, to, kind, fields)
  local m = {}
  for k, v in pairs(fields or {}) do m[k] = v end
  m.type, m.id, m.from, m.to = kind, id.new(), self.node_id, to
  m.address, m.time, m.ttl = self.address(), clock.now(), message.TTL
  return m
end

function Signal:publish(broker, m, payload)
  local ok, reason, code = broker.client:publish(m.to, payload, m.ttl)
  if ok then self:count "sent" end
  return ok, reason, code
end

--- Answers a message, on the broker it came by or, when that has gone, on another of the sender's.
-- @tparam table m the message
-- @tparam string kind the answer's type
-- @tparam ?table fields what it carries
function Signal:reply(m, kind, fields)
  local answer = compose(self, m.from, kind, fields)
  answer.re = m.id
  local payload, reason, code = self.admission:pack(answer, m.ticket, clock.monotonic())
  if not payload then return nil, reason, code end
  if self:publish(m.broker, answer, payload) then return true end
  for _, offset in ipairs(m.sender.mqtt) do
    local broker = self.brokers[offset]
    if broker and self:publish(broker, answer, payload) then return true end
  end
  return nil, "no broker takes the answer", "ENOTCONN"
end

-- The peer's brokers, those that we are connected to first.
local function route(self, peer)
  local online, others = {}, {}
  for _, offset in ipairs(peer.mqtt) do
    local broker = self:broker(offset)
    if broker then table.insert(is_online(broker) and online or others, broker) end
  end
  return table.move(others, 1, #others, #online + 1, online)
end

-- Publishes one copy on the first of the brokers, from the `turn`-th on, that takes it.
local function publish_next(self, brokers, turn, m, payload)
  for i = 0, #brokers - 1 do
    local at = (turn + i) % #brokers
    if self:publish(brokers[at + 1], m, payload) then return at + 1 end
  end
  return nil
end

--- Sends copies until the caller's deadline, or until it is cancelled: first at once, then after growing
-- times, each on the next broker.
-- @tparam table peer a parsed address
-- @tparam string kind the message's type
-- @tparam ?table fields
-- @tparam number deadline on the monotonic clock
-- @tparam function sent called with each copy; true ends it
-- @treturn boolean true when `sent` ended it; else nil, message, code
function Signal:send_until(peer, kind, fields, deadline, sent)
  local brokers = route(self, peer)
  self.admission:trust(peer.node_id, clock.monotonic())
  if #brokers == 0 then return nil, "the address names no broker of our settings", "EINVAL" end
  local turn, interval, published = 0, RETRANSMIT, false
  while not self.closed and core.clock.monotonic() < deadline do
    local m = compose(self, peer.node_id, kind, fields)
    m.insecure = peer.insecure or nil
    local payload, reason, code = self.admission:pack(m, nil, clock.monotonic())
    if not payload then return nil, reason, code end
    local at = publish_next(self, brokers, turn, m, payload)
    local left = math.max(0, deadline - core.clock.monotonic())
    local wait = math.min(at and interval or JOIN_WAIT, left)
    if at then
      published = true
      turn, interval = at, math.min(interval * 2, RETRANSMIT_MAX)
      if sent(m, wait) then return true end
    else
      self.changed:wait(wait)
      brokers = route(self, peer)
    end
  end
  if self.closed then return nil, "the node is closed", "EBADF" end
  if published then return nil, "the peer does not answer", "ETIMEDOUT" end
  return nil, "no broker of the peer's answers", "ENOTCONN"
end

--- Sends a request and waits for its answer; a request without an answer of its own (P2P_DIRECT) waits for a
-- refusal.
-- @tparam table peer a parsed address
-- @tparam string kind ECHO, GET_ADDR, ...
-- @tparam ?table fields what it carries
-- @tparam[opt=10] number timeout seconds
-- @treturn table the answer's message; or nil, message, code (EACCES when the peer refuses)
function Signal:request(peer, kind, fields, timeout)
  local exchange = { condition = task.condition(), ids = {}, answer_type = ANSWERS[kind],
    peer_id = peer.node_id }
  local _ <close> = setmetatable({}, { __close = function()
    for _, sent_id in ipairs(exchange.ids) do self.exchanges[sent_id] = nil end
  end })
  local deadline = core.clock.monotonic() + (timeout or 10)
  local ok, reason, code = self:send_until(peer, kind, fields, deadline, function(m, wait)
    exchange.ids[#exchange.ids + 1] = m.id
    self.exchanges[m.id] = exchange
    exchange.condition:wait(wait)
    return exchange.answer
  end)
  if not ok then return nil, reason, code end
  local answer = exchange.answer
  if answer.type == "REFUSED" then return nil, "refused by the peer: " .. answer.reason, "EACCES" end
  return answer
end

--- Says how signalling stands, for people and for tests.
-- @treturn table counts of messages received, sent and dropped by reason, and `brokers`: a list of name,
-- offset, state, reason
function Signal:stats()
  local stats = { brokers = {} }
  for name, n in pairs(self.counts) do stats[name] = n end
  for _, broker in pairs(self.brokers) do
    local state, reason = broker.client:state()
    table.insert(stats.brokers,
      { name = broker.name, offset = broker.offset, state = state, reason = reason })
  end
  table.sort(stats.brokers, function(a, b) return a.offset < b.offset end)
  return stats
end

--- Leaves every broker; requests under way end.
function Signal:close()
  self.closed = true
  self.tasks:cancel()
  for _, broker in pairs(self.brokers) do broker.client:close() end
  self.changed:broadcast()
  for _, exchange in pairs(self.exchanges) do exchange.condition:broadcast() end
end

Signal.__close = Signal.close

return signal
