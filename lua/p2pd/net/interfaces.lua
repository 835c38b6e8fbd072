--- The interfaces that a node uses, and for each address family the route to the outside: NIC address,
-- external address, NAT.
-- @module p2pd.net.interfaces
local classify = require "p2pd.nat.classify"
local core = require "p2pd.core"
local nat = require "p2pd.nat"
local stun = require "p2pd.stun"
local task = require "p2pd.task"

local interface = {}

local MAX_TARGETS = 4 -- addresses of one server's name that are asked

interface.MAX_ROUTES = 3 -- of a family, as in a peer address
interface.TIMEOUT = classify.TIMEOUT -- seconds for the whole discovery

local MAX_ADDRESSES = 8 -- of an interface and a family that are looked at

local FAMILIES = { "ipv4", "ipv6" }
local FAMILY_NAMES = { ipv4 = "IPv4", ipv6 = "IPv6" }
local DEFAULTS = { ipv4 = "default4", ipv6 = "default6" }

-- Which of a NIC's addresses stands for it; link-local ones never do.
local RANK = { global = 1, shared = 2, private = 3, reserved = 4, loopback = 5 }

-- Nobody can be reached there, whatever a server says.
local UNREACHABLE = { unspecified = true, multicast = true, broadcast = true }

-- -- choosing

