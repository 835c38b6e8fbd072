--- What a NAT does, seen from both sides: hosts that say whom they see, and hosts that ask them.
local agent = require "spec.lab.agent"

local probe = {}

probe.PORTS = { 7001, 7002 } -- of a mirror, UDP and TCP

local ANSWER_S = 5
local SILENCE_S = 0.15 -- for what must not arrive: a longer wait proves more, but never fails a sound NAT

local MIRROR = [[
local function mirror_udp(port, any)
  local socket <close> = core.udp.bind { ip = any, port = port }
  if not socket and any == "::" then return end -- this host has no IPv6
  state[port] = state[port] or assert(socket)
  for data, ip, from in function() return socket:recvfrom() end do
    assert(socket:sendto(("%s %d"):format(ip, from), ip, from))
  end
end
local function mirror_tcp(port, any)
  local listener <close> = core.tcp.listen { ip = any, port = port }
  if not listener and any == "::" then return end
  for stream, ip, from in function() return listener:accept() end do
    stream:write(("%s %d\n"):format(ip, from))
    table.insert(state, stream)
  end
end
for _, port in ipairs { ... } do
  for _, any in ipairs { "0.0.0.0", "::" } do
    task.spawn(mirror_udp, port, any)
    task.spawn(mirror_tcp, port, any)
  end
end
task.sleep(0)
return true]]

--- Starts a host that tells everybody his address, over UDP and TCP.
-- @tparam lab l
-- @tparam string host
-- @param ... ports, else PORTS
function probe.mirror(l, host, ...)
  local self = agent.start(l, host)
  self:call(MIRROR, table.unpack(... and { ... } or probe.PORTS))
  return self
end

local SEE_UDP = [[
local port, ip, to, timeout = ...
local socket = state[port] or assert(core.udp.bind { port = port })
state[port] = socket
assert(socket:sendto("who am I?", ip, to))
return (assert(socket:recvfrom(timeout)))]]

local SEE_TCP = [[
local port, ip, to, timeout = ...
local options = { ip = "0.0.0.0", port = port, reuse_port = true }
local stream, reason, code = core.tcp.connect(ip, to, options, timeout)
if not stream then return nil, reason, code end
table.insert(state, stream)
return (assert(stream:read "l"))]]

--- As whom does a mirror see a local port?
-- @tparam agent inside
-- @tparam string protocol "udp" or "tcp"
-- @tparam integer port the local one
-- @tparam string ip of the mirror
-- @tparam integer to its port
-- @treturn string ip
-- @treturn integer port; or nil, message, code for TCP
function probe.see(inside, protocol, port, ip, to)
  local text, reason, code = inside:call(protocol == "udp" and SEE_UDP or SEE_TCP, port, ip, to, ANSWER_S)
  if not text then return nil, reason, code end
  local seen, seen_port = text:match "^(%S+) (%d+)$"
  return seen, math.tointeger(seen_port)
end

local TELL = [[
local from, ip, to, text = ...
local socket = state[from] or assert(core.udp.bind { port = from })
state[from] = socket
assert(socket:sendto(text, ip, to))
return true]]

--- Sends a datagram from a port of a host.
function probe.tell(outside, from, ip, to, text)
  outside:call(TELL, from, ip, to, text)
end

local HEAR = [[
local port, last, timeout = ...
local heard = {}
repeat
  local text = assert(state[port]:recvfrom(timeout))
  heard[#heard + 1] = text
until text == last
return heard]]

--- What a port has heard up to and with a datagram that certainly arrives.
function probe.hear(inside, port, last)
  return inside:call(HEAR, port, last, ANSWER_S)
end

local LISTEN = [[
local port = ...
local listener = assert(core.tcp.listen { ip = "0.0.0.0", port = port, reuse_port = true })
table.insert(state, listener)
task.spawn(function()
  for stream in function() return listener:accept() end do
    stream:write "welcome\n"
    table.insert(state, stream)
  end
end)
return true]]

--- Accepts connections to a port.
function probe.listen(inside, port)
  inside:call(LISTEN, port)
end

local KNOCK = [[
local ip, port, timeout, from = ...
local options = from and { ip = "0.0.0.0", port = from, reuse_port = true }
local stream <close>, reason, code = core.tcp.connect(ip, port, options, timeout)
if not stream then return nil, reason, code end
stream:settimeout(timeout)
return stream:read "l"]]

--- Connects to a port: what it says, or nil, message, code.
function probe.knock(outside, ip, port, from)
  return outside:call(KNOCK, ip, port, SILENCE_S, from)
end

local ASK = [[
local ip, port, timeout = ...
local socket <close> = assert(core.udp.bind { ip = ip:find(":", 1, true) and "::" or nil })
assert(socket:sendto("anybody?", ip, port))
return (socket:recvfrom(timeout))]]

--- Sends a datagram to a port: the answer, or nil.
function probe.ask(outside, ip, port)
  return outside:call(ASK, ip, port, SILENCE_S)
end

local PING = [[
local ip, port, count, timeout = ...
local socket <close> = assert(core.udp.bind {})
local trips, lost = {}, 0
for i = 1, count do
  local started = core.clock.monotonic()
  assert(socket:sendto("ping " .. i, ip, port))
  if socket:recvfrom(timeout) then
    trips[#trips + 1] = core.clock.monotonic() - started
  else
    lost = lost + 1
  end
end
return trips, lost]]

--- Round trips to a mirror over UDP.
-- @treturn {number,...} seconds, sorted
-- @treturn integer how many datagrams were lost
function probe.ping(inside, ip, count, timeout)
  local trips, lost = inside:call(PING, ip, probe.PORTS[1], count, timeout or ANSWER_S)
  table.sort(trips)
  return trips, lost
end

local OPEN = [[
local port = ...
state[port] = assert(core.udp.bind { port = port })
return true]]

local TELL_MANY = [[
local ip, to, count = ...
state.burst = state.burst or assert(core.udp.bind {})
for i = 1, count do assert(state.burst:sendto(tostring(i), ip, to)) end
return true]]

--- Sends numbered datagrams from one port, all at once.
function probe.tell_many(from, ip, to, count)
  from:call(TELL_MANY, ip, to, count)
end

--- Opens a port to @{hear} by.
function probe.open(inside, port)
  inside:call(OPEN, port)
end

return probe
