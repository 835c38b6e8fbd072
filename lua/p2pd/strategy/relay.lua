--- Relay: both meet at a TURN server. One side allocates a TCP relay there (RFC 6062) and permits the other,
-- which connects to the relayed address by plain TCP and needs no credentials. The dialer allocates when its
-- settings name a server, else the peer with its own. There are two connections, one for each direction
-- (core.lanes tells why); the allocation lives exactly as long as the stream that they make.
-- @module p2pd.strategy.relay
local core = require "p2pd.core"
local handshake = require "p2pd.handshake"
local message = require "p2pd.message"
local task = require "p2pd.task"
local turn = require "p2pd.turn"

local relay = {}

relay.whole = true -- one relay serves every pair
relay.request = "TURN_REQUEST"
relay.answer_timeout = 15 -- seconds

local ALLOCATE_S = 8   -- seconds for an allocation
local CONNECT_S = 8    -- for the connection to a relayed address
local REPEAT_S = 1     -- until an answer is said again, then twice as long
local SAY_S = 0.3      -- for a connection that is refused: then that is the answer
local ATTEMPTS = 3     -- to come to a relay
local AGAIN_S = 0.1    -- between them, and more each time
local ACCEPTORS = 4    -- connections to our relayed address that are taken at once
local STRANGERS_MAX = 8 -- connections to our relayed address that prove themselves at once

-- Where nobody's relay is, and where only a neighbour's can be.
local NOWHERE = { unspecified = true, multicast = true, broadcast = true, ["link-local"] = true }
local INNER = { private = true, shared = true }

--- Relays cost somebody money: only who has a server of his own dials so unasked.
function relay.is_usual(settings)
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

-- -- the two ends of a relayed stream

-- The allocation ends with the stream, and the stream with the allocation.
local function tie(allocation, ending)
  task.spawn(function()
    ending:wait()
    allocation:close()
  end)
  task.spawn(function()
    local reason, code = allocation:wait()
    if code ~= "EBADF" then core.log.write("warn", reason) end
    ending:fail()
  end)
end

-- What comes to a relayed address of ours: lanes, until two make a stream that `verify` lets through.
local Reception = {}
Reception.__index = Reception

function Reception:__close()
  self.children:cancel()
  for _, stream in pairs(self.lanes) do stream:close() end
  if self.stream then self.stream:close() end
end

local function try(self, stream)
  local ending, reason, code = core.lanes.join(stream.up, stream.down)
  if ending then
    local verified
    verified, reason, code = self.verify(stream.up)
    if verified and not self.stream then
      self.stream, self.ending = verified, ending
      return self.changed:signal()
    end
    if verified then return verified:close() end
  end
  if code == "ECANCELED" then
    self.failure = { reason, code }
    return self.changed:signal()
  end
  core.log.write("info", "a connection to the relayed address was turned away: " .. tostring(reason))
end

-- Two lanes of ours are a stream.
local function take_lane(self, stream)
  local held <close> = task.hold(stream)
  stream:settimeout(handshake.TIMEOUT)
  local direction, pipe_id = handshake.receive_lane(stream)
  if not direction or pipe_id ~= self.pipe_id then return end
  stream:settimeout()
  if self.lanes[direction] then self.lanes[direction]:close() end
  self.lanes[direction] = held:release()
  local pair = self.lanes
  if not (pair.up and pair.down) then return end
  self.lanes = {}
  local both <close> = task.hold(pair.up, pair.down)
  try(self, pair)
  if self.stream == pair.up then both:release() end
end

local function accept_lanes(self, allocation)
  while true do
    local stream, reason, code = allocation:accept()
    if stream and self.busy < STRANGERS_MAX then
      self.busy = self.busy + 1
      self.children:detach(function()
        take_lane(self, stream)
        self.busy = self.busy - 1
      end)
    elseif stream then
      stream:abort()
    elseif allocation.failure then
      self.failure = { reason, code }
      return self.changed:signal()
    end
  end
end

local function receive(allocation, pipe_id, verify)
  local self <close> = setmetatable({ pipe_id = pipe_id, verify = verify, lanes = {}, busy = 0,
    children = task.group(), changed = task.condition() }, Reception)
  for _ = 1, ACCEPTORS do self.children:spawn(accept_lanes, self, allocation) end
  while not self.stream and not self.failure do self.changed:wait() end
  if not self.stream then return nil, self.failure[1], self.failure[2] end
  tie(allocation, self.ending)
  local stream = self.stream
  self.stream = nil
  return stream
end

-- Both lanes to a relayed address, from one of our addresses.
local function connect_lanes(ip, port, from)
  local function connect() return core.tcp.connect(ip, port, from, CONNECT_S) end
  return task.all(connect, connect)
end

-- A stranger must not have us speak to our own machine, or to somebody's inner network.
local function is_fair(route, ip, class)
  if class == "loopback" then return route.loopback end
  return not INNER[class] or INNER[core.inet.class(route.external or route.nic)]
    or core.inet.same_subnet(ip, route.nic, route.prefix or 24)
