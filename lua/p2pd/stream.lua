--- Streams, for strategies: what connects and carries bytes before there is a pipe.
-- A stream reads and writes as a pipe does (`read`, `recv`, `lines`, `write`, `send`, `receive`, `messages`,
-- `link`, `shutdown`, `close`), and has `peek(n)`, `reset()` (breaks it off), `getsockname()` and
-- `getpeername()`. Whoever holds one closes it, or hands it to @{p2pd.dial:secure} or @{p2pd.node:admit},
-- which then own it.
-- @module p2pd.stream
local core = require "p2pd.core"
local lines = require "p2pd.stream.lines"
local link = require "p2pd.stream.link"
local messages = require "p2pd.stream.messages"
local task = require "p2pd.task"

local stream = {}

--- What streams and pipes can do besides: methods, by name.
-- @local
stream.methods = {
  lines = lines.iterate,
  link = link.run,
  messages = messages.iterate,
  receive = messages.receive,
  send = messages.send,
}

for name, method in pairs(stream.methods) do core.stream.methods[name] = method end

--- Connects by TCP.
-- @function connect
-- @tparam string ip
-- @tparam integer port
-- @tparam[opt] table from `ip`, `port` and `interface` to connect from
-- @tparam[opt] number timeout seconds
-- @treturn stream; or nil, message, code
stream.connect = core.tcp.connect

--- Listens on TCP.
-- @function listen
-- @tparam table options `ip`, `port`
-- @treturn listener with `accept([timeout])`, `getsockname()`, `close()`; or nil, message, code
stream.listen = core.tcp.listen

--- The addresses of a name.
-- @function resolve
-- @tparam string host
-- @tparam string family "ipv4", "ipv6" or "any"
-- @tparam[opt] number timeout seconds
-- @treturn {string,...}; or nil, message, code
stream.resolve = core.inet.resolve

--- A stream over a descriptor of this process, which stays open: 0 is standard input.
-- @tparam integer fd
-- @treturn stream; or nil, message, code
function stream.fd(fd)
  return core.stream.fd(fd, false)
end

local Link = { __name = "p2pd.stream.link" }
Link.__index = Link

--- A stream over something that carries datagrams, may lose them and change their order.
-- @tparam table options `id`: a text that both sides know and nobody else does; `role`: "dialer" or
-- "answerer"; `send`: function of a datagram (a string), true when it has left, or nil, message, code (EBADF:
-- nothing will leave any more, which ends the stream); `mtu`: bytes of the largest datagram (1196; 508 to
-- 2048); `ended`: called when nothing more is to be sent
-- @treturn link `link:deliver(datagram)` takes what has come; `link:open([timeout])` waits for the other side
-- and gives the stream, or nil, message, code. Closing the stream, or the link, ends it.
function stream.over_datagrams(options)
  local carrier, inner = core.datagrams.pair(options.mtu)
  local reliable = core.reliable.new { carrier = carrier, id = options.id, role = options.role,
    mtu = options.mtu }
  local self = setmetatable({ inner = inner, reliable = reliable }, Link)
  task.spawn(function()
    repeat
      local datagram = inner:receive()
      local is_over = not datagram or select(3, options.send(datagram)) == "EBADF"
    until is_over
    inner:close()
    if options.ended then options.ended() end
  end)
  return self
end

--- Takes a datagram that has come.
function Link:deliver(datagram)
  self.inner:send(datagram)
end

--- Waits until the other side has shown that it hears us.
-- @tparam[opt] number timeout seconds
-- @treturn stream; or nil, message, code
function Link:open(timeout)
  local ok, reason, code = self.reliable:open(timeout)
  if not ok then
    self:close()
    return nil, reason, code
  end
  return self.reliable:stream()
end

--- Gives it up. What has become a stream is the stream's.
function Link:close()
  self.reliable:close()
end

Link.__close = Link.close

return stream
