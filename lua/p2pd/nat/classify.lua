--- Observes the NAT in front of one address with a few STUN servers, all at once: RFC 5780's tests over UDP,
-- bursts of TCP connections for the allotment of ports. It takes about three round trips, four where ports
-- follow no rule, and never waits for a dead server once others have answered.
-- @module p2pd.nat.classify
local behaviour = require "p2pd.nat.behaviour"
local choice = require "p2pd.stun.choice"
local connections = require "p2pd.nat.connections"
local core = require "p2pd.core"
local deadline = require "p2pd.deadline"
local evidence = require "p2pd.nat.evidence"
local exchange = require "p2pd.stun.exchange"
local task = require "p2pd.task"

local classify = {}

classify.TIMEOUT = 0.8         -- seconds for all of it, unless all servers are far away

local ROUND_TRIPS = 10         -- that it may take, with a few losses
local TIMEOUT_MAX = connections.TIMEOUT_MAX -- seconds, however far they are

local LAST_LOOK = 0.001 -- seconds
local RESERVE_WAIT = 0.15 -- seconds that the first few servers have before the others are asked
local GRACE = connections.GRACE -- seconds at least that others have after the first one that answered
local LAST_REQUEST = behaviour.WAITS[#behaviour.WAITS] -- seconds until a silent server has got all of them

-- What the kernel says when nothing can leave from an address, or when it is not there any more.
local NO_WAY_OUT = { ENETUNREACH = true, ENETDOWN = true, ENODEV = true, EADDRNOTAVAIL = true }

local Observation = {}
Observation.__index = Observation

local function now()
  return core.clock.monotonic()
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

-- An error response shows at least that the way there and back is open.
function Observation:excuse(entry, over, reason, code)
  self.udp_is_open = self.udp_is_open or over == "UDP" and code == "EPROTO"
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

-- Whether a server sees another address than ours: once one does, there is a NAT.
function Observation:note_mapping(server)
  local is_other = server.mapped.ip ~= self.ip or server.mapped.port ~= server.port
  self.is_translated = self.is_translated or is_other
  return is_other
end

-- Servers that are far away get the time that they need.
function Observation:extend(rtt)
  self.limit.at = math.max(self.limit.at, self.started + math.min(ROUND_TRIPS * rtt, TIMEOUT_MAX))
end

local function ask_udp(self, entry, ips)
  local server, reason, code = behaviour.greet(self.socket, entry, ips, self.family)
  if not server then
    return self:excuse(entry, "UDP", reason, code)
  end
  table.insert(self.udp, server)
  if not self.first_udp then
    self.first_udp = { at = now(), rtt = server.rtt }
    self:extend(server.rtt)
    self.on_external(server.mapped.ip)
  end
  local has_nat = self:note_mapping(server)
  if self.wants_hairpin and has_nat and not self.looks_for_hairpin then
    self.looks_for_hairpin = true
    self:start("hairpin", find_hairpin, server)
  end
  if server.is_capable then self.is_capable = true end
  self:start("examine", function() behaviour.examine(self.socket, server, self.options) end)
end

-- -- when is it enough?

local function is_udp_settled(self)
  local first, pending = self.first_udp, self.pending
  if pending.udp == 0 then return pending.examine == 0 end
  if not first then
    local tcp = self.first_tcp
    return tcp and self:is_past(self.asked_at + LAST_REQUEST + math.max(2 * GRACE, 2 * tcp.rtt))
  end
  if pending.examine > 0 or not self:is_past(first.at + math.max(GRACE, first.rtt)) then return false end
  if self.is_capable or not self.may_be_capable then return true end
  return self:is_past(self.asked_at + behaviour.WAITS[2] + math.max(2 * GRACE, 2 * first.rtt))
end

local function is_settled(self)
  local udp, tcp = is_udp_settled(self), connections.is_settled(self)
  return udp and tcp and self.pending.hairpin == 0
end

-- What has come already, while nobody had time to read it, still counts.
local function is_silent(self)
  task.sleep(LAST_LOOK)
  return not self.first_udp
end

local function observe(self)
  repeat
    self.alarm = self.limit.at
    if is_settled(self) and (self.first_udp or is_silent(self)) then return end
    self.changed:wait(deadline.at(self.alarm):left())
  until self.limit:has_passed()
end

-- Whether a server can tell behaviour its answer says; before that, its entry is a hint.
local function ask_server(self, entry, resolve)
  self.may_be_capable = self.may_be_capable or entry.behaviour ~= false
  local function start(ask)
    return function()
      local ips, reason, code = resolve(entry.host, self.family)
      if ips then return ask(self, entry, ips) end
      if code ~= "ENOENT" then self:excuse(entry, "name", reason, code) end
    end
  end
  self:start("udp", start(ask_udp))
  self:start("tcp", start(connections.ask))
end

-- Asks the others too, unless one of the first few soon shows that it tells everything.
local function ask_rest(self, rest, resolve)
  local limit = deadline.after(RESERVE_WAIT)
  while not self.is_capable and self.pending.udp > 1 and not limit:has_passed() do
    self.changed:wait(limit:left())
  end
  if self.is_capable then return end
  self.asked_at = now()
  for _, entry in ipairs(rest) do ask_server(self, entry, resolve) end
end

local function ask_servers(self, servers, resolve)
  local order = choice.order(servers)
  for i = 1, math.min(#order, choice.FEW) do ask_server(self, order[i], resolve) end
  local rest = table.move(order, choice.FEW + 1, #order, 1, {})
  if rest[1] then self:start("udp", ask_rest, rest, resolve) end
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
    started = now(), asked_at = now(),
    limit = deadline.after(options.timeout or classify.TIMEOUT), changed = task.condition(),
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
