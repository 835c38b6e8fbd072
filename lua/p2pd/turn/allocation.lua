--- One allocation on a TURN server, and what keeps it alive. p2pd.turn makes them.
-- @classmod p2pd.turn.allocation
local core = require "p2pd.core"
local link = require "p2pd.turn.link"
local task = require "p2pd.task"

local allocation = {}

local QUEUE_MAX = 512 -- datagrams that wait for receive()
local SPARE_S = 5     -- for opening a data connection ahead of its use

local Allocation = { __name = "p2pd.turn.allocation" }
Allocation.__index = Allocation

--- A server, for people.
function allocation.describe(server)
  return ("%s:%d (%s)"):format(server.host, server.port, server.transport or "udp")
end

-- -- what goes out

-- A data connection's packets go on that connection; what cannot be sent shows in the reader.
local function send(self, bytes, connection)
  if connection == 0 then return self.link:send(bytes) end
  local stream = self.joining[connection]
  if stream then stream:write(bytes) end
end

-- Sends what is due; the instant at which there is more to do.
local function flush(self)
  while true do
    local action, bytes, connection = self.client:poll()
    if action == "wait" then return bytes end
    send(self, bytes, connection)
  end
end

-- -- what comes in

-- What a request and its outcome are filed under.
local function key_of(request, ip, port)
  return port and ("%s %s %d"):format(request, ip, port) or ("%s %s"):format(request, ip)
end

local OUTCOMES = {
  permitted = function(e) return key_of("permit", e.ip) end,
  bound = function(e) return key_of("bind", e.ip, e.port) end,
  connected = function(e) return key_of("connect", e.ip, e.port) end,
  joined = function(e) return key_of("join", e.connection) end,
}

local function failed_key(event)
  if event.request == "permit" then return key_of("permit", event.ip) end
  if event.request == "join" then return key_of("join", event.connection) end
  return key_of(event.request, event.ip, event.port)
end

local function fail(self, reason, code, number)
  if self.failure then return end
  self.failure = { reason = ("relay %s: %s"):format(allocation.describe(self.server), reason), code = code,
    number = number }
end

local handlers = {}

function handlers.allocated(self, event)
  self.ip, self.port = event.ip, event.port
  self.mapped = { ip = event.mapped_ip, port = event.mapped_port }
  self.lifetime, self.rtt = event.lifetime, event.rtt
end

function handlers.attempt(self, event)
  table.insert(self.attempts, event)
end

function handlers.failed(self, event)
  if event.request == "allocate" then return fail(self, event.reason, event.code, event.number) end
  self.outcomes[failed_key(event)] = event
end

function handlers.lost(self, event)
  fail(self, event.reason, event.code, event.number)
end

function handlers.redirected(self, event)
  self.redirected = event
  fail(self, ("says to ask %s port %d"):format(event.ip, event.port), "ECONNREFUSED", 300)
end

function handlers.closed(self)
  fail(self, "the allocation is closed", "EBADF")
end

local function dispatch(self)
  local event = self.client:event()
  if not event then return end
  while event do
    if OUTCOMES[event.kind] then
      self.outcomes[OUTCOMES[event.kind](event)] = event
    else
      handlers[event.kind](self, event)
    end
    event = self.client:event()
  end
  self.changed:broadcast()
  if self.failure then self.kick:signal() end
end

local function take_data(self, data, ip, port)
  local pump = self.pumps[key_of("pump", ip, port)]
  if pump then return pump:send(data) end
  if #self.queue < QUEUE_MAX then table.insert(self.queue, { data, ip, port }) end
  self.changed:broadcast()
end

local function read(self)
  while not self.failure do
    local bytes, reason, code = self.link:receive()
    local data, ip, port
    if bytes then data, ip, port = self.client:feed(bytes) end
    if data then
      take_data(self, data, ip, port)
    elseif not bytes or (data == nil and self.link.reliable) then
      fail(self, reason or ip, code or port)
    end
    self.kick:signal()
    dispatch(self)
  end
end

-- The timer of the machine. When the allocation has ended it takes everything down.
local function keep(self)
  while not self.failure do
    local due = flush(self)
    dispatch(self)
    if self.failure then break end
    self.kick:wait(due < math.huge and math.max(0, due - core.clock.monotonic()) or nil)
  end
  self.link:close(self.failure.reason)
  self.tasks:cancel()
  for _, ours in pairs(self.pumps) do ours:close(self.failure.reason) end
  for _, spare in ipairs(self.spares) do spare:close() end
  self.changed:broadcast()
end

-- -- waiting

local function failure_of(self)
  return nil, self.failure.reason, self.failure.code, self.failure.number
end

