--- Observes the NAT in front of one address with STUN servers, all at once: RFC 5780's tests over UDP, bursts
-- of TCP connections for the allotment of ports. It takes about three round trips, four where ports follow no
-- rule, and never waits for a dead server once others have answered.
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
local OVERDUE = 0.02           -- seconds after the first one that answered by TCP
local LAST_REQUEST = behaviour.WAITS[#behaviour.WAITS] -- seconds until a silent server has got all of them
local SERIES = 2               -- servers that see bursts; a third one when they disagree
local TARGETS_MAX = 6          -- endpoints that are to show what a mapping depends on
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
    self.first_udp = { at = now(), rtt = server.rtt }
    extend(self, server.rtt)
    self.on_external(server.mapped.ip)
    if self.wants_hairpin and is_translated(self, server) then
      self:start("hairpin", find_hairpin, server)
    end
  end
  self.is_translated = self.is_translated or is_translated(self, server)
  if server.is_capable then self.is_capable = true end
  self:start("examine", function() behaviour.examine(self.socket, server, self.options) end)
end

-- -- TCP

-- What UDP told of the same server at the same address.
local function find_greeted(self, one)
  for _, server in ipairs(self.udp) do
    if server.name == one.name and server.ip == one.ip then return server end
  end
end

-- All the endpoints that may show whether a mapping depends on them, of servers that are alive.
local function mapping_targets(self)
  local targets, taken, ips = {}, {}, 0
  local function add(ip, port)
    if taken[ip .. " " .. port] or #targets == TARGETS_MAX then return end
    if not taken[ip] then ips = ips + 1 end
    taken[ip], taken[ip .. " " .. port] = true, true
    targets[#targets + 1] = { ip = ip, port = port }
  end
  for _, one in ipairs(self.connected) do
    local greeted = find_greeted(self, one)
    local other = one.other or greeted and greeted.other
    if one.answered or greeted then add(one.ip, one.server_port) end
    if other then
      add(other.ip, one.server_port)
      add(one.ip, other.port)
      add(other.ip, other.port)
    end
  end
  return targets, ips
end

local function find_tcp_mapping(self)
  for _ = 1, MAPPING_TRIES do
    local targets = mapping_targets(self)
    local seen = burst.shared(self.options, targets, self.connected[1].rtt, function() return self:left() end)
    if #seen > #self.tcp_mapping then self.tcp_mapping = seen end
    if nat.is_conclusive(seen) or #seen == #targets or self:left() == 0 then return end
  end
end

-- Bursts from here to one server. Where UDP has been given another port than the local one, a single burst
-- will hardly do.
local function run_series(self, send, transport, server)
  local series = { name = server.name, transport = transport }
  local first = self.udp[1]
  local options = { ip = self.ip, interface = self.options.interface,
    is_eager = first ~= nil and first.mapped.port ~= first.port }
  server.series = series
  self:start("probes", function()
    series.bursts = burst.run(send, options, { ip = server.ip, port = server.server_port }, server.rtt,
      function() return self:left() end)
    table.insert(self.probes, series)
  end)
end

-- Others have answered long before: nothing is to be expected of it.
local function is_overdue(self, one)
  if one.answered then return false end
  local first = self.first_tcp
  return one.has_failed or first and self:is_past(first.at + math.max(OVERDUE, first.rtt / 2)) or false
end

-- Begins with the bursts once a NAT is known to be there: with the servers that take a connection, before
-- they have answered on it, and with others instead of those that do not answer.
local function start_probes(self)
  if not self.is_translated then return end
  local started = 0
  for _, one in ipairs(self.connected) do
    if one.series and not is_overdue(self, one) then started = started + 1 end
  end
  for _, one in ipairs(self.connected) do
    if started < SERIES and not one.series and not is_overdue(self, one) then
      run_series(self, burst.tcp, "tcp", one)
      started = started + 1
    end
  end
  local _, ips = mapping_targets(self)
  if ips > 1 and not self.has_mapping_test then
    self.has_mapping_test = true
    self:start("mapping", find_tcp_mapping)
  end
end

local function use_tcp(self, server, found)
  server.answered, server.port = true, found.port
  server.mapped = { ip = found.ip, port = found.external }
  server.other =
    behaviour.other_address(found.other, { ip = server.ip, port = server.server_port }, self.family)
  table.insert(self.tcp, server)
  self.first_tcp = self.first_tcp or { at = now(), rtt = server.rtt }
  self.is_translated = self.is_translated or is_translated(self, server)
end

-- A lost SYN would be repeated after a second only, so we try again, from another port, much sooner.
local function ask_tcp(self, entry, ips)
  local server = { name = entry.host .. ":" .. entry.port, ip = ips[1], server_port = entry.port }
  local options = { ip = self.ip, interface = self.options.interface, connected = function(rtt)
    if server.rtt then return end
    server.rtt = rtt
    table.insert(self.connected, server)
    extend(self, rtt)
    self.changed:broadcast()
  end }
  local target = { ip = server.ip, port = entry.port }
  local found, reason, code = behaviour.insist(TCP_WAITS, function()
    local probe, stream, errno = burst.tcp(options, target, nil, TIMEOUT_MAX)
    if not probe then return nil, stream, errno end
    stream:abort()
    return probe
  end)
  if found and not behaviour.is_usable(found.ip, self.family) then
    found, reason = nil, "says that our address is " .. found.ip
  end
  if found then return use_tcp(self, server, found) end
  server.has_failed = true
  self:excuse(entry, "TCP", reason, code)
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
  if not server or server.series or not is_translated(self, server) then return true end
  run_series(self, burst.udp, "udp", server)
  return false
end

-- The servers whose bursts have ended, and those that may still show something.
local function sort_series(self)
  local ended, running = {}, false
  for _, one in ipairs(self.connected) do
    local series = one.series
    if series and series.bursts and one.answered then ended[#ended + 1] = series end
    running = running or series ~= nil and not series.bursts and not is_overdue(self, one)
  end
  return ended, running
end

-- Two that disagree need a third one.
local function settle_dispute(self, ended)
  if #ended ~= SERIES or evidence.delta_of(ended[1]) == evidence.delta_of(ended[2]) then return true end
  for _, one in ipairs(self.tcp) do
    if not one.series then
      run_series(self, burst.tcp, "tcp", one)
      return false
    end
  end
  return true
end

local function is_tcp_settled(self)
  local first, pending = self.first_tcp, self.pending
  start_probes(self)
  local ended, running = sort_series(self)
  if running or pending.mapping > 0 or self.udp[1] and self.udp[1].series and pending.probes > 0 then
    return false
  end
  if not settle_dispute(self, ended) then return false end
  if first then return pending.tcp == 0 or self:is_past(first.at + math.max(GRACE, first.rtt)) end
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
-- family): addresses, or nil, message, code), `timeout` (seconds, 0.8: longer when ten round trips are),
-- `on_external` (function(ip), or nil: called with the external address that the first answer tells; what
-- most servers say is in the result), `hairpin` (true: look for that too, which takes longer)
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
    pending = { udp = 0, tcp = 0, examine = 0, probes = 0, mapping = 0, hairpin = 0 },
    on_external = options.on_external or function() end,
    ip = options.ip, udp = {}, tcp = {}, connected = {}, tcp_mapping = {}, probes = {}, reasons = {},
    wants_hairpin = options.hairpin, is_translated = false,
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
