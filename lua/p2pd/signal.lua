--- Signalling: messages between nodes over the MQTT brokers of their addresses, sealed by
-- p2pd.signal.envelope and let in by p2pd.signal.admission.
-- A node subscribes to its id on each of its brokers. A request goes out on a broker that both share and,
-- unanswered after a retransmit time, on the next; each copy is a message of its own with its own id, so
-- a receiver can drop every id it has seen. A broker that both do not share is joined for the request.
-- @module p2pd.signal
local core = require "p2pd.core"
local clock = require "p2pd.clock"
local admission = require "p2pd.signal.admission"
local brokers = require "p2pd.signal.brokers"
local deadline = require "p2pd.deadline"
local id = require "p2pd.id"
local message = require "p2pd.signal.message"
local limit = require "p2pd.limit"
local task = require "p2pd.task"
local text = require "p2pd.text"

local signal = {}

local REQUEST_S = 10.0       -- that a request takes at most, unless it is told otherwise
local RETRANSMIT_S = 0.5     -- until a request is repeated, on the next broker
local RETRANSMIT_MAX_S = 8.0 -- that becomes, doubling
local JOIN_WAIT_S = 5.0      -- for which a request waits for a broker that we have to join
local SKEW_MAX_S = 1e9       -- of a clock, that is told

local Signal = { __name = "p2pd.signal" }
Signal.__index = Signal

--- Makes the signalling of a node; @{Signal:start} connects it.
-- @tparam table options key (the node's), mqtt (the settings' list), address (function: our address as text),
-- messages (by type: `fields`, a check for each; `handler`, function(message), of a request; `reply`, the
-- type of its answer), insecure (see p2pd.signal.admission), allow (function of the sender's id and the
-- message: whether a request is wanted), limits (@{p2pd.limit}), on_broker (see
-- `brokers.new`)
function signal.new(options)
  local limits = options.limits or limit.new()
  local self = setmetatable({
    node_id = options.key:id(),
    admission = admission.new { key = options.key, insecure = options.insecure, limits = limits,
      started = clock.monotonic(), is_time_known = function() return clock.offset().source ~= "system" end },
    allow = options.allow or function() return true end,
    refusals = limits.refusals,
    address = options.address,
    messages = options.messages,
    limits = limits,
    exchanges = {}, -- by the id of a request under way
    counts = { received = 0, sent = 0 },
  }, Signal)
  self.brokers = brokers.new(options.mqtt, self.node_id,
    function(payload, broker) return self:deliver(payload, broker) end, options.on_broker)
  return self
end

--- Counts an event for @{Signal:stats}.
-- @tparam string what
function Signal:count(what)
  self.counts[what] = (self.counts[what] or 0) + 1
end

-- -- receiving

local REFUSED = message.TYPES.REFUSED

-- An answer to a request of ours.
local function take_answer(self, m)
  local exchange = self.exchanges[m.re]
  if not exchange then return self:count "late" end
  local fields = m.type == "REFUSED" and REFUSED.fields or m.type == exchange.reply and exchange.fields
  if not fields or m.from ~= exchange.peer_id then return self:count "wrong answer" end
  if not message.check(m, fields) then return self:drop("fields", m.from) end
  exchange.answer = exchange.answer or m
  exchange.condition:broadcast()
end

-- A request of somebody's, or what needs no answer.
local function take_request(self, m)
  local entry = self.messages[m.type]
  if not entry then return self:refuse(m, "this node knows no message " .. m.type, "type") end
  if not entry.handler or not message.check(m, entry.fields) then return self:drop("fields", m.from) end
  if self.allow(m.from, m) then return entry.handler(m) end
  self:refuse(m, "not allowed")
end

--- Refuses a request: counts it, and tells its sender, when it was to make a pipe.
-- @tparam table m the request
-- @tparam string reason for the sender
-- @tparam[opt=reason] string counted what it is counted as
function Signal:refuse(m, reason, counted)
  self:drop(counted or reason, m.from)
  if m.pipe then self:reply(m, "REFUSED", { pipe = m.pipe, reason = text.printable(reason, 200) }) end
end

--- Counts a message that is not taken.
function Signal:drop(reason, from)
  self:count(reason)
  from = from or "somebody"
  self.refusals:note(reason, from, "a message of %s was dropped: %s", from, reason)
end

