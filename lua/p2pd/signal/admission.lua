--- Admission control for signalling: rate limits, replay filter, reply tokens.
-- Whoever knows a node's id can send it anything, so the cheap questions come first. Only so many messages of
-- strangers are opened in a second; the rest is dropped unopened. Each message of ours has a reply token
-- inside (p2pd.signal.token): who shows one does not wait among strangers, and of those the peers that are
-- trusted (p2pd.limit.trust) not among the others.
-- No broker and no clock of its own, so that it can be tried with any traffic at any time.
-- @classmod p2pd.signal.admission
local core = require "p2pd.core"
local envelope = require "p2pd.signal.envelope"
local expiring_map = require "p2pd.expiring_map"
local limit = require "p2pd.limit"
local message = require "p2pd.signal.message"
local replay = require "p2pd.signal.replay"
local token = require "p2pd.signal.token"

local admission = {}

local PEERS = 1024 -- strangers, and four times as many trusted peers, whose tokens we keep
local LIFE_S = message.MAX_TTL + message.MAX_AHEAD -- for which a message can come again

local Admission = { __name = "p2pd.signal.admission" }
Admission.__index = Admission

--- Makes an admission.
-- @tparam table options key (ours), limits (@{p2pd.limit}), insecure (messages of foreign nodes, which can't
-- seal, are taken too), is_time_known (function: whether network time has been measured), started (now, on
-- the scale that never jumps, when the node began: what was sent before is not taken)
function admission.new(options)
  local self = setmetatable({
    key = options.key,
    id = options.key:id(),
    insecure = options.insecure,
    limits = options.limits or limit.new(),
    is_time_known = options.is_time_known or function() return true end,
    started = options.started,
    tokens = token.new(),
    trusted = expiring_map.new(4 * PEERS), -- numbers of peers
    held = { trusted = expiring_map.new(4 * PEERS), stranger = expiring_map.new(PEERS) }, -- by node id
    replay = replay.new(LIFE_S),
  }, Admission)
  for id in pairs(self.limits.trust.named) do self:trust(id, 0) end
  return self
end

--- Trusts a node from now on.
function Admission:trust(peer_id, now)
  self.limits.trust:add(peer_id)
  self.trusted:set(self.tokens:number_of(peer_id), true, now)
  self.foreign = self.foreign or not core.keys.is_id(peer_id)
end

--- Whether a node is trusted.
function Admission:is_trusted(peer_id)
  return self.limits.trust:step(peer_id) == "trusted"
end

-- -- out

--- The payload of a message to a node: sealed, or plain for a foreign node, which has no key.
-- @tparam table m as for message.encode
-- @tparam ?string given the token in the message that this one answers
-- @tparam number now seconds on a scale that never jumps
-- @treturn string; or nil, message, code
function Admission:pack(m, given, now)
  if not core.keys.is_id(m.to) then return message.encode(m) end
  given = given and message.from_hex(given) or self.held[self.limits.trust:step(m.to)]:get(m.to)
  m.token = message.to_hex(self.tokens:give(m.to, now))
  return envelope.seal(self.key, m, given)
end

-- -- in

local function is_within(self, asked, who, now, reason)
  if self.limits:take(asked, who, 1, now) then return true end
  return nil, reason
end

-- Whether there is room for a message, before it is opened.
local function may_open(self, number, now)
  local step = number and (self.trusted:get(number) and "trusted" or "known") or "stranger"
  if number then
    local ok, reason = is_within(self, "messages_of_peer", { peer = number }, now, "too many of a sender")
    if not ok then return nil, reason end
  end
  return is_within(self, "messages", { step = step }, now,
    "too many of " .. (step == "stranger" and "strangers" or step))
end

local function open_sealed(self, payload, number, now)
  local ok, reason = may_open(self, number, now)
  if not ok then return nil, reason end
  local text, from = envelope.open(self.key, payload)
  if not text then return nil, "forged" end
  local real = self.tokens:number_of(from)
  if number and number ~= real then return nil, "another's token", from end
  if not number then
    ok, reason = is_within(self, "messages_of_peer", { peer = real }, now, "too many of a sender")
    if not ok then return nil, reason, from end
  end
  return text, from
end

-- Without a seal only a node without a key may speak, and one that we asked, or any when the node is
-- insecure: whoever has a key is not to be counterfeited.
local function may_speak_plainly(self, peer_id)
  return not core.keys.is_id(peer_id) and (self.insecure or self:is_trusted(peer_id))
end

local function keep_token(self, from, given, now)
  self.held[self.limits.trust:step(from)]:set(from, message.from_hex(given), now)
end

-- A token of this run can't be in a message from before it.
local function is_before_start(self, m, now, time)
  return m.time < time - (now - self.started)
end

local function take_sealed(self, payload, now, time)
  local tag, sealed, key = envelope.split(payload)
  if not tag then return nil, "garbage" end
  if self.replay:has(key) then return nil, "duplicate" end
  local number = self.tokens:find(tag, sealed, now)
  local text, from, sender = open_sealed(self, payload, number, now)
  if not text then return nil, from, sender end
  local m, reason, untimely = message.decode(text, self.id, time)
  if not m then return nil, reason, from, untimely and untimely.from == from and untimely or nil end
  if m.from ~= from then return nil, "sender", from end
  if self.replay:is_old(m.time) or not number and is_before_start(self, m, now, time) then
    return nil, "sent too early", from
  end
  self.replay:add(key, m.time, now, m.re ~= nil)
  if m.token then keep_token(self, from, m.token, now) end
  return m
end

-- Eight bytes of what tells a message without a seal from others.
local function plain_key(self, m)
  return (("<i8"):unpack(core.keys.mac(self.tokens.salt, m.from .. " " .. m.id)))
end

local function take_plain(self, payload, now, time)
  if not (self.insecure or self.foreign) then return nil, "not sealed" end
  local ok, reason = may_open(self, nil, now)
  if not ok then return nil, reason end
  local m
  m, reason = message.decode(payload, self.id, time)
  if not m then return nil, reason end
  if not may_speak_plainly(self, m.from) then return nil, "not sealed" end
  local key = plain_key(self, m)
  if self.replay:has(key) then return nil, "duplicate" end
  self.replay:add(key, m.time, now, m.re ~= nil)
  return m
end

--- Takes a payload.
-- @tparam string payload
-- @tparam number now seconds on a scale that never jumps
-- @tparam number time network time
-- @treturn table the message (see message.decode); or nil and the reason, the sender when that is known, and
-- the message itself when it is sealed and nothing but its time is wrong:
-- those of message.decode, "not sealed", "forged", "duplicate", "sent too early", "another's token",
-- "too many of strangers", "too many of known", "too many of trusted", "too many of a sender"
function Admission:take(payload, now, time)
  if #payload > message.MAX_BYTES then return nil, "too long" end
  self.started = self.started or now
  time = self.replay:steady(now, time, self.is_time_known())
  if payload:sub(1, 1) == "{" then return take_plain(self, payload, now, time) end
  return take_sealed(self, payload, now, time)
end

return admission