end

-- From wherever a route leads there.
local function connect(node, endpoint, pipe_id)
  local ip, port = message.parse_endpoint(endpoint)
  local class, family = core.inet.class(ip)
  if NOWHERE[class] then return nil, ("no relay is at a %s address"):format(class), "EINVAL" end
  local attempts = {}
  for _, route in ipairs(node.routes) do
    if route.family == family and is_fair(route, ip, class) then
      local from = class ~= "loopback" and { ip = route.nic } or nil
      attempts[#attempts + 1] = function() return connect_lanes(ip, port, from) end
    end
  end
  if not attempts[1] then return nil, ("no way to a relay at a %s address"):format(class), "EHOSTUNREACH" end
  local up, down, code = task.race(attempts)
  if not up then return nil, down, code end
  local held <close> = task.hold(up, down)
  local ok, reason
  ok, reason, code = handshake.lane(up, "up", pipe_id)
  if ok then ok, reason, code = handshake.lane(down, "down", pipe_id) end
  if ok then ok, reason, code = core.lanes.join(down, up) end
  if not ok then return nil, reason, code end
  held:release()
  return down
end

-- -- the dialer

-- Asks the peer; what it answers, or nil, reason, code.
local function request(dial, relayed)
  local left = math.max(0, dial.deadline - core.clock.monotonic())
  return dial.node.signal:request(dial.peer, "TURN_REQUEST", { pipe = dial.pipe_id, relayed = relayed }, left)
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
  allocation:prepare(2)
  local stream, reason, code = first_of(children, {
    function() return receive(allocation, dial.pipe_id, function(come) return dial:secure(come) end) end,
    function()
      local ok, why, errno = permit(allocation, dial.peer, family)
      if not ok then return nil, why, errno end
    end,
    function()
      local answer, why, errno = request(dial, message.format_endpoint(allocation.ip, allocation.port))
      if not answer then return nil, why, errno end
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
  stream, reason, code = connect(dial.node, answer.relayed, dial.pipe_id)
  if not stream then return nil, reason, code end
  return dial:secure(stream)
end

local function allocate(node, peer)
  local family = common_family(node, peer)
  if not family then return nil, "no address family in common", "EAFNOSUPPORT" end
  local allocation, reason, code = turn.allocate_any(node.settings.turn or {},
    { relay = "tcp", family = family == "ipv6" and family or nil, timeout = ALLOCATE_S,
      permit = addresses_of(peer, family) })
  if not allocation then return nil, reason, code end
  return allocation, family
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
  dial:prepare "relay"
  local allocation, family = dial.prepared.relay:take()
  if allocation then return dial_by_ours(dial, allocation, family) end
  local stream, reason, code = dial_by_theirs(dial)
  if stream then return stream end
  if relay.is_usual(dial.node.settings) then reason = ("%s; %s"):format(family, reason) end
  return nil, reason, code
end

-- -- the answerer

-- Says it again as long as nobody has come: an answer may be lost.
local function keep_saying(node, m, relayed)
  local wait = REPEAT_S
  while true do
    node.signal:reply(m, "TURN_RESPONSE", { pipe = m.pipe, relayed = relayed })
    task.sleep(wait)
    wait = wait * 2
  end
end

local function answer_by_ours(node, m)
  local allocation, family, code = allocate(node, m.sender)
  if not allocation then return nil, family, code end
  local held <close> = task.hold(allocation)
  local reason
  allocation:prepare(2)
  local ok
  ok, reason, code = permit(allocation, m.sender, family)
  if not ok then return nil, reason, code end
  local _ <close> = task.spawn(keep_saying, node, m, message.format_endpoint(allocation.ip, allocation.port))
  local stream
  stream, reason, code = receive(allocation, m.pipe, function(come) return node:admit(come, m) end)
  if stream then held:release() end
  return stream, reason, code
end

-- Comes to the dialer's relay. Its server may cut us off at first, when we come from an address that the
-- dialer learns of by our answer only: so once more, a little later.
local function answer_by_theirs(node, m)
  local said = false
  local function say()
    said = said or node.signal:reply(m, "TURN_RESPONSE", { pipe = m.pipe })
  end
  local _ <close> = task.spawn(function()
    task.sleep(SAY_S)
    say()
  end)
  local stream, reason, code
  for attempt = 1, ATTEMPTS do
    if attempt > 1 then task.sleep(AGAIN_S * attempt) end
    stream, reason, code = connect(node, m.relayed, m.pipe)
    if not stream then return nil, reason, code end
    say()
    stream, reason, code = node:admit(stream, m)
    if stream or code ~= "ECANCELED" then break end
  end
  return stream, reason, code
end

--- The peer's part: comes to the dialer's relay, or offers one of its own.
-- @tparam node node
-- @tparam table m TURN_REQUEST
-- @treturn stream a stream that the dialer has chosen; or nil, message, code
function relay.answer(node, m)
  if m.relayed then return answer_by_theirs(node, m) end
  return answer_by_ours(node, m)
end

return relay
