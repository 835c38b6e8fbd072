--- What TCP connections to STUN servers show of a NAT: its external address, whether mappings depend on the
-- other end, and by bursts from many local ports how it allots external ones. The observation belongs to
-- p2pd.nat.classify.
-- @module p2pd.nat.connections
local behaviour = require "p2pd.nat.behaviour"
local burst = require "p2pd.nat.burst"
local core = require "p2pd.core"
local evidence = require "p2pd.nat.evidence"
local nat = require "p2pd.nat"

local connections = {}

connections.TIMEOUT_MAX = 5 -- seconds, however far servers are
connections.GRACE = 0.05    -- seconds at least that others have after the first one that answered

local WAITS = { 0, 0.15, 0.45 } -- seconds until a connection is tried, and tried again
local DEAD = 0.6                -- seconds after which no server answers any more
local OVERDUE = 0.02            -- seconds after the first one that answered
local SERIES = 2                -- servers that see bursts; a third one when they disagree
local TARGETS_MAX = 6           -- endpoints that are to show what a mapping depends on
local MAPPING_TRIES = 3

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
    local seen = burst.shared(self.options, targets, self.connected[1].rtt, self.limit)
    if #seen > #self.tcp_mapping then self.tcp_mapping = seen end
    if nat.is_conclusive(seen) or #seen == #targets or self.limit:has_passed() then return end
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
      self.limit)
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
  self.first_tcp = self.first_tcp or { at = core.clock.monotonic(), rtt = server.rtt }
  self:note_mapping(server)
end

--- Asks one server for our address over a connection. A lost SYN would be repeated after a second only, so we
-- try again, from another port, much sooner. Waits.
-- @tparam observation self
-- @tparam table entry of the settings
-- @tparam {string,...} ips of its host
function connections.ask(self, entry, ips)
  local server = { name = entry.host .. ":" .. entry.port, ip = ips[1], server_port = entry.port }
  local options = { ip = self.ip, interface = self.options.interface, connected = function(rtt)
    if server.rtt then return end
    server.rtt = rtt
    table.insert(self.connected, server)
    self:extend(rtt)
    self.changed:broadcast()
  end }
  local target = { ip = server.ip, port = entry.port }
  local found, reason, code = behaviour.insist(WAITS, function()
    local probe, stream, errno = burst.tcp(options, target, nil, connections.TIMEOUT_MAX)
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


-- When nobody answers by TCP, bursts over UDP show at least what the NAT does with those.
local function fall_back(self)
  local server = self.udp[1]
  if not server or server.series or not self:note_mapping(server) then return true end
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

--- Begins with what can begin, and tells whether all that is worth waiting for is there.
-- @tparam observation self
-- @treturn boolean
function connections.is_settled(self)
  local first, pending = self.first_tcp, self.pending
  start_probes(self)
  local ended, running = sort_series(self)
  if running or pending.mapping > 0 or self.udp[1] and self.udp[1].series and pending.probes > 0 then
    return false
  end
  if not settle_dispute(self, ended) then return false end
  if first then return pending.tcp == 0 or self:is_past(first.at + math.max(connections.GRACE, first.rtt)) end
  if pending.tcp == 0 then return fall_back(self) end
  return self.first_udp and self:is_past(self.started + math.max(DEAD, 6 * self.first_udp.rtt))
    and fall_back(self)
end

return connections
