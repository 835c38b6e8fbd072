--- Punch: both sides connect to each other at the same instant, through the holes that this opens in their
-- NATs. Which ports those are, p2pd.punch.predict says; when, the answerer.
-- @module p2pd.strategy.punch
local core = require "p2pd.core"
local clock = require "p2pd.clock"
local field = require "p2pd.signal.field"
local hole = require "p2pd.punch.attempt"
local pairing = require "p2pd.punch.pairing"
local predict = require "p2pd.punch.predict"
local probe = require "p2pd.punch.probe"
local rendezvous = require "p2pd.punch.rendezvous"
local task = require "p2pd.task"

local punch = {
  name = "punch",
  cost = 3,
  budget = 20, -- seconds
  once_per_dial = true, -- pairs are tried in turn, the best one first
}

punch.ATTEMPTS = 8

local ANSWER_S = 15 -- for an answer

local PATIENCE, ANSWER_PATIENCE = 3, 1 -- seconds until somebody else's punch is in our way no more
local COUNTER_S, COUNTER_DELAYS = 0.02, 4 -- seconds, and delays, for which a punch takes a counter's ports
local BOUND_MAX = 60       -- seconds, a clock that may be more wrong is unknown
local ANSWER_WAIT = 4      -- seconds for an answer
local PAUSE = 0.03         -- seconds between attempts, so that the peer has ended the last one
local RATE, MANY_RATE = 200, 1000 -- SYNs a second, whoever asked for them
local MANY_AT_ONCE = 2     -- answers of a node that try many ports
local GAP = 0.001          -- seconds until a SYN that was refused is sent again, on average
local LOW_TTL = { [2] = 2, [4] = 3, [6] = 4 }  -- of the answerer's first SYN, by attempt
local MANY_TTL = { 2, 2, 3, 2, 4 }             -- of the first SYNs of the side that opens many ports
local WAVE_S = 0.95 -- a port of many is kept: after 1 s its SYN would be sent again, and further (RFC 6298)
local HOLD, HOLD_DELAYS = 0.1, 3 -- seconds, and delays over signalling, that one of many ports is given
local NO_RETRY = 5 -- times as long as that no port is tried again
-- -- our side: ports, mappings, and what is fired

local function with_device(node, route)
  local names = {}
  for _, other in ipairs(node.routes) do names[other.name] = true end
  local is_one = next(names) == nil or next(names, next(names)) == nil
  return setmetatable({ device = not (is_one or route.loopback) and route.name or nil }, { __index = route })
end

local function local_ports(mappings)
  local set = {}
  for _, mapping in ipairs(mappings or {}) do set[mapping.local_port] = true end
  return set
end

-- By node and interface: who counts on the next ports of a counter, and a condition for who waits.
local counters = setmetatable({}, { __mode = "k" })

local Place = { __name = "p2pd.punch.place" }
Place.__index = Place

function Place:close()
  local counter = self.counter
  if counter and counter.holder == self then
    counter.holder = nil
    counter.changed:signal()
  end
end

Place.__close = Place.close

-- Our own punches must not take a counter's ports from each other between a probe and the SYNs. Waits until
-- it is our turn, and no longer than `patience`: two nodes that dial each other could wait for ever.
local function take_counter(node, side, patience)
  side.needs = predict.needs(side.pair.route.nat, side.meeting, side.purpose, side.attempt)
  if side.needs.rule ~= "counter" then return setmetatable({}, Place) end
  local ours = counters[node] or {}
  counters[node] = ours
  local key = side.pair.family .. side.pair.route.nic
  local counter = ours[key] or { changed = task.condition() }
  ours[key] = counter
  local deadline = clock.monotonic() + patience
  while counter.holder and clock.monotonic() < deadline do
    counter.changed:wait(math.max(0, deadline - clock.monotonic()))
  end
  side.place = setmetatable({ counter = counter }, Place)
  counter.holder = side.place
  return side.place
end

-- Looks at our NAT; the observation holds the mappings open.
local function observe(node, side, avoid)
  local ours, needs = side.pair.route, side.needs
  local observation, reason, code = probe.observe(with_device(node, ours), needs, node.settings.stun, avoid)
  if not observation then return nil, reason, code end
  local held <close> = task.hold(observation)
  local mappings, why = predict.mappings(ours.nat, needs, observation)
  if not mappings then return nil, why, "EHOSTUNREACH" end
  side.mappings = mappings
  return held:release()
end

-- A first SYN that gets out of our NAT, but not as far as one that would answer it with a reset.
local function first_ttl(side, attempt)
  if side.pair.family ~= "ipv4" or side.purpose ~= "internet" then return nil end
  if side.meeting == "many theirs" then return nil end
  if side.meeting == "many ours" then return MANY_TTL[attempt] end
  return not side.is_dialer and LOW_TTL[attempt] or nil
