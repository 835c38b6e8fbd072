--- Observes what a NAT does with TCP ports of ours: connections to STUN servers from chosen local ports. They
-- stay open and hold their mappings until the observation is closed.
-- @module p2pd.punch.probe
local choice = require "p2pd.stun.choice"
local core = require "p2pd.core"
local deadline = require "p2pd.deadline"
local stun = require "p2pd.stun"
local task = require "p2pd.task"

local probe = {}

probe.TIMEOUT = 3 -- seconds for all probes of an observation

local HEAD_START = 0.25 -- seconds until the next server is asked as well
local SERVERS_MAX = 4
local RESOLVED_FOR = 300 -- seconds
local PORT_MIN, PORT_MAX = 33000, 60000 -- where clients' ports usually are
local RUNS = 20 -- tries to find free neighbours

-- -- ports

local TAKEN = { EADDRINUSE = true, EACCES = true }

-- True, false, or nil, message, code when nothing can be said.
local function is_free(ip, port)
  local listener, reason, code = core.tcp.listen { ip = ip, port = port }
  if listener then
    listener:close()
    return true
  end
  if TAKEN[code] then return false end
  return nil, reason, code
end

local function is_run_free(ip, first, count, avoid)
  for port = first, first + count - 1 do
    if avoid[port] then return false end
    local ok, reason, code = is_free(ip, port)
    if not ok then return ok, reason, code end
  end
  return true
end

