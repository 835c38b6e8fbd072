--- What of signalling may come in, and what goes out so that it may come in at the other end.
-- Whoever knows a node's id can send it anything, so the cheap questions come first. Only so many messages of
-- strangers are opened in a second; the rest is dropped unopened. Friends do not wait among strangers: each
-- message of ours has a ticket inside, a tag that its receiver may put on messages to us. Who was asked by
-- us is a friend; friends and other holders of tickets have limits of their own.
-- No broker and no clock of its own, so that it can be tried with any traffic at any time.
-- @classmod p2pd.signal.admission
local bucket = require "p2pd.limit.bucket"
local core = require "p2pd.core"
local envelope = require "p2pd.signal.envelope"
local expiring_map = require "p2pd.expiring_map"
local message = require "p2pd.signal.message"

local admission = {}

-- Messages: a second, and at once.
admission.LIMITS = {
  stranger = { 100, 200 },  -- of all without a ticket
  guest = { 100, 200 },     -- of all strangers who have got one
  friend = { 500, 1000 },   -- of all friends
  sender = { 200, 400 },    -- of each node
}

local TICKET_USES = 8      -- several requests, and copies of them, may carry it
local TICKETS = 4096       -- remembered of friends, and of the others
local PEERS = 1024         -- whose limits, tickets and friendship are remembered
local IDS = 1024 * 1024    -- remembered for certain; the limits let less in
local LIFE_S = message.MAX_TTL + message.MAX_AHEAD -- for which a message can come again

local Admission = { __name = "p2pd.signal.admission" }
Admission.__index = Admission

--- Makes a admission.
-- @tparam table options key (ours), insecure (messages of foreign nodes, which can't seal, are taken too)
function admission.new(options)
  local self = setmetatable({
    key = options.key,
    id = options.key:id(),
    insecure = options.insecure,
    limits = {},
    senders = expiring_map.new(PEERS),                 -- node id -> its bucket
    friends = expiring_map.new(PEERS),                 -- node id -> true
    -- tag -> { peer, uses }
    issued = { friend = expiring_map.new(TICKETS), guest = expiring_map.new(TICKETS) },
    held = expiring_map.new(PEERS),                    -- node id -> the tag for our next message to it
    seen = expiring_map.new(IDS, LIFE_S),              -- message id -> true
  }, Admission)
  for class, limit in pairs(admission.LIMITS) do self.limits[class] = bucket.new(limit[1], limit[2]) end
  return self
end

--- Counts a node among the friends.
function Admission:trust(peer_id, now)
  self.friends:set(peer_id, true, now)
  self.foreign = self.foreign or not core.keys.is_id(peer_id)
end

--- Whether a node is a friend.
function Admission:is_trusted(peer_id)
  return self.friends:get(peer_id) ~= nil
end

-- -- out

local function issue(self, peer_id, now)
  local tag = envelope.new_tag()
  local class = self:is_trusted(peer_id) and "friend" or "guest"
  self.issued[class]:set(tag, { peer = peer_id, uses = TICKET_USES }, now)
  return message.to_hex(tag)
end

--- The payload of a message to a node: sealed, or plain for a foreign node, which has no key.
-- @tparam table m as for message.encode
-- @tparam ?string ticket the one in the message that this one answers
-- @tparam number now seconds on a scale that never jumps
-- @treturn string; or nil, message, code
function Admission:pack(m, ticket, now)
  if not core.keys.is_id(m.to) then return message.encode(m) end
  ticket = ticket or self.held:get(m.to)
  m.ticket = issue(self, m.to, now)
  return envelope.seal(self.key, m, ticket and message.from_hex(ticket) or envelope.new_tag())
end

-- -- in

-- The ticket that a tag is, and whose limit the message counts against.
local function find_ticket(self, tag)
  for class, tickets in pairs(self.issued) do
    local ticket = tickets:get(tag)
    if ticket then return ticket, class, tickets end
  end
  return nil, "stranger"
end

local function sender_bucket(self, peer_id, now)
  local found = self.senders:get(peer_id)
  if not found then
    found = bucket.new(admission.LIMITS.sender[1], admission.LIMITS.sender[2])
  end
  self.senders:set(peer_id, found, now)
  return found
end

-- A ticket is used up by what is opened, or not, with it: who has only seen it can do little with it.
local function use(self, tag, now)
  local ticket, class, tickets = find_ticket(self, tag)
  if ticket then
    if not sender_bucket(self, ticket.peer, now):take(now) then return nil, "too many of a sender" end
    ticket.uses = ticket.uses - 1
    if ticket.uses == 0 then tickets:remove(tag) end
  end
  if not self.limits[class]:take(now) then return nil, "too many of " .. class .. "s" end
  return ticket or {}
end

local function open_sealed(self, payload, tag, now)
  local ticket, reason = use(self, tag, now)
  if not ticket then return nil, reason end
  local text, from = envelope.open(self.key, payload)
  if not text then return nil, "forged" end
  if not ticket.peer and not sender_bucket(self, from, now):take(now) then
    return nil, "too many of a sender"
  end
  return text, from
end

-- Without a seal only a node without a key may speak, and one that we asked, or any when the node is
-- insecure: whoever has a key is not to be counterfeited.
local function may_speak_plainly(self, peer_id)
  return not core.keys.is_id(peer_id) and (self.insecure or self:is_trusted(peer_id))
end

local function open_plain(self, payload, now)
  if not (self.insecure or self.foreign) then return nil, "not sealed" end
  if not self.limits.stranger:take(now) then return nil, "too many of strangers" end
  return payload
end

--- Takes a payload.
-- @tparam string payload
-- @tparam number now seconds on a scale that never jumps
-- @tparam number time network time
-- @treturn table the message (see message.decode); or nil and the reason, and the sender when that is known:
-- those of message.decode, "not sealed", "forged", "duplicate", "too many of strangers",
-- "too many of guests", "too many of friends", "too many of a sender"
function Admission:take(payload, now, time)
  if #payload > message.MAX_BYTES then return nil, "too long" end
  local tag = envelope.tag_of(payload)
  local text, from
  if tag then
    text, from = open_sealed(self, payload, tag, now)
  elseif payload:sub(1, 1) == "{" then
    text, from = open_plain(self, payload, now)
  else
    return nil, "garbage"
  end
  if not text then return nil, from end
  local m, reason = message.decode(text, self.id, time)
  if not m then return nil, reason, from end
  if from and m.from ~= from then return nil, "sender", from end
  if not from and not may_speak_plainly(self, m.from) then return nil, "not sealed" end
  if self.seen:get(m.id) then return nil, "duplicate", from end
  self.seen:set(m.id, true, now)
  if from and m.ticket then self.held:set(from, m.ticket, now) end
  return m
end

return admission
