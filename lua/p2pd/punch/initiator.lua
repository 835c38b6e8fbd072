--- The dialer's side of a punch: which pair, what to tell the peer, when to fire. Several attempts, each with
-- what is known by then.
-- @module p2pd.punch.initiator
local aim = require "p2pd.punch.aim"
local birthday = require "p2pd.punch.birthday"
local clock = require "p2pd.clock"
local core = require "p2pd.core"
local deadline = require "p2pd.deadline"
local pairing = require "p2pd.punch.pairing"
local predict = require "p2pd.punch.predict"
local rendezvous = require "p2pd.punch.rendezvous"
local side = require "p2pd.punch.side"
local task = require "p2pd.task"

local initiator = {}

initiator.ATTEMPTS = 8

local PATIENCE = 3   -- seconds to wait for our turn at a NAT's counter
local ANSWER_S = 4   -- for an answer
local PAUSE = 0.03   -- seconds between attempts, so that the peer has ended the last one
local FINAL = { EACCES = true, EBUSY = true, EBADMSG = true, EBADF = true, ENOTCONN = true, EINVAL = true }

-- -- which pair

-- Near ones first, then those that are sure, then those of which nothing has to be looked at.
local function rank(choice)
  local luck = birthday.is(choice.meeting) and 2 or 0
  local probes = predict.needs(choice.pair.route.nat, choice.meeting, choice.purpose).probes
  return (choice.purpose == "internet" and 10 or 0) + luck + math.min(1, probes)
end

-- The pairs that can meet, by the addresses that are known now, the best one first; or nil and why none can.
local function find_choices(dial)
  local list, reasons = {}, {}
  for order, pair in ipairs(dial.node:pairs(dial.peer)) do
    local meeting, purpose, code = pairing.check(pair, dial.node.birthday)
    if meeting then
      local choice = { pair = pair, meeting = meeting, purpose = purpose, order = order }
      choice.rank = rank(choice)
      list[#list + 1] = choice
    else
      reasons[#reasons + 1] = purpose
      reasons.code = reasons.code or code
    end
  end
  table.sort(list, function(a, b)
    if a.rank ~= b.rank then return a.rank < b.rank end
    return a.order < b.order
  end)
  if list[1] then return list end
  if not reasons[1] then return nil, "no address family in common", "EAFNOSUPPORT" end
  return nil, table.concat(reasons, ", "), reasons.code
end

-- -- what is agreed on

local function request(dial, self)
  local pair = self.pair
  self.asked_at = clock.monotonic()
  return dial:request("INITIAL_MAPPINGS", {
    pair = { pair.family, pair.route.interface, pair.remote.interface },
    mappings = rendezvous.to_wire(self.mappings),
    birthday = dial.node.birthday,
    try = self.attempt,
    bound = rendezvous.known_bound(clock.offset().bound),
    delay = self.delay,
  }, ANSWER_S)
end

-- The peer's mappings, and what its answer, which is fresher than its address, makes of the pair.
local function reconsider(dial, self, answer)
  local remote_mappings, fault = rendezvous.from_wire(answer.mappings)
  if not remote_mappings then return nil, "the peer's " .. fault, "EBADMSG" end
  local remote = pairing.record_of(answer.sender[self.pair.family], self.pair.remote.interface)
  if not remote then return nil, "the peer's interface has gone", "EADDRNOTAVAIL" end
  local pair = { family = self.pair.family, route = self.pair.route, remote = remote, who = self.pair.who }
  if self.purpose == "internet" then pairing.believe(pair, remote_mappings) end
  local meeting, purpose, code = pairing.check(pair, dial.node.birthday and answer.birthday)
  if not meeting then return nil, purpose, code end
  self.pair, self.meeting, self.purpose = pair, meeting, purpose
  return remote_mappings
end

-- When the peer fires, on our clock.
local function agree(self, answer)
  local now = clock.monotonic()
  local elapsed, longest = clock.now() - answer.asked, now - self.asked_at
  if not (elapsed >= 0 and elapsed <= longest) then elapsed = longest end
  local bound = clock.offset().bound + (answer.bound or math.huge)
  local left, delay, code = rendezvous.until_instant(answer, elapsed,
    clock.to_monotonic(answer.instant) - now, bound)
  if not left then return nil, delay, code end
  if bound >= delay then
    core.log.write("info", "punch: for want of network time the messages' round trip says when to fire")
  end
  if aim.is_low(self.attempt) then left = left + PAUSE end -- the peer opens its NAT first
  self.delay = delay
  self:set_instant(now + left, answer.window)
  return true
end

-- -- the attempts

local function observe(dial, self)
  if self.needs.probes == 0 then return self:observe(PATIENCE) end
  return dial.report:time("stun", "local ports", nil, self.observe, self, PATIENCE)
end

local function try(dial, self)
  local ok, reason, code = observe(dial, self)
  if not ok then return nil, reason, code end
  local answer
  answer, reason, code = request(dial, self)
  if not answer then return nil, reason, code end
  local remote_mappings
  remote_mappings, reason, code = reconsider(dial, self, answer)
  if not remote_mappings then return nil, reason, code end
  ok, reason, code = agree(self, answer)
  if not ok then return nil, reason, code end
  return self:fire(remote_mappings, function(stream) return dial:secure(stream) end)
end

-- One attempt with one of the choices; then the instant at which the peer has ended it too.
local function attempt_once(dial, choice, attempt, delay)
  local self <close> = side.new(dial.node, { pair = choice.pair, meeting = choice.meeting,
    purpose = choice.purpose, attempt = attempt, delay = delay, is_dialer = true })
  local stream, reason, code = dial.report:time("attempt", "punch " .. attempt, choice.pair, try, dial, self)
  return stream, reason, code, self
end

--- Makes attempts until one gives a stream.
-- @tparam dial dial
-- @treturn stream a verified stream; or nil, message, code
function initiator.dial(dial)
  local reason, code, delay
  for attempt = 1, initiator.ATTEMPTS do
    local choices, why, errno = find_choices(dial)
    if not choices then return nil, why, errno end
    local stream, last
    stream, reason, code, last = attempt_once(dial, choices[(attempt - 1) % #choices + 1], attempt, delay)
    if stream then return stream end
    if FINAL[code] and #choices == 1 then return nil, reason, code end
    delay = last.delay
    local left = last.at and deadline.at(last.at + last.window):left() or 0
    task.sleep(left + PAUSE * (1 + math.random()))
  end
  return nil, reason, code
end

return initiator
