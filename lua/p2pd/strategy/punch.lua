--- Punch: both sides connect to each other at the same instant, through the mappings that this opens in their
-- NATs. Which ports those are, p2pd.punch.predict says; when, the answerer.
-- @module p2pd.strategy.punch
local field = require "p2pd.signal.field"
local initiator = require "p2pd.punch.initiator"
local nat = require "p2pd.nat"
local pairing = require "p2pd.punch.pairing"
local responder = require "p2pd.punch.responder"

local punch = {
  name = "punch",
  cost = 3,
  budget = 20, -- seconds
  head_start = 0,
  once_per_dial = true, -- pairs are tried in turn, the best one first
}

local ANSWER_S = 15 -- for an answer, several attempts to fire included
local ATTEMPTS_MAX = 100
local SECONDS = field.number(0, 60)

-- -- its messages

local is_offset = field.integer(0, 65535)

-- A family, and the interfaces' offsets in the two addresses.
local function is_pair(value)
  return type(value) == "table" and #value == 3 and (value[1] == "ipv4" or value[1] == "ipv6")
    and is_offset(value[2]) and is_offset(value[3])
end

-- Only the shape: p2pd.punch.rendezvous says what is wrong with the ports.
local function is_mappings(value)
  return type(value) == "table"
end

punch.messages = {
  INITIAL_MAPPINGS = {
    fields = {
      pair = is_pair,
      mappings = is_mappings,
      birthday = field.optional(field.flag),
      try = field.integer(1, ATTEMPTS_MAX),
      delay = field.optional(SECONDS),
      bound = field.optional(SECONDS),
    },
    reply = "UPDATED_MAPPINGS",
    answer = responder.answer,
    timeout = ANSWER_S,
  },
  UPDATED_MAPPINGS = {
    fields = {
      mappings = is_mappings,
      birthday = field.optional(field.flag),
      wait = SECONDS,
      window = SECONDS,
      spent = SECONDS,
      instant = field.number(),
      asked = field.number(),
      bound = field.optional(SECONDS),
    },
  },
}

-- -- what is known beforehand

--- Whether a pair can meet; nothing is sent to find out.
-- @tparam node node
-- @tparam table pair
-- @treturn boolean true; or nil, message, code (EAGAIN: our NAT is still being looked at)
function punch.feasible(node, pair)
  local meeting, reason, code = pairing.check(pair, node.birthday)
  if meeting then return true end
  return nil, reason, code
end

--- Whether punching is what connects the pair: who is open to everybody is reached directly, or reaches us.
-- @tparam node _
-- @tparam table pair a feasible one
-- @treturn boolean
function punch.expected(_, pair)
  return pair.route.nat.type ~= nat.OPEN and pair.remote.nat.type ~= nat.OPEN
end

--- Punches with the peer of a pair.
-- @tparam dial dial
-- @treturn stream a verified stream; or nil, message, code
function punch.dial(dial)
  return initiator.dial(dial)
end

return punch
