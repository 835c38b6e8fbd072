--- Several STUN transactions at once over one datagram socket, each with its own timer (RFC 8489 section
-- 6.2.1), answer, and rule for the sources from which that may come. (p2pd.stun takes the first good answer
-- of several servers.)
-- @module p2pd.stun.exchange
local core = require "p2pd.core"
local deadline = require "p2pd.deadline"
local stun = require "p2pd.stun"
local task = require "p2pd.task"

local exchange = {}

local ERROR_PAUSE = 0.01 -- seconds, after an error of the socket that says nothing about anybody
local LAST_LOOK = 0.001  -- seconds: what has come already, while nobody had time to read it, still counts
local PASSING = { EAGAIN = true, ENOBUFS = true }

local methods = {}
local Exchange = { __name = "p2pd.stun.exchange", __index = methods }

local function finish(ask, message, ...)
  ask.result = table.pack(message, ...)
  ask.changed:signal()
end

-- Is it the answer that this ask may have from there? An answer from the very address that was to be changed
-- shows that the server does not know CHANGE-REQUEST.
local function offer(self, ask, message, data, ip, port)
  if ask.accept then
    local ok, reason, code = ask.accept(ip, port)
    if not ok then
      if reason then finish(ask, nil, reason, code) end
      return
    end
  elseif ip ~= ask.ip or port ~= ask.port then
    return
  end
  if not ask.transaction:feed(data) then return end
  self.asks[message.id] = nil
  local fault, code = stun.find_fault(message)
  if fault then return finish(ask, nil, fault, code) end
  finish(ask, message, core.clock.monotonic() - ask.sent, ip, port)
end

local function receive(self, data, ip, port)
  local message = core.stun.decode(data)
  if not message then return end
  if message.class == "request" then
    local fn = self.expected[message.id]
    return fn and fn(ip, port)
  end
  local ask = self.asks[message.id]
  if ask then offer(self, ask, message, data, ip, port) end
end

local function receive_error(self, reason, code, ip, port)
  for _, ask in pairs(self.asks) do
    if ask.ip == ip and ask.port == port then
      ask.reason, ask.code = reason, code
      if stun.HARD[code] then finish(ask, nil, reason, code) end
    end
  end
end

local function pump(self)
  while true do
    local data, ip, port, peer_ip, peer_port = self.socket:recvfrom()
    if data then
      receive(self, data, ip, port)
    elseif port == "EBADF" then
      return
    elseif peer_ip then
      receive_error(self, ip, port, peer_ip, peer_port)
    else
      task.sleep(ERROR_PAUSE)
    end
  end
end

--- Binds a socket for requests; waits for nothing. To be closed.
-- @tparam table options `ip`, `port`, `interface` as for `core.udp.bind`
-- @treturn[1] exchange `ip`, `port`: what it is bound to
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code
function exchange.open(options)
  local socket, reason, code = core.udp.bind(options)
  if not socket then return nil, reason, code end
  local self = setmetatable({ socket = socket, asks = {}, expected = {}, tasks = task.group() }, Exchange)
  self.ip, self.port = socket:getsockname()
  self.tasks:spawn(pump, self)
  return self
end

local function send(self, ask, request)
  local ip, port, code = self.socket:sendto(request, ask.target.ip, ask.target.port)
  if ip then
    ask.ip, ask.port = ip, port
    ask.sent = ask.sent or core.clock.monotonic()
  elseif not PASSING[code] then
    finish(ask, nil, port, code)
  end
end

local function advance(self, ask)
  local action, request = ask.transaction:poll(core.clock.monotonic())
  if action == "send" then send(self, ask, request) end
  if action ~= "failed" then return end
  ask.changed:wait(LAST_LOOK)
  if not ask.result then finish(ask, nil, ask.reason or "timed out", ask.code or "ETIMEDOUT") end
end

--- Asks and waits for the answer. Several tasks may ask at once.
-- @tparam table target `ip`, `port`
-- @tparam[opt] table options `rto`, `rc`, `rm` (the timer), `change` (RFC 5780), `accept` (function(ip,
-- port): whether an answer from there counts; false with a reason and a code ends the wait; without it an
-- answer must come from the target), `on_id` (function(id), called before the request is sent)
-- @treturn[1] table the answer, as `core.stun.decode` gives it
-- @treturn[1] number seconds since the request was first sent
-- @treturn[1] string where it came from
-- @treturn[1] integer its port
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code: "ETIMEDOUT", "ECONNREFUSED", "EPROTO" for an error response, ...
function methods:ask(target, options)
  options = options or {}
  local request, id = core.stun.encode { change = options.change }
  local ask = {
    target = target, accept = options.accept, changed = task.condition(),
    transaction = core.stun.transaction(request, options),
  }
  self.asks[id] = ask
  local _ <close> = setmetatable({}, { __close = function() self.asks[id] = nil end })
  if options.on_id then options.on_id(id) end
  repeat
    advance(self, ask)
    if not ask.result then ask.changed:wait(deadline.at(ask.transaction:due()):left()) end
  until ask.result
  return table.unpack(ask.result, 1, ask.result.n)
end

--- Calls fn(ip, port) for each request with that id that comes in: one of ours, that a NAT sent back to us.
function methods:expect(id, fn)
  self.expected[id] = fn
end

--- Closes the socket; whoever still asks is told so.
function methods:close()
  self.tasks:cancel()
  self.socket:close()
  for _, ask in pairs(self.asks) do finish(ask, nil, "the socket is closed", "EBADF") end
end

Exchange.__close = methods.close

return exchange