-- Waits until `find` returns something.
local function await(self, deadline, find)
  while true do
    local found = find()
    if found then return found end
    if self.failure then return failure_of(self) end
    local left = math.max(0, deadline - core.clock.monotonic())
    if not self.changed:wait(left < math.huge and left or nil) and left == 0 then
      return nil, ("relay %s: timed out"):format(allocation.describe(self.server)), "ETIMEDOUT"
    end
  end
end

local function to_deadline(timeout)
  return core.clock.monotonic() + (timeout or math.huge)
end

-- Starts a request and waits for what comes of it.
local function ask(self, deadline, request, ...)
  if self.failure then return failure_of(self) end
  local key = key_of(request, ...)
  self.outcomes[key] = nil
  local ok, reason, code = self.client[request](self.client, ...)
  if not ok then return nil, reason, code end
  flush(self)
  self.kick:signal()
  dispatch(self)
  local outcome
  outcome, reason, code = await(self, deadline, function() return self.outcomes[key] end)
  if not outcome then return nil, reason, code end
  if outcome.kind == "failed" then
    return nil, ("relay %s: %s"):format(allocation.describe(self.server), outcome.reason), outcome.code
  end
  return outcome
end

-- -- the allocation

--- Lets an address reach the relayed one. The permission is kept while the allocation lives.
-- @tparam string ip
-- @tparam[opt] number timeout seconds
-- @treturn boolean true; or nil, message, code
function Allocation:permit(ip, timeout)
  local known, reason = core.inet.parse(ip)
  if not known then return nil, reason, "EINVAL" end
  local ok, message, code = ask(self, to_deadline(timeout), "permit", known.ip)
  return ok and true, message, code
end

--- Binds a channel to a peer, so that its datagrams cost 4 bytes more instead of 36.
-- @tparam string ip
-- @tparam integer port
-- @tparam[opt] number timeout seconds
-- @treturn boolean true; or nil, message, code
function Allocation:bind(ip, port, timeout)
  local known, reason = core.inet.parse(ip)
  if not known then return nil, reason, "EINVAL" end
  local ok, message, code = ask(self, to_deadline(timeout), "bind", known.ip, port)
  return ok and true, message, code
end

--- Sends a datagram to a permitted peer. Never waits on UDP.
-- @tparam string data
-- @tparam string ip
-- @tparam integer port
-- @treturn boolean true; or nil, message, code
function Allocation:send(data, ip, port)
  if self.failure then return failure_of(self) end
  local bytes, reason, code = self.client:wrap(data, ip, port)
  if not bytes then return nil, reason, code end
  return self.link:send(bytes)
end

--- Waits for a datagram from a permitted peer.
-- @tparam[opt] number timeout seconds
-- @treturn string data, and the peer's IP address and port; or nil, message, code
function Allocation:receive(timeout)
  local got, reason, code = await(self, to_deadline(timeout), function()
    return table.remove(self.queue, 1)
  end)
  if got then return table.unpack(got, 1, 3) end
  return nil, reason, code
end

-- Over a stream to the server a peer's datagrams pass through a task.
local function pump(self, ip, port)
  local key = key_of("pump", ip, port)
  local theirs, ours = core.datagrams.pair()
  self.pumps[key] = ours
  self.tasks:detach(function()
    local data = ours:receive()
    while data and self:send(data, ip, port) do data = ours:receive() end
    ours:close()
    self.pumps[key] = nil
    self.changed:broadcast()
  end)
  return theirs
end

--- What carries datagrams to one peer and back, see core.datagrams.
-- @tparam string ip
-- @tparam integer port
-- @tparam[opt] number timeout seconds
-- @treturn p2pd.datagrams; or nil, message, code
function Allocation:carrier(ip, port, timeout)
  local ok, reason, code = self:bind(ip, port, timeout)
  if not ok then return nil, reason, code end
  if not self.link.channel then return pump(self, ip, port) end
  return self.link:channel((">I2"):unpack(self.client:wrap("", ip, port)))
end

--- Waits until no carrier is in use any more, or the allocation has ended.
function Allocation:idle()
  if self.link.idle then return self.link:idle() end
  return await(self, math.huge, function() return next(self.pumps) == nil end)
end

-- A connection for data, opened ahead of its use or now.
local function take_connection(self, deadline)
  local spare = table.remove(self.spares)
  if spare then return spare end
  return link.connect(self.server, self.address, deadline)
end

local Joining = {}
function Joining:__close()
  self.allocation.joining[self.connection] = nil
end

