--- Relay: both meet at a TURN server. One side allocates an address there and permits the other one, which
-- needs no credentials. Preferred is a TCP relay (RFC 6062), to which the other side connects, see
-- p2pd.turn.simplex_pair; where the servers have none it is a UDP relay, see p2pd.turn.reliable. The dialer
-- allocates when its settings name a server, else the peer with its own. The allocation lives exactly as long
-- as the stream.
-- @module p2pd.strategy.relay
local core = require "p2pd.core"
local endpoint = require "p2pd.endpoint"
local simplex_pair = require "p2pd.turn.simplex_pair"
local field = require "p2pd.signal.field"
local reach = require "p2pd.net.reach"
local reliable = require "p2pd.turn.reliable"
local task = require "p2pd.task"
local turn = require "p2pd.turn"

local relay = {
  name = "relay",
  cost = 5,
  budget = 20,     -- seconds
  head_start = 1,  -- seconds
  once_per_dial = true, -- one relay serves every pair
}

local ANSWER_S = 15 -- seconds for an answer

local ALLOCATE_S = 8   -- seconds for an allocation
local CONNECT_S = 8    -- for the connection to a relayed address
local REPEAT_S = 1     -- until an answer is said again, then twice as long
local BLOCKED_S = 1.5  -- for datagrams to reach a relay: else UDP is blocked here
local SAY_S = 0.3      -- for a connection that is refused: then that is the answer
local ATTEMPTS = 3     -- to come to a relay
local AGAIN_S = 0.1    -- between them, and more each time

--- Relays cost somebody money: only who has a server of his own dials so unasked.
function relay.enabled(settings)
  return settings.turn ~= nil and settings.turn[1] ~= nil
end

-- -- whom to let in

local FAMILIES = { "ipv4", "ipv6" }