-- What the peer is told, and our log: by how much the clocks differ, and how sure we are of ours.
local function describe_skew(m)
  local ahead = m.time - clock.now()
  local unsure = clock.offset().source == "system" and ", and no NTP server has told this one the time" or ""
  return ("one of the two clocks is wrong: by the clock here the message is from %.0f s %s%s"):format(
    math.min(math.abs(ahead), SKEW_MAX_S), ahead > 0 and "ahead" or "ago", unsure)
end

-- A peer of which nothing but the clock is wrong, or ours is. It is told, but not so often that replayed
-- messages would make us send much; our user is told once, when the fault may be ours.
local function take_untimely(self, m, reason)
  if m.re and self.exchanges[m.re] then return take_answer(self, m) end -- fresh, whatever it says
  self:drop(reason, m.from)
  local words = describe_skew(m)
  if clock.offset().source == "system" and not self.warned_of_clock then
    self.warned_of_clock = true
    core.log.write("warn", ("a message of %s was dropped: %s"):format(m.from, words))
  end
  if m.re or not self.limits:take("clock_answers", {}) then return end
  self:reply(m, "REFUSED", { pipe = m.pipe, reason = words })
end

--- Takes one payload that came over a broker: dispatches it, or drops and counts it.
function Signal:deliver(payload, broker)
  self:count "received"
  local m, reason, from, untimely = self.admission:take(payload, clock.monotonic(), clock.now())
  if untimely then
    untimely.broker = broker
    return take_untimely(self, untimely, reason)
  end
  if not m then return self:drop(reason, from) end
  m.broker = broker
  return (m.re and take_answer or take_request)(self, m)
end

--- Begins to connect to our brokers.
function Signal:start()
  self.brokers:start()
end

--- Waits until one answers, or none does; see `brokers:wait`.
function Signal:wait()
  return self.brokers:wait()
end

--- Connects to brokers anew; see `brokers:reconnect`.
function Signal:reconnect(find_fault)
  self.brokers:reconnect(find_fault)
end

--- Connections to brokers may be dead, as something else is; see `brokers:doubt`.
function Signal:doubt()
  self.brokers:doubt()
end

--- Whether a broker of our address answers.
function Signal:is_online()
  return self.brokers:is_online()
end

--- The offsets of our address; see `brokers:offsets`.
function Signal:offsets()
  return self.brokers:offsets()
end

-- -- sending

local function compose(self, to, kind, fields)
  local m = {}
  for k, v in pairs(fields or {}) do m[k] = v end
  m.type, m.id, m.from, m.to = kind, id.new(), self.node_id, to
  m.address, m.time, m.ttl = self.address(), clock.now(), message.TTL
  return m
end

--- Publishes a message that is sealed.
-- @tparam table broker
-- @tparam table m
-- @tparam string payload
-- @treturn boolean true; or nil, message, code
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
  local payload, reason, code = self.admission:pack(answer, m.token, clock.monotonic())
  if not payload then return nil, reason, code end
  if self:publish(m.broker, answer, payload) then return true end
  for _, offset in ipairs(m.sender.mqtt) do
    local broker = self.brokers:known(offset)
    if broker and self:publish(broker, answer, payload) then return true end
  end
  return nil, "no broker takes the answer", "ENOTCONN"
end

-- Publishes one copy on the first of the brokers, from the `turn`-th on, that takes it. One for which it is
-- too large says so; it never goes by that one.
local function publish_next(self, list, turn, m, payload)
  local too_large
  for i = 0, #list - 1 do
    local at = (turn + i) % #list
    local ok, reason, code = self:publish(list[at + 1], m, payload)
    if ok then return at + 1 end
    if code == "EMSGSIZE" then too_large = reason end
  end
  return nil, too_large, too_large and "EMSGSIZE"
end

-- Publishes a copy, or waits until a broker can take one. `at` is the broker that took it; an outage ends it.
local function send_copy(self, list, turn, m)
  local payload, reason, code = self.admission:pack(m, nil, clock.monotonic())
  if not payload then return nil, reason, code end
  local at
  at, reason, code = publish_next(self, list, turn, m, payload)
  if at then return at end
  if reason and not brokers.has_hope(list) then return nil, reason, code end
  local outage = not reason and brokers.find_outage(list)
  if outage then return nil, outage, "ENOTCONN" end
  return false
end

