--- Allocations on TURN servers (RFC 8656, RFC 6062): addresses of a relay that stand for ours.
-- The protocol is core.turn's; here are the sockets, the tasks that keep an allocation alive, and its end.
-- @module p2pd.turn
local core = require "p2pd.core"
local link = require "p2pd.turn.link"
local task = require "p2pd.task"

local turn = {}

turn.TIMEOUT = 10            -- seconds for an allocation
local HOPS_MAX = 3           -- alternate servers that are followed
local NEXT_ADDRESS_S = 0.25  -- RFC 8305 section 5: head start of a server's first address
local QUEUE_MAX = 512        -- datagrams that wait for receive()
local PROBE_S = 5
local SPARE_S = 5            -- for opening a data connection ahead of its use

local Allocation = { __name = "p2pd.turn.allocation" }
Allocation.__index = Allocation

local function describe(server)
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
  self.failure = { reason = ("relay %s: %s"):format(describe(self.server), reason), code = code,
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
  if self.on_data then return self.on_data(data, ip, port) end
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
  self.link:close()
  self.tasks:cancel()
  if self.spare then self.spare:close() end
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
      return nil, ("relay %s: timed out"):format(describe(self.server)), "ETIMEDOUT"
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
    return nil, ("relay %s: %s"):format(describe(self.server), outcome.reason), outcome.code
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

-- A connection for data, opened ahead of its use or now.
local function take_connection(self, deadline)
  local spare = self.spare
  self.spare = nil
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

--- Opens a data connection ahead, so that the next one that is needed costs no round trip.
function Allocation:prepare()
  self.tasks:detach(function()
    local stream = link.connect(self.server, self.address, core.clock.monotonic() + SPARE_S)
    if not stream then return end
    if self.failure or self.spare then return stream:close() end
    self.spare = stream
  end)
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
  return ("allocation on %s (%s)"):format(describe(self.server), state)
end

-- -- making one

local function start(server, address, options, way)
  local self = setmetatable({
    server = server,
    address = address,
    link = way,
    client = core.turn.client {
      user = server.user, pass = server.pass, realm = server.realm,
      reliable = way.reliable, tcp = options.relay == "tcp", family = options.family,
      lifetime = options.lifetime, rto = options.rto, rc = options.rc, rm = options.rm, ti = options.ti,
    },
    outcomes = {}, attempts = {}, queue = {}, joining = {},
    changed = task.condition(),
    kick = task.condition(),
    tasks = task.group(),
  }, Allocation)
  self.tasks:spawn(read, self)
  self.tasks:spawn(keep, self)
  return self
end

-- One address of one server.
local function allocate_at(server, address, options, deadline)
  local way, reason, code = link.open(server, address, deadline)
  if not way then return nil, ("relay %s: %s"):format(describe(server), reason), code end
  local held <close> = task.hold(start(server, address, options, way))
  local self = held[1]
  local ok, number
  ok, reason, code, number = await(self, deadline, function() return self.ip end)
  if ok then return held:release() end
  return nil, reason, code, { number = number, redirected = self.redirected }
end

-- The same, but once more from another port when the server knows this one from former times.
local function allocate_twice(server, address, options, deadline)
  local allocation, reason, code, more = allocate_at(server, address, options, deadline)
  if allocation or not more or more.number ~= 437 then return allocation, reason, code, more end
  return allocate_at(server, address, options, deadline)
end

local function follow(server, address, options, deadline)
  local asked = {}
  for _ = 0, HOPS_MAX do
    asked[address .. " " .. server.port] = true
    local allocation, reason, code, more = allocate_twice(server, address, options, deadline)
    local other = more and more.redirected
    if allocation or not other then return allocation, reason, code end
    if asked[other.ip .. " " .. other.port] then return nil, reason .. ", again", "ELOOP" end
    address = other.ip
    server = setmetatable({ port = other.port }, { __index = server })
  end
  return nil, ("relay %s: too many alternate servers"):format(describe(server)), "ELOOP"
end

--- Asks a server for a relayed address.
-- @tparam table server an entry of the settings' `turn` list: host, port, transport ("udp", "tcp", "tls"),
-- user, pass, realm, ca
-- @tparam[opt] table options relay ("udp", the default, or "tcp": RFC 6062, which needs a server's transport
-- "tcp" or "tls"), family ("ipv4", "ipv6": of the relayed address), timeout (seconds, 10), lifetime (s)
-- @treturn allocation with ip, port, mapped (our address as the server sees it), lifetime, rtt (s, or nil);
-- to be closed (`<close>`); or nil, message, code ("EACCES": the credentials, "EDQUOT": the quota, ...)
function turn.allocate(server, options)
  options = options or {}
  local deadline = core.clock.monotonic() + (options.timeout or turn.TIMEOUT)
  if options.relay == "tcp" and (server.transport or "udp") == "udp" then
    return nil, ("relay %s: a TCP relay needs TCP to the server"):format(describe(server)),
      "EPROTONOSUPPORT"
  end
  local addresses, reason, code =
    core.inet.resolve(server.host, "any", options.timeout or turn.TIMEOUT)
  if not addresses then return nil, ("relay %s: %s"):format(describe(server), reason), code end
  local attempts = {}
  for i, address in ipairs(addresses) do
    attempts[i] = function()
      task.sleep((i - 1) * NEXT_ADDRESS_S)
      return follow(server, address, options, deadline)
    end
  end
  return task.race(attempts)
end

local function probe(server, relay, timeout)
  local started = core.clock.monotonic()
  local allocation <close>, reason, code = turn.allocate(server, { relay = relay, timeout = timeout })
  if not allocation then return { ok = false, reason = reason, code = code } end
  return { ok = true, rtt = allocation.rtt, seconds = core.clock.monotonic() - started, ip = allocation.ip }
end

--- What a server can do for us: allocates in each way and gives it back.
-- @tparam table server an entry of the settings' `turn` list
-- @tparam[opt=5] number timeout seconds
-- @treturn table `udp` and `tcp` (RFC 6062): for each kind of relay ok; rtt of one exchange and seconds until
-- the allocation stood, ip (the relayed address); or reason and code
function turn.probe(server, timeout)
  local result = {}
  local fns = {}
  for i, relay in ipairs { "udp", "tcp" } do
    fns[i] = function()
      result[relay] = probe(server, relay, timeout or PROBE_S)
      return true
    end
  end
  task.all(fns)
  return result
end

return turn