end

-- A link-local address is one of an interface.
local function scoped(ip, route)
  return core.inet.class(ip) == "link-local" and ip .. "%" .. route.name or ip
end

local function add_syn(list, side, local_port, remote_ip, remote_port, after)
  if remote_ip == side.route.nic and remote_port == local_port then return end
  local is_link_local = core.inet.class(remote_ip) == "link-local"
  remote_ip = scoped(remote_ip, side.route)
  list[#list + 1] = {
    ip = scoped(is_link_local and side.route.internal or side.route.nic, side.route),
    port = local_port,
    device = remote_ip ~= side.route.nic and side.route.device or nil,
    remote_ip = remote_ip,
    remote_port = remote_port,
    ttl = side.ttl,
    after = after,
  }
end

-- Many of the peer's ports are open, and we try them from our one.
local function aim_many(side)
  local list, mapping = {}, side.mappings[1]
  for _, port in ipairs(predict.guesses(predict.TRIES)) do
    add_syn(list, side, mapping.local_port, side.pair.remote.external, port)
  end
  return list
end

-- The peer tries many of our ports from its one.
local function aim_waves(side, theirs)
  local list = {}
  for i, mapping in ipairs(predict.aim(side.mappings, theirs)) do
    add_syn(list, side, mapping.local_port, side.pair.remote.external, mapping.reply_port,
      (i - 1) // predict.MANY * WAVE_S)
  end
  return list
end

local function aim(side, theirs)
  local list, pair = {}, side.pair
  if side.meeting == "many theirs" then return aim_many(side) end
  if side.meeting == "many ours" then return aim_waves(side, theirs) end
  local internal, external = pair.remote.internal, pair.remote.external
  for i, mapping in ipairs(predict.aim(side.mappings, theirs)) do
    if side.purpose == "internet" then
      add_syn(list, side, mapping.local_port, external, mapping.reply_port)
    end
    local inner = theirs[(i - 1) % math.max(1, #theirs) + 1]
    local is_near = side.purpose ~= "internet" or pairing.shares_lan(pair) and internal ~= external
    if inner and is_near and pairing.check_address(pair, internal) then
      add_syn(list, side, mapping.local_port, internal, inner.local_port)
    end
  end
  return list
end

local function listening_ports(side)
  local ports = {}
  if not side.needs.listen and not pairing.shares_lan(side.pair) then return ports end
  for i, mapping in ipairs(side.mappings) do ports[i] = mapping.local_port end
  return ports
end

-- The counter is others' again once the SYNs have left, and those that were refused have left again.
local function give_counter_back(side)
  task.sleep(math.max(0, side.at - clock.monotonic()) + COUNTER_S + COUNTER_DELAYS * side.delay)
  side.place:close()
end

-- Fires and waits for the stream that `verify` takes.
local function meet(node, side, theirs, verify)
  local children <close> = task.group()
  if side.place then children:spawn(give_counter_back, side) end
  side.route = with_device(node, side.pair.route)
  local hold = side.meeting == "many theirs" and HOLD + HOLD_DELAYS * side.delay
    or side.meeting == "many ours" and WAVE_S
  local mappings = aim(side, theirs)
  if not mappings[1] then return nil, "no endpoint of the peer's to connect to", "EHOSTUNREACH" end
  return hole.open {
    fire = {
      at = side.at,
      deadline = side.at + side.window,
      gap = hold and hold * NO_RETRY or GAP,
      hold = hold or nil,
      rate = side.meeting:find "^many" and MANY_RATE or RATE,
      mappings = mappings,
    },
    ip = side.route.nic,
    listen = listening_ports(side),
    peers = { [side.pair.remote.external] = true, [side.pair.remote.internal] = true },
    verify = verify,
    choose = side.is_dialer,
  }
end

-- -- the dialer

-- Near ones first, then those that are sure, then those of which nothing has to be looked at.
local function rank(choice)
  local luck = choice.meeting:find "^many" and 2 or 0
  local probes = predict.needs(choice.pair.route.nat, choice.meeting, choice.purpose).probes
  return (choice.purpose == "internet" and 10 or 0) + luck + math.min(1, probes)
end

-- The pairs that can meet, the best one first; nil and why none can.
local function choices(dial)
  local list, reasons = {}, {}
  for order, pair in ipairs(dial.node:pairs(dial.peer)) do
    local meeting, purpose = pairing.meeting(pair, dial.node.birthday)
    local ok, reason = pairing.check_address(pair, pair.remote.external)
    if meeting and ok then
      list[#list + 1] = { pair = pair, meeting = meeting, purpose = purpose, order = order }
    else
      reasons[#reasons + 1] = reason or purpose
    end
  end
  table.sort(list, function(a, b)
    if rank(a) ~= rank(b) then return rank(a) < rank(b) end
    return a.order < b.order
  end)
  if list[1] then return list end
  if not reasons[1] then return nil, "no address family in common", "EAFNOSUPPORT" end
  return nil, table.concat(reasons, ", "), "EHOSTUNREACH"
end

-- For a message: nil when nobody knows how wrong our clock is.
local function known_bound()
  local bound = clock.offset().bound
  return bound <= BOUND_MAX and bound or nil
end

local function ask(dial, side)
  local pair = side.pair
  side.began = clock.monotonic()
  local answer, reason, code = dial:request("INITIAL_MAPPINGS", {
    pair = { pair.family, pair.route.interface, pair.remote.interface },
    mappings = rendezvous.to_wire(side.mappings),
    many = dial.node.birthday,
    try = side.attempt,
    bound = known_bound(),
    delay = side.delay,
  }, ANSWER_WAIT)
  if not answer then return nil, reason, code end
  return answer
end

-- The peer's mappings, and what its answer, which is fresher than its address, makes of the pair.
local function reconsider(dial, side, answer)
  local theirs, fault = rendezvous.from_wire(answer.mappings)
  if not theirs then return nil, "the peer's " .. fault, "EBADMSG" end
  local pair = { family = side.pair.family, route = side.pair.route,
    remote = pairing.record_of(answer.sender[side.pair.family], side.pair.remote.interface) }
  if not pair.remote then return nil, "the peer's interface has gone", "EADDRNOTAVAIL" end
  local ok, reason, code = pairing.check_address(pair, pair.remote.external)
  if not ok then return nil, reason, code end
  if side.purpose == "internet" then pairing.believe(pair, theirs) end
  local meeting, purpose = pairing.meeting(pair, dial.node.birthday and answer.many)
  if not meeting then return nil, purpose, "EHOSTUNREACH" end
  side.pair, side.meeting, side.purpose = pair, meeting, purpose
  return theirs
end

-- When the peer fires, on our clock.
local function agree(side, answer)
  local now = clock.monotonic()
  local elapsed, longest = clock.now() - answer.asked, now - side.began
  if not (elapsed >= 0 and elapsed <= longest) then elapsed = longest end
  local bound = clock.offset().bound + (answer.bound or math.huge)
  local left, delay, code = rendezvous.until_meeting(answer, elapsed, clock.to_monotonic(answer.meet) - now,
    bound)
  if not left then return nil, delay, code end
  if bound >= delay then
    core.log.write("info", "punch: for want of network time the messages' round trip says when to meet")
  end
  if LOW_TTL[side.attempt] then left = left + PAUSE end -- the peer opens its hole first
  side.at, side.window, side.delay = now + left, answer.window, delay
  return true
end

local function try(dial, side)
  local _ <close> = take_counter(dial.node, side, PATIENCE)
  local observation <close>, fault, errno = observe(dial.node, side)
  if not observation then return nil, fault, errno end
  local answer, why, refusal = ask(dial, side)
  if not answer then return nil, why, refusal end
  local theirs, reason, code = reconsider(dial, side, answer)
  if not theirs then return nil, reason, code end
  local ok
  ok, reason, code = agree(side, answer)
  if not ok then return nil, reason, code end
  return meet(dial.node, side, theirs, function(stream) return dial:secure(stream) end)
end

local FINAL = { EACCES = true, EBADMSG = true, EBADF = true, ENOTCONN = true, EINVAL = true }

--- @tparam dial dial
-- @treturn stream a verified stream; or nil, message, code
function punch.dial(dial)
  local reason, code, delay
  for attempt = 1, punch.ATTEMPTS do
    local list, why, errno = choices(dial)
    if not list then return nil, why, errno end
    local choice = list[(attempt - 1) % #list + 1]
    local side = { pair = choice.pair, meeting = choice.meeting, purpose = choice.purpose, attempt = attempt,
      delay = delay, is_dialer = true }
    side.ttl = first_ttl(side, attempt)
    local stream
    stream, reason, code = try(dial, side)
    if stream then return stream end
    if FINAL[code] and #list == 1 then return nil, reason, code end
    delay = side.delay
    local left = side.at and side.at + side.window - clock.monotonic() or 0
    task.sleep(math.max(0, left) + PAUSE * (1 + math.random()))
  end
  return nil, reason, code
end

-- -- the answerer

-- The pair that the dialer means, as we see it.
local function find_pair(node, m)
  local family = m.pair[1]
  local pair = { family = family, remote = pairing.record_of(m.sender[family], m.pair[2]) }
  for _, route in ipairs(node.routes) do
    if route.family == family and route.interface == m.pair[3] then pair.route = pair.route or route end
  end
  if pair.route and pair.remote then return pair end
  return nil, "no such pair of interfaces", "EINVAL"
end

local function consider(node, m)
  local pair, reason, code = find_pair(node, m)
  if not pair then return nil, reason, code end
  local theirs
  theirs, reason, code = rendezvous.from_wire(m.mappings)
  if not theirs then return nil, reason, code end
  local ok
  ok, reason, code = pairing.check_address(pair, pair.remote.external)
  if not ok then return nil, reason, code end
  pairing.believe(pair, theirs)
  local meeting, purpose = pairing.meeting(pair, m.many and node.birthday)
  if not meeting then return nil, purpose, "EHOSTUNREACH" end
  local side = { pair = pair, meeting = meeting, purpose = purpose, attempt = m.try }
  side.ttl = first_ttl(side, m.try)
  return side, theirs
end

local function reply(node, m, side, arrived)
  local is_many = side.meeting:find "^many" ~= nil
  local wait, window = rendezvous.plan(side.delay, is_many)
  local now = clock.monotonic()
  side.at, side.window = now + wait, window
  return node:reply(m, {
    mappings = rendezvous.to_wire(side.mappings),
    many = is_many,
    wait = wait,
    window = window,
    spent = now - arrived,
    meet = clock.now() + wait,
    bound = known_bound(),
    asked = m.time,
  })
end

-- How many answers of a node try many ports.
local many_answers = setmetatable({}, { __mode = "k" })

local function take_place(node, side)
  if not side.meeting:find "^many" then return setmetatable({}, { __close = function() end }) end
  local count = many_answers[node] or 0
  if count >= MANY_AT_ONCE then return nil, "many ports are being tried already", "EBUSY" end
  many_answers[node] = count + 1
  return setmetatable({}, { __close = function() many_answers[node] = many_answers[node] - 1 end })
end

-- The peer's part: says its mappings and when to meet, and meets.
local function answer(node, message)
  local arrived = clock.monotonic()
  local delay = rendezvous.delay(message, clock.now(), clock.offset().bound)
  local side, theirs, code = consider(node, message)
  if not side then return nil, theirs, code end
  side.delay = delay
  local place <close>, full, busy = take_place(node, side)
  if not place then return nil, full, busy end
  local avoid = pairing.shares_router(side.pair) and local_ports(theirs) or nil
  local _ <close> = take_counter(node, side, ANSWER_PATIENCE)
  local observation <close>, fault, errno = observe(node, side, avoid)
  if not observation then return nil, fault, errno end
  local ok, reason
  ok, reason, code = reply(node, message, side, arrived)
  if not ok then return nil, reason, code end
  return meet(node, side, theirs, function(stream) return node:admit(stream, message) end)
end

local function is_offset(value)
  return math.type(value) == "integer" and value >= 0 and value <= 65535
end

-- A family, and the interfaces' offsets in the two addresses.
local function is_pair(value)
  return type(value) == "table" and #value == 3 and (value[1] == "ipv4" or value[1] == "ipv6")
    and is_offset(value[2]) and is_offset(value[3])
end

-- Only the shape: p2pd.punch.rendezvous says what is wrong with the ports.
local function is_mappings(value)
  return type(value) == "table"
end

local SECONDS = field.number(0, 60)

punch.messages = {
  INITIAL_MAPPINGS = { reply = "UPDATED_MAPPINGS", answer = answer, timeout = ANSWER_S,
    fields = { pair = is_pair, mappings = is_mappings, many = field.optional(field.flag),
      try = field.integer(1, 100), delay = field.optional(SECONDS), bound = field.optional(SECONDS) } },
  UPDATED_MAPPINGS = { fields = { mappings = is_mappings, many = field.optional(field.flag), wait = SECONDS,
    window = SECONDS, spent = SECONDS, bound = field.optional(SECONDS), meet = field.number(),
    asked = field.number() } },
}

--- Whether a pair can meet; nothing is sent to find out.
-- @tparam node node
-- @tparam table pair
-- @treturn boolean true; or nil, message, code
function punch.feasible(node, pair)
  if not pair.route.nat then return nil, "our NAT is not known yet", "EAGAIN" end
  local ok, reason = pairing.check_address(pair, pair.remote.external)
  if not ok then return nil, reason end
  local meeting, why = pairing.meeting(pair, node.birthday)
  if meeting then return true end
  return nil, why
end

return punch