--- Sends copies until a deadline, or until it is cancelled: first at once, then after growing
-- times, each on the next broker.
-- @tparam table peer a parsed address
-- @tparam string kind the message's type
-- @tparam ?table fields
-- @tparam deadline expiry see @{p2pd.deadline}
-- @tparam function sent called with each copy; true ends it
-- @treturn boolean true when `sent` ended it; else nil, message, code (ETIMEDOUT: no answer; ENOTCONN: no
-- broker of the peer's can be used, said as soon as that is known)
function Signal:send_until(peer, kind, fields, expiry, sent)
  local list = self.brokers:route(peer)
  self.admission:trust(peer.node_id, clock.monotonic())
  if #list == 0 then return nil, "the address names no broker of our settings", "EINVAL" end
  local _ <close> = self.brokers:urge(list)
  local turn, interval, published = 0, RETRANSMIT_S, false
  while not self.closed and not expiry:has_passed() do
    local m = compose(self, peer.node_id, kind, fields)
    m.insecure = peer.insecure or nil
    local at, reason, code = send_copy(self, list, turn, m)
    if at == nil then return nil, reason, code end
    local wait = expiry:left(at and interval or JOIN_WAIT_S)
    if at then
      published = true
      turn, interval = at, math.min(interval * 2, RETRANSMIT_MAX_S)
      if sent(m, wait) then return true end
    else
      self.brokers.changed:wait(wait)
      list = self.brokers:route(peer)
    end
  end
  if self.closed then return nil, "the node is closed", "EBADF" end
  if published then return nil, "the peer does not answer", "ETIMEDOUT" end
  return nil, "no broker of the peer's answers", "ENOTCONN"
end

--- Sends a message that nobody answers, once.
-- @tparam table peer a parsed address
-- @tparam string kind
-- @tparam ?table fields
-- @treturn boolean true; or nil, message, code
function Signal:send(peer, kind, fields)
  if self.closed then return nil, "the node is closed", "EBADF" end
  local list = self.brokers:route(peer)
  local m = compose(self, peer.node_id, kind, fields)
  local payload, reason, code = self.admission:pack(m, nil, clock.monotonic())
  if not payload then return nil, reason, code end
  local at
  at, reason, code = publish_next(self, list, 0, m, payload)
  if at then return true end
  return nil, reason or "no broker takes the message", code or "ENOTCONN"
end

--- Sends a request and waits for its answer; one that has none of its own waits for a refusal.
-- @tparam table peer a parsed address
-- @tparam string kind the request's type
-- @tparam ?table fields what it carries
-- @tparam[opt=10] number timeout seconds
-- @tparam[opt] table messages by type, where the answer's fields are found (the node's)
-- @treturn table the answer's message; or nil, message, code (EACCES when the peer refuses, EBUSY when it may
-- not do so a little later)
function Signal:request(peer, kind, fields, timeout, messages)
  messages = messages or self.messages
  local reply = messages[kind] and messages[kind].reply
  local exchange = { condition = task.condition(), ids = {}, peer_id = peer.node_id, reply = reply,
    fields = messages[reply] and messages[reply].fields or {} }
  local _ <close> = setmetatable({}, { __close = function()
    for _, sent_id in ipairs(exchange.ids) do self.exchanges[sent_id] = nil end
  end })
  local expiry = deadline.after(timeout or REQUEST_S)
  local ok, reason, code = self:send_until(peer, kind, fields, expiry, function(m, wait)
    exchange.ids[#exchange.ids + 1] = m.id
    self.exchanges[m.id] = exchange
    exchange.condition:wait(wait)
    return exchange.answer
  end)
  if not ok then return nil, reason, code end
  local answer = exchange.answer
  if answer.type == "REFUSED" then
    return nil, "refused by the peer: " .. text.printable(answer.reason, 200),
      answer.reason == message.TOO_BUSY and "EBUSY" or "EACCES"
  end
  return answer
end

--- Says how signalling stands, for people and for tests.
-- @treturn table counts of messages received, sent and dropped by reason, and `brokers`: see `brokers:stats`
function Signal:stats()
  local stats = { brokers = self.brokers:stats() }
  for name, n in pairs(self.counts) do stats[name] = n end
  return stats
end

--- Leaves every broker; requests under way end.
function Signal:close()
  self.closed = true
  self.brokers:close()
  for _, exchange in pairs(self.exchanges) do exchange.condition:broadcast() end
end

Signal.__close = Signal.close

return signal