-- The addresses that may stand for a NIC, best first.
local function addresses_of(netif, family)
  local list = {}
  for i, candidate in ipairs(netif[family]) do
    if RANK[candidate.class] then list[#list + 1] = { candidate, RANK[candidate.class] * 1000 + i } end
  end
  table.sort(list, function(a, b) return a[2] < b[2] end)
  for i, entry in ipairs(list) do list[i] = entry[1] end
  return list
end

local function best_address(netif, family)
  return addresses_of(netif, family)[1]
end

local function has_default(netif)
  return netif.default4 or netif.default6
end

local function has_address(netif)
  return best_address(netif, "ipv4") or best_address(netif, "ipv6")
end

local function filter(list, keep)
  local result = {}
  for _, value in ipairs(list) do
    if keep(value) then result[#result + 1] = value end
  end
  return result
end

local function comes_first(a, b)
  for _, field in ipairs { "metric4", "metric6", "index" } do
    local x, y = a[field] or math.huge, b[field] or math.huge
    if x ~= y then return x < y end
  end
  return false
end

-- Why the others are not used, for people.
local function name_left_out(all, chosen)
  local used, left_out = {}, {}
  for _, netif in ipairs(chosen) do used[netif.name] = true end
  for _, netif in ipairs(all) do
    if not used[netif.name] and not netif.loopback then
      local why = not netif.up and "is down" or not has_address(netif) and "has no address"
        or "has no route out"
      left_out[#left_out + 1] = ("%s %s"):format(netif.name, why)
    end
  end
  return left_out
end

local function choose(all)
  local outward = filter(all, function(n) return n.up and not n.loopback end)
  local chosen = filter(outward, has_default)
  if not chosen[1] then chosen = filter(outward, has_address) end
  if not chosen[1] then chosen = filter(all, function(n) return n.loopback and n.up end) end
  table.sort(chosen, comes_first)
  return chosen, name_left_out(all, chosen)
end

local function by_name(all, names)
  local known, taken, chosen = {}, {}, {}
  for _, netif in ipairs(all) do known[netif.name] = netif end
  for _, name in ipairs(names) do
    local netif = known[name]
    if not netif then return nil, ("no interface %q"):format(tostring(name)), "ENODEV" end
    if not netif.up then return nil, ("the interface %q is down"):format(name), "ENETDOWN" end
    if not taken[name] then chosen[#chosen + 1] = netif end
    taken[name] = true
  end
  return chosen, {}
end

--- The interfaces that a node uses; a peer address names them by their place in this list, from 0.
-- Those that are up and have a default route, the lowest metric first; when there is none, those with an
-- address that is not link-local; when there is none, the loopback interface.
-- @tparam[opt] table options `names`: the interfaces to use instead, in this order
-- @treturn[1] {table,...} as `core.netif.list()` gives them
-- @treturn[1] {string,...} which interfaces are left out and why, for people
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "ENODEV" for an unknown name, "ENETDOWN" for an interface that is down
function interface.list(options)
  local names = options and options.names
  if names ~= nil and type(names) ~= "table" then error("interface.list: names is not a list", 2) end
  local all, reason, code = core.netif.list()
  if not all then return nil, reason, code end
  if names and names[1] ~= nil then return by_name(all, names) end
  return choose(all)
end

-- -- routes

local function strip_scope(ip)
  return (ip:gsub("%%.*", ""))
end

local function link_local_of(netif)
  for _, candidate in ipairs(netif.ipv6) do
    if candidate.class == "link-local" then return strip_scope(candidate.ip) end
  end
end

local function new_route(netif, offset, family, nic)
  local link_local = family == "ipv6" and link_local_of(netif) or nil
  return {
    interface = offset,
    name = netif.name,
    family = family,
    nic = nic.ip,
    prefix = nic.prefix,
    loopback = netif.loopback,
    default = netif[DEFAULTS[family]],
    internal = link_local or nic.ip,
    scope = link_local and netif.name,
    shared = {},
  }
end

-- An interface's further addresses in a family, which may have an external address of their own. Of an IPv6
-- network's addresses one is enough.
local function further_routes(netif, offset, family, first)
  local list = {}
  for i, nic in ipairs(addresses_of(netif, family)) do
    local is_twin = family == "ipv6" and core.inet.same_subnet(nic.ip, first.nic, first.prefix)
    if i > 1 and i <= MAX_ADDRESSES and not is_twin then
      list[#list + 1] = new_route(netif, offset, family, nic)
    end
  end
  return list
end

-- A family's routes, one for each interface: those with a default route of that family before the rest. Each
-- has `further` ones, for its interface's other addresses.
local function family_routes(interfaces, family)
  local preferred, rest = {}, {}
  for i, netif in ipairs(interfaces) do
    local nic = best_address(netif, family)
    if nic then
      local route = new_route(netif, i - 1, family, nic)
      route.further = further_routes(netif, i - 1, family, route)
      table.insert(route.default and preferred or rest, route)
    end
  end
  table.move(rest, 1, #rest, #preferred + 1, preferred)
  return { table.unpack(preferred, 1, interface.MAX_ROUTES) }
end

-- -- external addresses

-- One discovery: all lookups and all questions run side by side until one deadline.
local Discovery = {}
Discovery.__index = Discovery

function Discovery:left()
  return math.max(0, self.deadline - core.clock.monotonic())
end

-- A name is looked up once per family; whoever needs it waits for that one lookup.
function Discovery:lookup(host, family)
  local key = family .. " " .. host
  if not self.lookups[key] then
    self.lookups[key] = self.children:spawn(core.inet.resolve, host, family, self:left())
  end
  return self.lookups[key]:join(self:left())
end

local function bind(self, route)
  return core.udp.bind { ip = route.nic, interface = self.many and route.name or nil }
end

local function targets_of(self, route, server)
  local ips, reason, code = self:lookup(server.host, route.family)
  if code == "ENOENT" then reason = "no " .. FAMILY_NAMES[route.family] .. " address" end
  if not ips then return nil, reason, code end
  local targets = {}
  for i = 1, math.min(#ips, MAX_TARGETS) do targets[i] = { ip = ips[i], port = server.port } end
  return targets
end

-- The external address of a route, as one server sees it. A server without an address of the route's
-- family was not asked, and is no cause for concern.
local function ask(self, route, server)
  local targets, reason, code = targets_of(self, route, server)
  if not targets then return nil, reason, code end
  local socket <close>, fault, errno = bind(self, route)
  if not socket then return nil, fault, errno end
  local answer
  answer, reason, code = stun.query(socket, targets, { timeout = self:left() })
  if not answer then return nil, reason, code end
  local class, family = core.inet.class(answer.ip)
  if family ~= route.family or UNREACHABLE[class] then
    return nil, ("%s says that our address is %s"):format(server.host, answer.ip), "EBADMSG"
  end
  return answer.ip
end

-- The address that the first good answer has; or nil, the servers' reasons, and whether any was asked.
local function find_external(self, route)
  local reasons, questions, asked = {}, {}, false
  for i, server in ipairs(self.servers) do
    questions[i] = function()
      local ip, reason, code = ask(self, route, server)
      if not ip then reasons[#reasons + 1] = ("%s: %s"):format(server.host, reason) end
      asked = asked or code ~= "ENOENT"
      return ip, reason, code
    end
  end
  if not questions[1] then return nil, "no STUN server to ask", not route.loopback end
  local ip = task.race(questions)
  if ip then return ip end
  return nil, table.concat(reasons, "; "), asked
end

-- A global IPv6 address is not translated on its way, so there is nothing to wait for.
local function is_own_external(route)
  return route.family == "ipv6" and core.inet.class(route.nic) == "global"
end

local function add_note(self, route, reasons)
  self.notes[#self.notes + 1] = ("the external %s address of %s (%s) is unknown: %s"):format(
    FAMILY_NAMES[route.family], route.name, route.nic, reasons)
end

local function complete_loopback(self, route)
  local ip, reasons, asked = find_external(self, route)
  route.external, route.external_known, route.nat = ip or route.nic, ip ~= nil, nat.open()
  if not ip and asked then add_note(self, route, reasons) end
end

local function complete_unasked(self, route)
  local is_own = is_own_external(route)
  route.external, route.external_known = route.nic, is_own
  route.nat = is_own and nat.firewall() or nat.unknown()
  if not is_own then add_note(self, route, "no STUN server to ask") end
end

-- What is between the route's address and the outside.
local function complete(self, route)
  if route.loopback then return complete_loopback(self, route) end
  if not self.servers[1] then return complete_unasked(self, route) end
  local found, reason, code = classify.run {
    ip = route.nic, family = route.family, interface = self.many and route.name or nil,
    servers = self.servers, timeout = self:left(),
    resolve = function(host, family) return self:lookup(host, family) end,
  }
  if not found then found = { type = nat.BLOCKED, delta = nat.DELTA_NONE, value = 0, reason = reason } end
  local is_own = is_own_external(route)
  local ip = found.external or is_own and route.nic or nil
  if is_own and not found.external then
    local unsure = nat.firewall()
    unsure.missing = { "whether anything is let in is not known: " .. found.reason }
    found = unsure
  end
  route.external, route.external_known, route.nat = ip or route.nic, ip ~= nil, found
  route.has_no_way_out = code ~= nil
  if not ip then add_note(self, route, found.reason) end
end

-- An interface's further address: does it share the route's external one?
local function compare(self, further)
  local ip = is_own_external(further) and further.nic or find_external(self, further)
  further.external, further.external_known = ip, ip ~= nil
end

-- -- all routes of a family

-- Those further addresses that have an external address of their own become routes; the others are kept with
-- the route they share it with.
local function add_further(self, routes)
  local added, searches = {}, {}
  for _, route in ipairs(routes) do
    local by_external = { [route.external] = route }
    for _, further in ipairs(route.further) do
      local known = by_external[further.external or route.external]
      if known then
        table.insert(known.shared, further.nic)
      elseif #routes + #added < interface.MAX_ROUTES then
        by_external[further.external], added[#added + 1] = further, further
        searches[#searches + 1] = function() complete(self, further) return true end
      end
    end
  end
  task.all(searches)
  table.move(added, 1, #added, #routes + 1, routes)
end

-- Nobody can be reached where nothing can leave; unless that is all there is.
local function leave_out(self, routes)
  local kept = filter(routes, function(route) return not route.has_no_way_out end)
  if not kept[1] then return routes end
  for _, route in ipairs(routes) do
    if route.has_no_way_out then
      self.notes[#self.notes + 1] = ("%s (%s) is left out: %s"):format(route.name, route.nic,
        route.nat.reason)
    end
  end
  return kept
end

local function find_family(self, interfaces, family)
  local routes, searches = family_routes(interfaces, family), {}
  for _, route in ipairs(routes) do
    searches[#searches + 1] = function() complete(self, route) return true end
    for _, further in ipairs(route.further) do
      searches[#searches + 1] = function() compare(self, further) return true end
    end
  end
  task.all(searches)
  add_further(self, routes)
  for _, route in ipairs(routes) do route.further = nil end
  return leave_out(self, routes)
end

--- Finds the routes of some interfaces, at most three of a family, and asks STUN servers from each route's
-- own address what its external address is. All routes ask all servers at once and take the first good
-- answers, so a dead server, or a dead name, delays nobody who gets another answer. What lies between is
-- classified (see p2pd.nat.classify). Waits; call it in a task.
-- @tparam {table,...} interfaces as @{list} gives them
-- @tparam[opt] {table,...} stun_servers each `{ host = string, port = integer }`
-- @tparam[opt] table options `timeout`: seconds for the whole discovery (0.8)
-- @treturn {table,...} IPv4 routes, then IPv6 routes: `interface` (its place in the list, from 0), `name`,
-- `family`, `nic` (the address to bind), `prefix` (bits), `external`, `internal` (IPv4: the NIC's; IPv6: its
-- link-local, without a scope, or else the NIC's), `scope` (the interface, when `internal` is link-local),
-- `nat` (see @{p2pd.nat.evidence.judge}: `{ type, delta, value, mapping, filtering, tcp_mapping, ... }`),
-- `loopback`, `default` (has a default route), `external_known` (false when no server answered: `external`
-- is then the NIC's address), `shared` (the interface's other addresses with the same external one)
-- @treturn {string,...} why an external address is not known, for people
function interface.routes(interfaces, stun_servers, options)
  local timeout = options and options.timeout or interface.TIMEOUT
  local children <close> = task.group()
  local self = setmetatable({
    servers = stun_servers or {},
    children = children,
    deadline = core.clock.monotonic() + timeout,
    lookups = {},
    notes = {},
    many = #filter(interfaces, function(n) return not n.loopback end) > 1,
  }, Discovery)
  local searches = {}
  for i, family in ipairs(FAMILIES) do
    searches[i] = function() return find_family(self, interfaces, family) end
  end
  local routes, ipv6 = task.all(searches)
  table.move(ipv6, 1, #ipv6, #routes + 1, routes)
  return routes, self.notes
end

function interface.plain(interfaces)
  local list = { interfaces = interfaces }
  for _, family in ipairs(FAMILIES) do
    for _, route in ipairs(family_routes(interfaces, family)) do
      route.external, route.external_known, route.further = route.nic, false, nil
      list[#list + 1] = route
    end
  end
  return list
end

return interface
