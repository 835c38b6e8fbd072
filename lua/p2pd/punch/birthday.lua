--- The birthday attack, against a NAT whose external ports nobody can know: its side opens many of them
-- towards the peer's one known port, the peer sends SYNs from that port to guessed ones, and the first guess
-- that is right makes a connection. Pure: what to open and what to guess, in waves.
--
-- A wave ends before its SYNs would be sent again (RFC 6298 section 2): the first ones have a TTL that opens
-- our NAT and no more, those would reach the peer's, which may answer with a reset that closes the mapping.
-- Both sides begin a wave at the same instant, with ports and guesses of its own.
-- @module p2pd.punch.birthday
local birthday = {}

birthday.WAVES = 3      -- of an attempt, one right after the other
birthday.WAVE_S = 0.95  -- seconds
birthday.LASTS = birthday.WAVES * birthday.WAVE_S
birthday.PORTS = 320    -- open in a wave
birthday.GUESSES = 950  -- of a wave at most: 99 % of finding one of those
birthday.RATE = 1000    -- SYNs a second, whoever asked for them

local SOCKETS = 320                  -- guesses that wait for an answer at a time
local HOLD, HOLD_DELAYS = 0.05, 3    -- seconds, and delays over signalling, for which one of them waits
local NO_RETRY = 10                  -- seconds: longer than a wave
local FIRST_TTL = { 2, 2, 3, 2, 4 }  -- of the opening side's SYNs, by wave, over all attempts
local PORT_MIN, PORT_MAX = 1024, 65535 -- that NATs give out

--- Whether that is how a pair meets.
-- @tparam string meeting see p2pd.punch.predict
-- @treturn boolean
function birthday.is(meeting)
  return meeting == "birthday local" or meeting == "birthday remote"
end

--- Distinct ports, at random.
-- @tparam integer count
-- @tparam[opt] function random as math.random
-- @treturn {integer,...}
function birthday.guesses(count, random)
  random = random or math.random
  local ports, seen = {}, {}
  while #ports < count do
    local port = random(PORT_MIN, PORT_MAX)
    if not seen[port] then seen[port], ports[#ports + 1] = true, port end
  end
  return ports
end

--- How long a guess waits for its answer, and how many there can be in a wave.
-- @tparam number delay seconds, one way over signalling
-- @treturn number seconds
-- @treturn integer
function birthday.pace(delay)
  local hold = math.min(birthday.WAVE_S, HOLD + HOLD_DELAYS * delay)
  local volleys = math.max(1, birthday.WAVE_S // hold)
  return hold, math.tointeger(math.min(birthday.GUESSES, volleys * SOCKETS))
end

--- The time to live of the opening side's SYNs.
-- @tparam integer attempt from 1
-- @tparam integer wave from 1
-- @treturn ?integer nil: the usual one
function birthday.first_ttl(attempt, wave)
  return FIRST_TTL[(attempt - 1) * birthday.WAVES + wave]
end

--- The waves that fit what is left, 1 at least.
-- @tparam number window seconds
-- @treturn integer
function birthday.waves(window)
  return math.max(1, math.min(birthday.WAVES, math.ceil(window / birthday.WAVE_S)))
end

--- What `core.punch.start` takes for a wave, but for its mappings.
-- @tparam number at the instant of the first wave
-- @tparam integer wave from 1
-- @tparam number deadline of the attempt
-- @tparam[opt] number hold seconds, of a guess
-- @treturn table
function birthday.fire(at, wave, deadline, hold)
  return {
    at = at + (wave - 1) * birthday.WAVE_S,
    deadline = math.min(deadline, at + wave * birthday.WAVE_S),
    gap = NO_RETRY,
    hold = hold,
    rate = birthday.RATE,
    max_open = SOCKETS,
  }
end

return birthday
