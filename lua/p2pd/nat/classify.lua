--- Observes the NAT in front of one address with STUN servers, all at once: RFC 5780's tests over UDP, bursts
-- of TCP connections for the allotment of ports. It takes about six round trips, and never waits for a dead
-- server once others have answered.
-- @module p2pd.nat.classify
local behaviour = require "p2pd.nat.behaviour"
local burst = require "p2pd.nat.burst"
local core = require "p2pd.core"
local evidence = require "p2pd.nat.evidence"
local exchange = require "p2pd.stun.exchange"
local nat = require "p2pd.nat"
local task = require "p2pd.task"

local classify = {}

classify.TIMEOUT = 0.8         -- seconds for all of it, unless all servers are far away

local ROUND_TRIPS = 10         -- that it may take, with a few losses
local TIMEOUT_MAX = 5          -- seconds, however far they are

local GRACE = 0.05             -- seconds at least that others have after the first one that answered
local TCP_WAITS = { 0, 0.15, 0.45 } -- seconds until a connection is tried, and tried again
local TCP_DEAD = 0.6           -- seconds after which no TCP server answers any more
local LAST_REQUEST = behaviour.WAITS[#behaviour.WAITS] -- seconds until a silent server has got all of them
local SERIES = 2                -- servers that see bursts; a third one when they disagree
local MAPPING_TRIES = 3

-- What the kernel says when nothing can leave from an address, or when it is not there any more.
local NO_WAY_OUT = { ENETUNREACH = true, ENETDOWN = true, ENODEV = true, EADDRNOTAVAIL = true }

local Observation = {}
Observation.__index = Observation

local function now()
  return core.clock.monotonic()
end

function Observation:left()
  return math.max(0, self.deadline - now())
end

-- Runs fn beside the others; `pending[kind]` counts those that have not ended.
function Observation:start(kind, fn, ...)
  local pending = self.pending
  pending[kind] = pending[kind] + 1
  self.children:spawn(function(...)
    local _ <close> = setmetatable({}, { __close = function()
      pending[kind] = pending[kind] - 1
      self.changed:broadcast()
    end })
    fn(self, ...)
  end, ...)
end

function Observation:excuse(entry, over, reason, code)
  self.has_way_out = self.has_way_out or not NO_WAY_OUT[code]
  self.reasons[#self.reasons + 1] = ("%s:%d by %s: %s"):format(entry.host, entry.port, over, reason)
end

-- Is it past `instant`? If not, the one who waits is to look again then.
function Observation:is_past(instant)
  if now() >= instant then return true end
  self.alarm = math.min(self.alarm, instant)
  return false
end

local function find_hairpin(self, server)
  self.hairpin = behaviour.hairpin(self.socket, server.mapped, server.rtt, self.options)
end

local function is_translated(self, server)
  return server.mapped.ip ~= self.ip or server.mapped.port ~= server.port
end

-- Servers that are far away get the time that they need.
local function extend(self, rtt)
  self.deadline = math.max(self.deadline, self.started + math.min(ROUND_TRIPS * rtt, TIMEOUT_MAX))
end

local function ask_udp(self, entry, ips)
  local server, reason, code = behaviour.greet(self.socket, entry, ips, self.family)
  if not server then
    return self:excuse(entry, "UDP", reason, code)
  end
  table.insert(self.udp, server)
  if not self.first_udp then
    self.on_external(server.mapped.ip)
    self.first_udp = { at = now(), rtt = server.rtt }
    extend(self, server.rtt)
    if is_translated(self, server) then
      self:start("hairpin", find_hairpin, server)
    end
  end
  if server.is_capable then self.is_capable = true end
  self:start("examine", function() behaviour.examine(self.socket, server, self.options) end)
end

-- -- TCP

-- All the endpoints that may show whether a mapping depends on them.
local function mapping_targets(self)
  local targets, taken = {}, {}
  local function add(ip, port)
    if taken[ip .. " " .. port] or #targets == 6 then return end
    taken[ip .. " " .. port] = true
    targets[#targets + 1] = { ip = ip, port = port }
  end
  for _, server in ipairs(self.tcp) do
    local other = server.other
    add(server.ip, server.server_port)
    if other then
      add(other.ip, server.server_port)
      add(server.ip, other.port)
      add(other.ip, other.port)
    end
  end
  return targets
end

local function find_tcp_mapping(self, server)
  for _ = 1, MAPPING_TRIES do
    local targets = mapping_targets(self)
    local seen = burst.shared(self.options, targets, server.rtt, function() return self:left() end)
    if #seen > #self.tcp_mapping then self.tcp_mapping = seen end
    if nat.is_conclusive(seen) or #seen == #targets or self:left() == 0 then return end
  end
end

local function run_series(self, send, transport, server)
  local series = { name = server.name, transport = transport }
  self.series_started = self.series_started + 1
  self:start("probes", function()
    series.bursts = burst.run(send, self.options, { ip = server.ip, port = server.server_port }, server.rtt,
      function() return self:left() end)
    table.insert(self.probes, series)
  end)
end

-- The server that answers by TCP shows the rule of ports; two that agree are enough.
local function use_tcp(self, server)
  table.insert(self.tcp, server)
  if not self.first_tcp then
    self.first_tcp = { at = now(), rtt = server.rtt }
    extend(self, server.rtt)
  end
  if not is_translated(self, server) then return end
  if self.series_started < SERIES then run_series(self, burst.tcp, "tcp", server) end
  if not self.has_mapping_test then
    self.has_mapping_test = true
    self:start("probes", find_tcp_mapping, server)
  end
end

-- A lost SYN would be repeated after a second only, so we try again, from another port, much sooner.
local function ask_tcp(self, entry, ips)
  local target = { ip = ips[1], port = entry.port }
  local options = { ip = self.ip, interface = self.options.interface,
    connected = function(rtt) extend(self, rtt) end }
  local probe, reason, code = behaviour.insist(TCP_WAITS, function()
    local found, stream, errno = burst.tcp(options, target, nil, TIMEOUT_MAX)
    if not found then return nil, stream, errno end
    stream:abort()
    return found
  end)
  if not probe then return self:excuse(entry, "TCP", reason, code) end
  if not behaviour.is_usable(probe.ip, self.family) then
    return self:excuse(entry, "TCP", "says that our address is " .. probe.ip)
  end
  use_tcp(self, { name = entry.host .. ":" .. entry.port, ip = target.ip, server_port = entry.port,
    port = probe.port, rtt = probe.rtt, mapped = { ip = probe.ip, port = probe.external },
    other = behaviour.other_address(probe.other, target, self.family) })
end

-- -- when is it enough?

local function is_udp_settled(self)
  local first, pending = self.first_udp, self.pending
  if pending.udp == 0 then return pending.examine == 0 end
  if not first then
    local tcp = self.first_tcp
    return tcp and self:is_past(self.started + LAST_REQUEST + math.max(2 * GRACE, 2 * tcp.rtt))
  end
  if pending.examine > 0 or not self:is_past(first.at + math.max(GRACE, first.rtt)) then return false end
  if self.is_capable or not self.may_be_capable then return true end
  return self:is_past(self.started + behaviour.WAITS[2] + math.max(2 * GRACE, 2 * first.rtt))
end

-- When nobody answers by TCP, bursts over UDP show at least what the NAT does with those.
local function fall_back(self)
  local server = self.udp[1]
  if not server or self.series_started > 0 then return true end
  if not is_translated(self, server) then return true end
  run_series(self, burst.udp, "udp", server)
  return false
end

local function has_disagreement(self)
  if #self.probes ~= SERIES or self.series_started > SERIES then return false end
  return evidence.delta_of(self.probes[1]) ~= evidence.delta_of(self.probes[2])
end

local function is_tcp_settled(self)
  local first, pending = self.first_tcp, self.pending
  if pending.probes > 0 then return false end
  if has_disagreement(self) and self.tcp[SERIES + 1] then
    run_series(self, burst.tcp, "tcp", self.tcp[SERIES + 1])
    return false
  end
  if first then return pending.tcp == 0 or self:is_past(first.at + math.max(GRACE, 2 * first.rtt)) end
  if pending.tcp == 0 then return fall_back(self) end
  return self.first_udp and self:is_past(self.started + math.max(TCP_DEAD, 6 * self.first_udp.rtt))
    and fall_back(self)
end

local function is_settled(self)
  local udp, tcp = is_udp_settled(self), is_tcp_settled(self)
  return udp and tcp and self.pending.hairpin == 0
end

local function observe(self)
  repeat
    self.alarm = self.deadline
    if is_settled(self) then return end
    self.changed:wait(math.max(0, self.alarm - now()))
  until self:left() == 0
end

local function ask_servers(self, servers, resolve)
  for _, entry in ipairs(servers) do
    self.may_be_capable = self.may_be_capable or entry.behaviour
    local function start(ask)
      return function()
        local ips, reason, code = resolve(entry.host, self.family)
        if ips then return ask(self, entry, ips) end
        if code ~= "ENOENT" then self:excuse(entry, "name", reason, code) end
      end
    end
    self:start("udp", start(ask_udp))
    self:start("tcp", start(ask_tcp))
  end
end

--- Classifies what is between an address and the outside. Waits.
-- @tparam table options `ip` (the NIC's address, to bind), `family`, `interface` (to bind to, where
-- permitted; nil: the address has to do), `servers` (`{ host, port, behaviour }`), `resolve` (function(host,
-- family): addresses, or nil, message, code), `timeout` (seconds, 0.8: longer when
-- ten round trips are), `on_external` (function(ip), or nil: called with the external address that the first
-- answer tells; what most servers say is in the result)
-- @treturn[1] table as @{evidence.judge} gives it
-- @treturn[2] nil when nothing can leave from the address
-- @treturn[2] string message
-- @treturn[2] string code
function classify.run(options)
  local binding = { ip = options.ip, interface = options.interface }
  local socket <close>, reason, code = exchange.open(binding)
  if not socket then return nil, reason, code end
  local children <close> = task.group()
  local self = setmetatable({
    options = binding, family = options.family, socket = socket, children = children,
    started = now(), deadline = now() + (options.timeout or classify.TIMEOUT), changed = task.condition(),
    pending = { udp = 0, tcp = 0, examine = 0, probes = 0, hairpin = 0 },
    on_external = options.on_external or function() end,
    ip = options.ip, udp = {}, tcp = {}, tcp_mapping = {}, probes = {}, reasons = {}, series_started = 0,
  }, Observation)
  ask_servers(self, options.servers, options.resolve)
  observe(self)
  children:cancel()
  if not self.udp[1] and not self.tcp[1] and self.reasons[1] and not self.has_way_out then
    return nil, self.reasons[1], "ENETUNREACH"
  end
  return evidence.judge(self)
end

return classify
