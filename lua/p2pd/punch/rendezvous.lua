--- What the two sides of a punch agree on: the instant at which both fire, and the mappings as messages carry
-- them. Pure: times come in as numbers, and nothing that a peer says is taken unseen.
-- @module p2pd.punch.rendezvous
local rendezvous = {}

rendezvous.MAX_MAPPINGS = 256
rendezvous.MAX_WAIT = 5     -- seconds from an answer to the instant
rendezvous.MAX_WINDOW = 10  -- seconds for which a side goes on firing

local DELAY_UNKNOWN = 0.15     -- seconds, one way over signalling, where the clocks don't tell
local DELAY_MAX = 2            -- a longer one is a wrong clock's
local BOUND_MAX = 0.1          -- clocks that may be wrong by more say nothing about delays
local UNKNOWN_BOUND = 60       -- a clock that may be wrong by more is unknown
local MARGIN, SLACK = 0.02, 1.25 -- the answer may take longer than the question did
local RETRANSMIT_S = 1         -- of a SYN that was lost (RFC 6298 section 2.1)
local DELAYS = 4               -- for the connection after that: a round trip is two, signalling's are longer

local PORT_MAX = 65535
local FIELDS = { "local port", "reply port", "external port" }

-- -- mappings

--- Mappings as a message carries them; what is not known is left out.
-- @tparam {table,...} mappings as @{p2pd.punch.predict} gives them
-- @treturn {table,...} lists of three ports
function rendezvous.to_wire(mappings)
  local list = {}
  for _, mapping in ipairs(mappings) do
    if mapping.external_port ~= 0 then
      list[#list + 1] = { mapping.local_port, mapping.reply_port, mapping.external_port }
    end
  end
  return list
end

-- A reply port may be left open.
local function find_fault(entry)
  if type(entry) ~= "table" or #entry ~= #FIELDS then return "three ports expected" end
  for i, name in ipairs(FIELDS) do
    local port, least = entry[i], i == 2 and 0 or 1
    if math.type(port) ~= "integer" or port < least or port > PORT_MAX then
      return ("%s %s is not %d to %d"):format(name, tostring(port):sub(1, 20), least, PORT_MAX)
    end
  end
end

--- A peer's mappings.
-- @tparam any list what its message carries
-- @treturn[1] {table,...} `{ local_port, reply_port, external_port }` by name
-- @treturn[2] nil
-- @treturn[2] string what is wrong
-- @treturn[2] string "EINVAL"
function rendezvous.from_wire(list)
  if type(list) ~= "table" then return nil, "mappings: a list expected", "EINVAL" end
  if #list > rendezvous.MAX_MAPPINGS then
    return nil, ("mappings: %d are more than %d"):format(#list, rendezvous.MAX_MAPPINGS), "EINVAL"
  end
  local mappings = {}
  for i, entry in ipairs(list) do
    local fault = find_fault(entry)
    if fault then return nil, ("mappings[%d]: %s"):format(i, fault), "EINVAL" end
    mappings[i] = { local_port = entry[1], reply_port = entry[2], external_port = entry[3] }
  end
  return mappings
end

-- -- the instant

local function within(value, least, most)
  return math.max(least, math.min(most, value))
end

--- By how much our network time may be wrong, for a message.
-- @tparam number bound seconds
-- @treturn ?number nil: so much that nobody knows
function rendezvous.known_bound(bound)
  return bound <= UNKNOWN_BOUND and bound or nil
end

--- How long a message takes from the dialer to us.
-- @tparam table message INITIAL_MAPPINGS: `time`, `bound` (seconds by which that may be wrong; nil: nobody
-- knows), and `delay` where the dialer has measured it
-- @tparam number now our network time when it came
-- @tparam number bound seconds by which that may be wrong
-- @treturn number seconds
function rendezvous.delay(message, now, bound)
  if message.delay and message.delay <= DELAY_MAX then return message.delay end
  local delay, is_known = now - message.time, (message.bound or math.huge) + bound <= BOUND_MAX
  return is_known and delay >= 0 and delay <= DELAY_MAX and delay or DELAY_UNKNOWN
end

--- What the answerer decides: the instant is just late enough for its answer to arrive.
-- @tparam number delay seconds, one way over signalling
-- @tparam[opt] number lasts seconds that a birthday attack takes
-- @treturn number wait: seconds from the answer to the instant
-- @treturn number window: seconds from the instant for which both go on; but for a birthday attack, so long
-- that a lost SYN is sent again
function rendezvous.plan(delay, lasts)
  local window = lasts or RETRANSMIT_S + 0.5 + DELAYS * delay
  return math.min(rendezvous.MAX_WAIT, SLACK * delay + MARGIN), math.min(rendezvous.MAX_WINDOW, window)
end

--- When the answerer fires, for the dialer. Its network time says it, and so does the round trip, of which
-- half was the answer's way: what may be less wrong counts, and the instant is never one that the round trip
-- excludes, whatever the clocks say.
-- @tparam table answer UPDATED_MAPPINGS: `wait`, `window`, `spent` (seconds from the question's arrival to
-- the answer's leaving), `instant` (in the peer's network time)
-- @tparam number elapsed seconds since the question left
-- @tparam number instant_in seconds from now until `instant`, by our network time
-- @tparam number bound seconds by which that may be wrong
-- @treturn[1] number seconds until the instant, 0 when it has passed
-- @treturn[1] number the delay, one way, as far as it is believed
-- @treturn[2] nil
-- @treturn[2] string what is wrong
-- @treturn[2] string "EBADMSG"
function rendezvous.until_instant(answer, elapsed, instant_in, bound)
  if not (answer.wait >= 0 and answer.wait <= rendezvous.MAX_WAIT) then
    return nil, ("the peer wants to fire in %.4g s"):format(answer.wait), "EBADMSG"
  end
  if not (answer.window > 0 and answer.window <= rendezvous.MAX_WINDOW) then
    return nil, ("the peer wants to go on for %.4g s"):format(answer.window), "EBADMSG"
  end
  local there_and_back = math.max(0, elapsed - within(answer.spent, 0, math.max(0, elapsed)))
  local delay = there_and_back / 2
  local left = answer.wait - delay
  if bound < delay then left = within(instant_in, answer.wait - there_and_back, answer.wait) end
  return math.max(0, left), math.min(delay, DELAY_MAX)
end

return rendezvous
