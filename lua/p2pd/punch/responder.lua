--- The answerer's side of a punch: says its mappings and the instant, and fires.
-- @module p2pd.punch.responder
local birthday = require "p2pd.punch.birthday"
local clock = require "p2pd.clock"
local pairing = require "p2pd.punch.pairing"
local rendezvous = require "p2pd.punch.rendezvous"
local side = require "p2pd.punch.side"

local responder = {}

local PATIENCE = 1      -- seconds to wait for our turn at a NAT's counter
local READY_S = 3       -- for our own NAT to become known

-- -- what is asked

local function find_route(node, family, interface)
  for _, route in ipairs(node.routes) do
    if route.family == family and route.interface == interface then return route end
  end
end

-- The pair that the dialer means, as we see it. A node that has just started may not know its NAT.
local function find_pair(node, m)
  local family, remote_interface, interface = table.unpack(m.pair)
  local route = find_route(node, family, interface)
  local remote = pairing.record_of(m.sender[family], remote_interface)
  if route and not route.nat then
    node:ready(READY_S)
    route = find_route(node, family, interface)
  end
  if not route or not remote then return nil, "no such pair of interfaces", "EINVAL" end
  return { family = family, route = route, remote = remote, who = node:standing(m.sender) }
end

-- Our side, and the peer's mappings.
local function consider(node, m, delay)
  local pair, reason, code = find_pair(node, m)
  if not pair then return nil, reason, code end
  local remote_mappings
  remote_mappings, reason, code = rendezvous.from_wire(m.mappings)
  if not remote_mappings then return nil, reason, code end
  pairing.believe(pair, remote_mappings)
  local meeting, purpose, errno = pairing.check(pair, m.birthday and node.birthday)
  if not meeting then return nil, purpose, errno end
  local self = side.new(node, { pair = pair, meeting = meeting, purpose = purpose, attempt = m.try,
    delay = delay, for_peer = m.from })
  return self, remote_mappings
end

-- -- limits

-- A birthday attack has a budget of its own.
local function take_place(node, m, self)
  if not birthday.is(self.meeting) then return true end
  return node.limits:take("birthdays", { peer = m.from, target = self.pair.remote.external })
end

local function local_ports(mappings)
  local set = {}
  for _, mapping in ipairs(mappings) do set[mapping.local_port] = true end
  return set
end

-- -- the answer

local function reply(node, m, self, arrived)
  local is_birthday = birthday.is(self.meeting)
  local wait, window = rendezvous.plan(self.delay, is_birthday and birthday.LASTS or nil)
  local now = clock.monotonic()
  self:set_instant(now + wait, window)
  return node:reply(m, {
    mappings = rendezvous.to_wire(self.mappings),
    birthday = is_birthday,
    wait = wait,
    window = window,
    spent = now - arrived,
    instant = clock.now() + wait,
    bound = rendezvous.known_bound(clock.offset().bound),
    asked = m.time,
  })
end

--- Answers INITIAL_MAPPINGS.
-- @tparam node node
-- @tparam table message
-- @treturn stream a stream that the dialer has chosen; or nil, message, code
function responder.answer(node, message)
  local arrived = clock.monotonic()
  message.untried = true
  local delay = rendezvous.delay(message, clock.now(), clock.offset().bound)
  local self <close>, remote_mappings, code = consider(node, message, delay)
  if not self then return nil, remote_mappings, code end
  local has_room, full, busy = take_place(node, message, self)
  if not has_room then return nil, full, busy end
  local avoid = pairing.shares_router(self.pair) and local_ports(remote_mappings) or nil
  local ok, reason
  ok, reason, code = self:observe(PATIENCE, avoid)
  if not ok then return nil, reason, code end
  ok, reason, code = reply(node, message, self, arrived)
  if not ok then return nil, reason, code end
  message.untried = nil
  return self:fire(remote_mappings, function(stream) return node:admit(stream, message) end)
end

return responder