-- Makes a new connection to the server the one of `connection`: what follows on it is the peer's.
local function join(self, connection, deadline)
  local stream, reason, code = take_connection(self, deadline)
  if not stream then return nil, reason, code end
  local held <close> = task.hold(stream)
  self.joining[connection] = stream
  local _ <close> = setmetatable({ allocation = self, connection = connection }, Joining)
  local reader <close> = task.spawn(function()
    while not self.failure and not self.outcomes[key_of("join", connection)] do
      local bytes, message, errno = link.read_frame(stream)
      if bytes and self.client:feed(bytes, connection) == nil then
        bytes, message, errno = nil, "garbage", "EBADMSG"
      end
      flush(self)
      dispatch(self)
      if not bytes then
        self.outcomes[key_of("join", connection)] = { kind = "failed", reason = message, code = errno }
        self.changed:broadcast()
      end
    end
  end)
  local ok
  ok, reason, code = ask(self, deadline, "join", connection)
  if not ok then return nil, reason, code end
  reader:join()
  return held:release()
end

--- Waits for a permitted peer to connect to the relayed address of a TCP allocation (RFC 6062).
-- @tparam[opt] number timeout seconds
-- @treturn stream the peer's bytes, and its IP address and port; or nil, message, code
function Allocation:accept(timeout)
  local deadline = to_deadline(timeout)
  local attempt, reason, code = await(self, deadline, function()
    return table.remove(self.attempts, 1)
  end)
  if not attempt then return nil, reason, code end
  local stream
  stream, reason, code = join(self, attempt.connection, deadline)
  if not stream then return nil, reason, code end
  return stream, attempt.ip, attempt.port
end

--- Has the server connect to a peer from the relayed address of a TCP allocation (RFC 6062).
-- @tparam string ip
-- @tparam integer port
-- @tparam[opt] number timeout seconds
-- @treturn stream; or nil, message, code
function Allocation:connect(ip, port, timeout)
  local known, message = core.inet.parse(ip)
  if not known then return nil, message, "EINVAL" end
  local deadline = to_deadline(timeout)
  local connected, reason, code = ask(self, deadline, "connect", known.ip, port)
  if not connected then return nil, reason, code end
  return join(self, connected.connection, deadline)
end

--- Opens data connections ahead, so that the next ones that are needed cost no round trip.
-- @tparam integer count
function Allocation:prepare(count)
  for _ = 1, count do
    self.tasks:detach(function()
      local stream = link.connect(self.server, self.address, core.clock.monotonic() + SPARE_S)
      if stream and self.failure then return stream:close() end
      table.insert(self.spares, stream)
    end)
  end
end

--- Whether the server still answers: asks it.
-- @tparam[opt] number timeout seconds
-- @treturn boolean true; or nil, message, code
function Allocation:is_alive(timeout)
  return self:permit(self.ip, timeout)
end

--- Gives the allocation back. Does not wait: the server is told at once, and again in the background until
-- it has answered, for 1.5 s at most.
function Allocation:close()
  if self.closing or self.failure then return end
  self.closing = true
  self.client:close()
  pcall(flush, self)
  self.kick:signal()
end

--- Waits until the server has granted the allocation, or not.
-- @tparam number deadline on the monotonic clock
-- @treturn boolean true; or nil, message, code, and the number of the server's error
function Allocation:ready(deadline)
  local ok, reason, code, number = await(self, deadline, function() return self.ip end)
  return ok and true, reason, code, number
end

--- Waits until the allocation has ended: closed, or lost.
-- @tparam[opt] number timeout seconds
-- @treturn string why, and a code; or nil, "timed out", "ETIMEDOUT"
function Allocation:wait(timeout)
  local _, reason, code = await(self, to_deadline(timeout), function() return false end)
  if self.failure then return self.failure.reason, self.failure.code end
  return nil, reason, code
end

Allocation.__close = Allocation.close

function Allocation:__tostring()
  local state = self.failure and "ended" or self.ip or "asked for"
  return ("allocation on %s (%s)"):format(allocation.describe(self.server), state)
end

-- -- making one

--- Asks for an allocation, over a way to the server that is taken over. It is there once `ip` is set.
-- @tparam table server an entry of the settings' list
-- @tparam string address the server's
-- @tparam table options as for `turn.allocate`
-- @tparam table way see p2pd.turn.link
-- @treturn allocation
function allocation.start(server, address, options, way)
  local self = setmetatable({
    relay = options.relay or "udp",
    server = server,
    address = address,
    link = way,
    client = core.turn.client {
      user = server.user, pass = server.pass, realm = server.realm,
      reliable = way.reliable, tcp = options.relay == "tcp", family = options.family,
      lifetime = options.lifetime, rto = options.rto, rc = options.rc, rm = options.rm, ti = options.ti,
    },
    outcomes = {}, attempts = {}, queue = {}, joining = {}, spares = {}, pumps = {},
    changed = task.condition(),
    kick = task.condition(),
    tasks = task.group(),
  }, Allocation)
  for _, ip in ipairs(options.permit or {}) do self.client:permit(ip) end
  self.tasks:spawn(read, self)
  self.tasks:spawn(keep, self)
  return self
end

return allocation