-- The addresses that a peer may come from, by family.
local function addresses_of(peer, family)
  local list, seen = {}, {}
  for _, record in ipairs(peer[family]) do
    for _, ip in ipairs { record.external, record.internal } do
      if not seen[ip] and core.inet.class(ip) ~= "link-local" then list[#list + 1] = ip end
      seen[ip] = true
    end
  end
  return list
end

-- The family that both sides speak, IPv4 first: NAT or not, a relay is in between.
local function common_family(node, peer)
  for _, family in ipairs(FAMILIES) do
    local ours = false
    for _, route in ipairs(node.routes) do ours = ours or route.family == family end
    if ours and peer[family][1] then return family end
  end
end

-- Permits every address of a peer; one that the server admits is enough.
local function permit(allocation, peer, family)
  local asked, reasons, admitted = {}, {}, false
  for i, ip in ipairs(addresses_of(peer, family)) do
    asked[i] = function()
      local ok, reason, code = allocation:permit(ip, ALLOCATE_S)
      admitted = admitted or ok
      reasons[#reasons + 1] = not ok and reason or nil
      return true, code
    end
  end
  task.all(asked)
  if admitted then return true end
  return nil, reasons[1] or "the peer has no address that a relay could let in", "EACCES"
end

-- -- the way to the other side's relay

-- From wherever a route leads there.
local function connect(node, m, pipe_id, role)
  local ip, port = endpoint.parse(m.relayed)
  local class, family = core.inet.class(ip)
  local attempts, why = {}, "no address family in common with the relay"
  for _, route in ipairs(node.routes) do
    local fair, reason
    if route.family == family then fair, reason = reach.check(route, ip) end
    why = reason or why
    local from = class ~= "loopback" and route.nic or nil
    if fair then
      attempts[#attempts + 1] = function()
        if m.udp then return reliable.connect(ip, port, from, pipe_id, role, CONNECT_S) end
        return simplex_pair.connect(ip, port, from and { ip = from }, pipe_id, CONNECT_S)
      end
    end
  end
  if not attempts[1] then return nil, why, "EHOSTUNREACH" end
  return task.race(attempts)
end

-- Whoever comes to our relay, until `verify` lets one through.
local function receive(allocation, pipe_id, role, verify)
  if allocation.relay == "tcp" then return simplex_pair.receive(allocation, pipe_id, verify) end
  local stream, reason, code = reliable.receive(allocation, pipe_id, role, CONNECT_S)
  if not stream then return nil, reason, code end
  return verify(stream)
end

-- What a message says of our relay.
local function offer(pipe_id, allocation)
  if not allocation then return { pipe = pipe_id } end
  return { pipe = pipe_id, relayed = endpoint.format(allocation.ip, allocation.port),
    udp = allocation.relay == "udp" or nil }
end

-- -- the dialer

-- Asks the peer; what it answers, or nil, reason, code.
local function request(dial, allocation)
  return dial:request("TURN_REQUEST", offer(dial.pipe_id, allocation))
end

local function first_of(children, fns)
  local done, result = task.condition(), nil
  local held = task.hold()
  for _, fn in ipairs(fns) do
    children:spawn(function()
      local results = table.pack(fn())
      if results.n == 0 then return end
      if result then
        if results[1] then results[1]:close() end
        return
      end
      result = results
      held.n, held[1] = results[1] and 1 or 0, results[1]
      done:signal()
    end)
  end
  local _ <close> = held
  while not result do done:wait() end
  held.n = 0
  return table.unpack(result, 1, result.n)
end

-- We have the relay; the peer comes to it.
local function dial_by_ours(dial, allocation, family)
  local held <close> = task.hold(allocation)
  local children <close> = task.group()
  if allocation.relay == "tcp" then allocation:prepare(2) end
  local stream, reason, code = first_of(children, {
    function()
      return receive(allocation, dial.pipe_id, "dialer", function(come) return dial:secure(come) end)
    end,
    function()
      local ok, why, errno = permit(allocation, dial.peer, family)
      if not ok then return nil, why, errno end
    end,
    function()
      local answer, why, errno = request(dial, allocation)
      if not answer then return nil, why, errno end
      if answer.relayed then allocation:permit((endpoint.parse(answer.relayed)), ALLOCATE_S) end
      permit(allocation, answer.sender, family) -- it may have moved
    end,
  })
  if stream then held:release() end
  return stream, reason, code
end

-- The peer has the relay, or none.
local function dial_by_theirs(dial)
  local answer, reason, code = request(dial)
  if not answer then return nil, reason, code end
  if not answer.relayed then return nil, "the peer answers without a relay", "EPROTO" end
  local stream
  stream, reason, code = connect(dial.node, answer, dial.pipe_id, "dialer")
  if not stream then return nil, reason, code end
  return dial:secure(stream)
end

-- A TCP relay where there is one, else a UDP one.
local function allocate(node, peer)
  local family = common_family(node, peer)
  if not family then return nil, "no address family in common", "EAFNOSUPPORT" end
  local reasons, code = {}, nil
  for _, kind in ipairs { "tcp", "udp" } do
    local allocation, reason
    allocation, reason, code = turn.allocate_any(node.settings.turn or {}, { relay = kind,
      family = family == "ipv6" and family or nil, timeout = ALLOCATE_S,
      permit = addresses_of(peer, family) })
    if allocation then return allocation, family end
    if not reasons[reason] then reasons[#reasons + 1] = reason end
    reasons[reason] = true
  end
  return nil, table.concat(reasons, "; "), code
end

-- An allocation on its way.
local Prepared = {}
Prepared.__index = Prepared

function Prepared:__close()
  self.child:cancel()
  if self.result and self.result[1] then self.result[1]:close() end
  self.result = nil
end

--- Hands it over, once: the allocation and its family; or nil, message, code.
function Prepared:take()
  while not self.result do self.changed:wait() end
  local result = self.result
  self.result = { nil, "the allocation was given away", "EBUSY" }
  return table.unpack(result, 1, 3)
end

--- Begins with the allocation.
-- @tparam dial dial
-- @return something to be closed, for @{dial}
function relay.prepare(dial)
  local self = setmetatable({ changed = task.condition() }, Prepared)
  self.child = task.spawn(function()
    self.result = { allocate(dial.node, dial.peer) }
    self.changed:broadcast()
  end)
  return self
end

--- @tparam dial dial
-- @treturn stream a verified stream; or nil, message, code
function relay.dial(dial)
  local allocation, family = dial.prepared[relay.name]:take()
  if allocation then return dial_by_ours(dial, allocation, family) end
  local stream, reason, code = dial_by_theirs(dial)
  if stream then return stream end
  if relay.enabled(dial.node.settings) then reason = ("%s; %s"):format(family, reason) end
  return nil, reason, code
end

-- -- the answerer

-- Says it again as long as nobody has come: an answer may be lost.
local function keep_saying(node, m, allocation)
  local wait = REPEAT_S
  while true do
    node:reply(m, offer(m.pipe, allocation))
    task.sleep(wait)
    wait = wait * 2
  end
end

local function answer_by_ours(node, m)
  local allocation, family, code = allocate(node, m.sender)
  if not allocation then return nil, family, code end
  local held <close> = task.hold(allocation)
  local reason
  if allocation.relay == "tcp" then allocation:prepare(2) end
  local ok
  ok, reason, code = permit(allocation, m.sender, family)
  if not ok then return nil, reason, code end
  local _ <close> = task.spawn(keep_saying, node, m, allocation)
  local function admit(stream) return node:admit(stream, m) end
  local stream
  stream, reason, code = receive(allocation, m.pipe, "answerer", admit)
  if stream then held:release() end
  return stream, reason, code
end

local function reach_by_ours(node, m)
  task.sleep(BLOCKED_S)
  local allocation, reason, code = turn.allocate_any(node.settings.turn, { timeout = ALLOCATE_S })
  if not allocation then return nil, reason, code end
  local held <close> = task.hold(allocation)
  node:reply(m, offer(m.pipe, allocation))
  local ip, port = endpoint.parse(m.relayed)
  local stream
  stream, reason, code = reliable.connect_by(allocation, ip, port, m.pipe, "answerer", CONNECT_S)
  if stream then held:release() end
  return stream, reason, code
end

-- Comes to the dialer's UDP relay: from here, and a little later, if UDP is blocked here, from a relay of our
-- own. The answer says which, and so waits; without a server of our own there is nothing to wait for.
local function answer_udp(node, m)
  local ways = { function() return connect(node, m, m.pipe, "answerer") end }
  local has_server = relay.enabled(node.settings)
  if has_server then ways[2] = function() return reach_by_ours(node, m) end end
  if not has_server then node:reply(m, offer(m.pipe)) end
  local stream, reason, code = task.race(ways)
  if not stream then return nil, reason, code end
  if has_server then node:reply(m, offer(m.pipe)) end
  return node:admit(stream, m)
end

-- Comes to the dialer's relay. Its server may cut us off at first, when we come from an address that the
-- dialer learns of by our answer only: so once more, a little later.
local function answer_by_theirs(node, m)
  local said = false
  local function say()
    said = said or node:reply(m, { pipe = m.pipe })
  end
  local _ <close> = task.spawn(function()
    task.sleep(SAY_S)
    say()
  end)
  local stream, reason, code
  for attempt = 1, ATTEMPTS do
    if attempt > 1 then task.sleep(AGAIN_S * attempt) end
    stream, reason, code = connect(node, m, m.pipe, "answerer")
    if not stream then return nil, reason, code end
    say()
    stream, reason, code = node:admit(stream, m)
    if stream or code ~= "ECANCELED" then break end
  end
  return stream, reason, code
end

-- The peer's part: comes to the dialer's relay, or offers one of its own.
local function answer(node, m)
  if m.relayed and m.udp then return answer_udp(node, m) end
  if m.relayed then return answer_by_theirs(node, m) end
  return answer_by_ours(node, m)
end

local function is_endpoint(value)
  return field.text(64)(value) and endpoint.parse(value) ~= nil
end

local FIELDS = { relayed = field.optional(is_endpoint), udp = field.optional(field.flag) }

relay.messages = {
  TURN_REQUEST = { fields = FIELDS, reply = "TURN_RESPONSE", answer = answer, timeout = ANSWER_S },
  TURN_RESPONSE = { fields = FIELDS },
}

return relay
