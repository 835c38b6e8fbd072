--- Relay: the bytes pass through a TURN server. One side allocates an address there and permits the other
-- one, which needs no credentials. Preferred is a TCP relay (RFC 6062), to which the other side connects, see
-- p2pd.turn.simplex_pair; where the servers have none it is a UDP relay, see p2pd.turn.reliable. The dialer
-- allocates when its settings name a server, else the peer with its own. The allocation lives exactly as long
-- as the stream.
-- @module p2pd.strategy.relay
local endpoint = require "p2pd.endpoint"
local field = require "p2pd.signal.field"
local initiator = require "p2pd.relay.initiator"
local responder = require "p2pd.relay.responder"

local relay = {
  name = "relay",
  cost = 5,
  budget = 20,          -- seconds
  head_start = 1,       -- seconds
  once_per_dial = true, -- one relay serves every pair
  any_family = true,    -- of either family
  prepare = initiator.prepare,
}

local ANSWER_S = 15 -- seconds for an answer

--- Relays cost somebody money: only who has a server of his own dials so unasked.
function relay.enabled(settings)
  return settings.turn ~= nil and settings.turn[1] ~= nil
end

--- The peer's relay lets in what our address tells of us, so that has to be known.
function relay.feasible(node, pair)
  local route = pair.route
  if relay.enabled(node.settings) or route.external_known or route.nat or not node.discovering then
    return true
  end
  return nil, "our external address is not known yet", "EAGAIN"
end

--- Meets the peer at a TURN server.
-- @tparam dial dial
-- @treturn stream a verified stream; or nil, message, code
function relay.dial(dial)
  return initiator.dial(dial, dial.prepared[relay.name])
end

local function is_endpoint(value)
  return field.text(64)(value) and endpoint.parse(value) ~= nil
end

local FIELDS = { relayed = field.optional(is_endpoint), also = field.optional(is_endpoint),
  udp = field.optional(field.flag) }

relay.messages = {
  TURN_REQUEST = { fields = FIELDS, reply = "TURN_RESPONSE", answer = responder.answer, timeout = ANSWER_S },
  TURN_RESPONSE = { fields = FIELDS },
}

return relay
