--- STUN servers that say what a script tells them, on four endpoints of loopback as RFC 5780 has them: for
-- what no real server does. A script that answers as if a NAT were in between makes any NAT.
local core = require "p2pd.core"
local scratch = require "p2pd.lab.scratch"
local task = require "p2pd.task"

local stuns = {}

local Server = { __name = "spec.stuns" }
Server.__index = Server

local function success(request, mapped, other)
  return (core.stun.encode { class = "success", id = request.id, mapped = mapped, other = other })
end

stuns.success = success

-- Which socket an answer comes from: the one that was asked, or the one that CHANGE-REQUEST names. A NAT
-- lets it in, or does not.
local function sender(self, at, request)
  local change = request.change
  if not change or self.ignores_change then return self.sockets[at.key] end
  local allowed = self.filter == "none" or self.filter == "address" and not change.ip
  if not allowed then return nil end
  local ip = change.ip and self.ips[2] or self.ips[1]
  return self.sockets[ip .. " " .. (change.port and self.ports[2] or self.ports[1])]
end

local function answer_udp(self, at, data, ip, port)
  local request = core.stun.decode(data)
  if not request or request.class ~= "request" then return end
  self.asked = self.asked + 1
  if self.reply and self:reply(at, request, ip, port) then return end
  local mapped = self.mapped("udp", port, at, self, ip)
  local socket = mapped and sender(self, at, request)
  if socket then socket:sendto(success(request, mapped, self.other), ip, port) end
end

local function serve_udp(self, at, socket)
  while true do
    local data, ip, port = socket:recvfrom()
    if data then answer_udp(self, at, data, ip, port) elseif port == "EBADF" then return end
  end
end

local function answer_tcp(self, stream, mapped)
  local held <close> = stream
  local head = stream:read(20)
  local request = head and #head == 20 and core.stun.decode(head)
  if not request or not mapped then return stream:read(1) end
  held:write(success(request, mapped, self.other))
  held:read(1)
end

local function serve_tcp(self, at, listener)
  while true do
    local stream, ip, port = listener:accept()
    if not stream then return end
    self.connections = self.connections + 1
    local mapped = self.mapped("tcp", port, at, self, ip) -- in the order of the connections
    self.tasks:detach(answer_tcp, self, stream, mapped)
  end
end

local function open_endpoint(self, ip, port)
  local at = { ip = ip, port = port, key = ip .. " " .. port }
  local socket = assert(core.udp.bind { ip = ip, port = port })
  self.sockets[at.key] = socket
  self.tasks:spawn(serve_udp, self, at, socket)
  if not self.tcp then return end
  local listener = assert(core.tcp.listen { ip = ip, port = port })
  table.insert(self.listeners, listener)
  self.tasks:spawn(serve_tcp, self, at, listener)
end

--- Opens one; to be closed.
-- @tparam table script `mapped` (function("udp" or "tcp", local port, endpoint { ip, port }, server, local
-- address): the address to tell, or nil to say nothing), `filter` ("none", "address", "port"), `tcp`
-- (false: none), `behaviour` (false: no OTHER-ADDRESS), `other` (instead of the right one),
-- `ignores_change`, `reply` (function(server, endpoint, request, ip, port): true when it has answered UDP
-- itself), `net` (a number: the server's addresses are 127.0.NET.1 and .2)
-- @treturn table `entry` (as in the settings), `asked`, `connections`: counts
function stuns.open(script)
  local net = script.net or 1
  local self = setmetatable({
    ips = { ("127.0.%d.1"):format(net), ("127.0.%d.2"):format(net) },
    ports = { scratch.free_port(), scratch.free_port() },
    sockets = {}, listeners = {}, tasks = task.group(), asked = 0, connections = 0,
    filter = "port", tcp = true,
  }, Server)
  for key, value in pairs(script) do self[key] = value end
  if self.behaviour ~= false then
    self.other = script.other or { ip = self.ips[2], port = self.ports[2] }
  end
  self.entry = { host = self.ips[1], port = self.ports[1], behaviour = self.behaviour ~= false }
  for _, ip in ipairs(self.ips) do
    for _, port in ipairs(self.ports) do open_endpoint(self, ip, port) end
  end
  return self
end

function Server:close()
  self.tasks:cancel()
  for _, socket in pairs(self.sockets) do socket:close() end
  for _, listener in ipairs(self.listeners) do listener:close() end
end

Server.__close = Server.close

-- -- NATs: functions for `mapped`

local OUTSIDE = "127.200.0.1"

stuns.OUTSIDE = OUTSIDE

local function key_of(dependence, kind, port, at)
  local key = kind .. " " .. port
  if dependence ~= "none" then key = key .. " " .. at.ip end
  if dependence == "port" then key = key .. " " .. at.port end
  return key
end

--- A NAT whose mappings depend on so much of the other end, and whose ports come from a rule.
-- @tparam string dependence "none", "address" or "port"
-- @tparam function allot function(local port, kind): an external port for a new mapping
-- @treturn function
function stuns.nat(dependence, allot)
  local mappings = {}
  return function(kind, port, at)
    local key = key_of(dependence, kind, port, at)
    mappings[key] = mappings[key] or { ip = OUTSIDE, port = allot(port, kind) }
    return mappings[key]
  end
end

--- No NAT.
function stuns.open_internet(_, port)
  return { ip = "127.0.0.1", port = port }
end

--- Rules for @{nat}: each is made anew, with a counter of its own.
stuns.allot = {}

function stuns.allot.equal() return function(port) return port end end

function stuns.allot.preserving() return function(port) return port - 9000 end end

function stuns.allot.independent(step)
  local last = 30000
  return function()
    last = last + step
    return last
  end
end

function stuns.allot.dependent(step) return function(port) return 20000 + port * step % 10007 end end

function stuns.allot.random()
  local taken = {}
  return function()
    local port
    repeat port = math.random(1024, 65535) until not taken[port]
    taken[port] = true
    return port
  end
end

return stuns