local function add_run(ip, ports, count, avoid)
  for _ = 1, RUNS do
    local first = math.random(PORT_MIN, PORT_MAX)
    local ok, reason, code = is_run_free(ip, first, count, avoid)
    if ok == nil then return nil, reason, code end
    if ok then
      for port = first, first + count - 1 do ports[#ports + 1], avoid[port] = port, true end
      return true
    end
  end
  return nil, "no free port on " .. ip, "EADDRINUSE"
end

--- Local ports that nobody uses.
-- @tparam string ip of ours
-- @tparam integer count
-- @tparam boolean neighbours whether they are to follow each other
-- @tparam[opt] table avoid set of ports not to be taken
-- @treturn {integer,...}; or nil, message, code
function probe.ports(ip, count, neighbours, avoid)
  local ports, taken = {}, {}
  for port in pairs(avoid or {}) do taken[port] = true end
  for _ = 1, neighbours and 1 or count do
    local ok, reason, code = add_run(ip, ports, neighbours and count or 1, taken)
    if not ok then return nil, reason, code end
  end
  return ports
end

-- -- servers

local Servers = { __name = "p2pd.punch.servers" }
Servers.__index = Servers

--- STUN servers to ask: what their names stand for, and which of them answered last, is remembered.
-- @tparam {table,...} list the settings' `stun`
-- @treturn servers
function probe.servers(list)
  return setmetatable({ list = choice.order(list), resolved = {} }, Servers)
end

local function resolve(list, family, timeout)
  local lookups, targets = {}, {}
  for i = 1, math.min(#list, 2 * SERVERS_MAX) do
    lookups[i] = function()
      local ips = core.inet.resolve(list[i].host, family, timeout)
      if ips and ips[1] then targets[#targets + 1] = { ip = ips[1], port = list[i].port, order = i } end
      return true
    end
  end
  task.all(lookups)
  table.sort(targets, function(a, b) return a.order < b.order end)
  return targets
end

--- Their addresses, those first that have answered before. Waits for names that are new.
-- @tparam string family "ipv4" or "ipv6"
-- @tparam number timeout seconds
-- @treturn {table,...} ip, port
function Servers:targets(family, timeout)
  local known = self.resolved[family]
  if known and not known.fresh:has_passed() then return known end
  known = resolve(self.list, family, timeout)
  if known[1] then
    known.fresh = deadline.after(RESOLVED_FOR)
    self.resolved[family] = known
  end
  return known
end

local function prefer(targets, target)
  for i, other in ipairs(targets) do
    if other == target then table.insert(targets, 1, table.remove(targets, i)) end
  end
end

-- -- probes

-- The device only where it may be chosen: else the address has to do.
local function connect(route, target, port, timeout)
  local from = { ip = route.nic, port = port, interface = route.device, reuse_port = true }
  local stream, reason, code = core.tcp.connect(target.ip, target.port, from, timeout)
  if code ~= "EPERM" or not route.device then return stream, reason, code end
  from.interface = nil
  return core.tcp.connect(target.ip, target.port, from, timeout)
end

local function ask(route, target, port, timeout)
  local stream, reason, code = connect(route, target, port, timeout)
  if not stream then return nil, reason, code end
  local held <close> = task.hold(stream)
  local answer
  answer, reason, code = stun.query_tcp(stream, { timeout = timeout })
  if not answer then return nil, reason, code end
  if answer.ip ~= route.external then
    return nil, ("our address is %s for a STUN server, not %s"):format(answer.ip, route.external), "ESTALE"
  end
  return { port = port, external = answer.port, target = target }, held:release()
end

-- The first answer; who was asked and is silent does not hold up the rest.
local function ask_any(route, targets, port, limit)
  local asks = {}
  for i = 1, math.min(#targets, SERVERS_MAX) do
    asks[i] = function()
      if i > 1 then task.sleep((i - 1) * HEAD_START) end
      return ask(route, targets[i], port, limit:left())
    end
  end
  if not asks[1] then return nil, "no STUN server to ask", "ENOENT" end
  local found, stream, code = task.race(asks)
  if not found then return nil, "no STUN server answers over TCP: " .. tostring(stream), code end
  prefer(targets, found.target)
  return found, stream
end

local Observation = { __name = "p2pd.observation" }
Observation.__index = Observation

--- Lets the mappings go.
function Observation:close()
  while #self.streams > 0 do table.remove(self.streams):close() end
end

Observation.__close = Observation.close

local function observe_all(self, route, targets, ports, limit)
  local asks = {}
  for _, port in ipairs(ports) do
    asks[#asks + 1] = function()
      local found, stream, code = ask_any(route, targets, port, limit)
      if not found then return nil, stream, code end
      table.insert(self.streams, stream)
      self.held[port] = found.external
      return true
    end
  end
  return task.all(asks)
end

local function observe_last(self, route, targets, port, limit)
  local found, stream, code = ask_any(route, targets, port, limit)
  if not found then return nil, stream, code end
  table.insert(self.streams, stream)
  self.last = found
  return true
end

--- Finds local ports, and looks at what the NAT makes of them. Waits for about two round trips to a STUN
-- server when there is anything to look at.
-- @tparam table route of ours: nic, external, family, device (or nil)
-- @tparam table needs as `predict.needs` gives them
-- @tparam servers servers
-- @tparam[opt] table avoid set of local ports not to be taken
-- @treturn[1] observation `ports`, `held`, `last` as `predict.mappings` takes them; to be closed (`<close>`)
-- when the punch has ended
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code
function probe.observe(route, needs, servers, avoid)
  local extra = needs.probes == 1 and not needs.each and 1 or 0
  local ports, reason, code = probe.ports(route.nic, needs.count + extra, needs.neighbours, avoid)
  if not ports then return nil, reason, code end
  local self = setmetatable({ ports = ports, held = {}, streams = {} }, Observation)
  if needs.probes == 0 then return self end
  local held <close> = task.hold(self)
  local limit = deadline.after(probe.TIMEOUT)
  local targets = servers:targets(route.family, probe.TIMEOUT)
  local ok
  if needs.each then
    ok, reason, code = observe_all(self, route, targets, ports, limit)
  else
    ok, reason, code = observe_last(self, route, targets, table.remove(ports, 1), limit)
  end
  if not ok then return nil, reason, code end
  return held:release()
end

return probe
