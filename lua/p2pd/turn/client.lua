--- The protocol of one allocation at work: core.turn's machine, the transport to the server that it speaks
-- over, and its timer. What an allocation is for its users stands in p2pd.turn.allocation.
-- @classmod p2pd.turn.client
local core = require "p2pd.core"
local deadline = require "p2pd.deadline"
local endpoint = require "p2pd.endpoint"
local task = require "p2pd.task"

local client = {}

local Client = { __name = "p2pd.turn.client" }
Client.__index = Client

--- A server, for people.
-- @tparam table server an entry of the settings' `turn` list
function client.describe(server)
  return ("%s (%s)"):format(endpoint.format(server.host, server.port), server.transport or "udp")
end

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

-- -- the end

--- From now on everything fails, for the reason that comes first.
function Client:fail(reason, code, number)
  if self.failure then return end
  self.failure = { reason = ("relay %s: %s"):format(client.describe(self.server), reason), code = code,
    number = number }
end

--- How it ended.
-- @treturn nil
-- @treturn string message
-- @treturn string code
-- @treturn ?integer the number of the server's error
function Client:failure_of()
  return nil, self.failure.reason, self.failure.code, self.failure.number
end

-- -- what goes out

-- A data connection's packets go on that connection; what cannot be sent shows in the reader.
local function send(self, bytes, connection)
  if connection == 0 then return self.transport:send(bytes) end
  local stream = self.joining[connection]
  if stream then stream:write(bytes) end
end

-- Sends what is due; the instant at which there is more to do.
local function flush(self)
  while true do
    local action, bytes, connection = self.machine:poll()
    if action == "wait" then return bytes end
    send(self, bytes, connection)
  end
end

-- -- what comes in

local handlers = {}

function handlers.allocated(self, event)
  self.on_event(event)
end

handlers.attempt = handlers.allocated

function handlers.failed(self, event)
  if event.request == "allocate" then return self:fail(event.reason, event.code, event.number) end
  self.outcomes[failed_key(event)] = event
end

function handlers.lost(self, event)
  self:fail(event.reason, event.code, event.number)
end

function handlers.redirected(self, event)
  self.redirected = event
  self:fail(("says to ask %s port %d"):format(event.ip, event.port), "ECONNREFUSED", 300)
end

function handlers.closed(self)
  self:fail("the allocation is closed", "EBADF")
end

local function dispatch(self)
  local event = self.machine:event()
  if not event then return end
  while event do
    if OUTCOMES[event.kind] then
      self.outcomes[OUTCOMES[event.kind](event)] = event
    else
      handlers[event.kind](self, event)
    end
    event = self.machine:event()
  end
  self.changed:broadcast()
  if self.failure then self.kick:signal() end
end

local function read(self)
  while not self.failure do
    local bytes, reason, code = self.transport:receive()
    local data, ip, port
    if bytes then data, ip, port = self.machine:feed(bytes) end
    if data then
      self.on_data(data, ip, port)
    elseif not bytes or (data == nil and self.transport.reliable) then
      self:fail(reason or ip, code or port)
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
    self.kick:wait(deadline.at(due):left())
  end
  self.transport:close(self.failure.reason)
  self.tasks:cancel()
  self.on_end(self.failure.reason)
  self.changed:broadcast()
end

-- -- waiting

--- Waits until `find` returns something, or the allocation has ended.
-- @tparam deadline limit
-- @tparam function find looked at whenever something has changed
-- @return what it returned; or nil, message, code, number
function Client:await(limit, find)
  while true do
    local found = find()
    if found then return found end
    if self.failure then return self:failure_of() end
    if limit:has_passed() then
      return nil, ("relay %s: timed out"):format(client.describe(self.server)), "ETIMEDOUT"
    end
    self.changed:wait(limit:left())
  end
end

--- Starts a request and waits for what comes of it.
-- @tparam deadline limit
-- @tparam string request "permit", "bind", "connect" or "join"
-- @param ... its arguments, as the machine takes them
-- @treturn table the event that tells of it; or nil, message, code
function Client:ask(limit, request, ...)
  if self.failure then return self:failure_of() end
  local key = key_of(request, ...)
  self.outcomes[key] = nil
  local ok, reason, code = self.machine[request](self.machine, ...)
  if not ok then return nil, reason, code end
  flush(self)
  self.kick:signal()
  dispatch(self)
  local outcome
  outcome, reason, code = self:await(limit, function() return self.outcomes[key] end)
  if not outcome then return nil, reason, code end
  if outcome.kind == "failed" then
    return nil, ("relay %s: %s"):format(client.describe(self.server), outcome.reason), outcome.code
  end
  return outcome
end

--- Asks the server to make a stream the data connection of a number (RFC 6062 section 4.3); what follows the
-- server's answer on it is the peer's. Waits.
-- @tparam deadline limit
-- @tparam integer connection
-- @tparam stream stream connected to the server
-- @tparam function read_frame reads one frame of a stream
-- @treturn boolean true; or nil, message, code
function Client:join(limit, connection, stream, read_frame)
  local key = key_of("join", connection)
  self.joining[connection] = stream
  local _ <close> = setmetatable({}, { __close = function() self.joining[connection] = nil end })
  local reader <close> = task.spawn(function()
    while not self.failure and not self.outcomes[key] do
      local bytes, message, code = read_frame(stream)
      if bytes and self.machine:feed(bytes, connection) == nil then
        bytes, message, code = nil, "garbage", "EBADMSG"
      end
      flush(self)
      dispatch(self)
      if not bytes then
        self.outcomes[key] = { kind = "failed", reason = message, code = code }
        self.changed:broadcast()
      end
    end
  end)
  local ok, reason, code = self:ask(limit, "join", connection)
  if not ok then return nil, reason, code end
  reader:join()
  return true
end

--- Sends a datagram to a peer. Never waits on UDP.
-- @tparam string data
-- @tparam string ip the peer's address
-- @tparam integer port
-- @treturn boolean true; or nil, message, code
function Client:send(data, ip, port)
  if self.failure then return self:failure_of() end
  local bytes, reason, code = self.machine:wrap(data, ip, port)
  if not bytes then return nil, reason, code end
  return self.transport:send(bytes)
end

--- Gives the allocation back; does not wait.
function Client:close()
  if self.closing or self.failure then return end
  self.closing = true
  self.machine:close()
  pcall(flush, self)
  self.kick:signal()
end

--- Asks for an allocation.
-- @tparam table options server, transport (see p2pd.turn.transport; taken over), machine (options of
-- core.turn.client), permit (IP addresses to let in from the beginning), on_event (function(event):
-- "allocated" and "attempt"), on_data (function(data, ip, port): a peer's datagram), on_end
-- (function(reason))
-- @treturn client
function client.start(options)
  local self = setmetatable({
    server = options.server,
    transport = options.transport,
    on_event = options.on_event, on_data = options.on_data, on_end = options.on_end,
    machine = core.turn.client(options.machine),
    outcomes = {}, joining = {},
    changed = task.condition(),
    kick = task.condition(),
    tasks = task.group(),
  }, Client)
  for _, ip in ipairs(options.permit or {}) do self.machine:permit(ip) end
  self.tasks:spawn(read, self)
  self.tasks:spawn(keep, self)
  return self
end

return client
