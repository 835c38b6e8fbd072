--- The network interfaces that a node uses: those by which the kernel would reach servers, and others that
-- have a default route.
-- @module p2pd.net.interfaces
local core = require "p2pd.core"
local families = require "p2pd.families"
local list = require "p2pd.list"

local interfaces = {}

-- Which of an interface's addresses stands for it; link-local ones never do.
local RANK = { global = 1, shared = 2, private = 3, reserved = 4, loopback = 5 }

local DEPRECATED, CLASS, NOT_SOURCE, TEMPORARY = 1e8, 1e7, 2e6, 1e6

-- A root name server for each family: where there is a way out, it leads there. Nothing is sent.
local OUTSIDE = { "198.41.0.4", "2001:503:ba3e::2:30" }
local TARGETS_MAX = 4 -- addresses of servers, to which the way is asked for

local NAME_MAX = 15 -- bytes, IFNAMSIZ without its NUL

local TUNNELS = { tun = true, wireguard = true, ipip = true, gre = true, sit = true, xfrm = true, vti = true }

-- -- addresses

-- Our address on the kernel's way out, or for IPv6 another one of its network: the kernel prefers temporary
-- ones for what it connects, while peers need one that stays.
local function is_source(netif, family, ip)
  local source = netif.sources and netif.sources[family]
  if not source then return false end
  return ip == source or family == "ipv6" and core.inet.same_subnet(ip, source, 64)
end

local function order_of(netif, family, candidate, place)
  return (candidate.deprecated and DEPRECATED or 0) + RANK[candidate.class] * CLASS
    + (is_source(netif, family, candidate.ip) and 0 or NOT_SOURCE)
    + (candidate.temporary and TEMPORARY or 0) + place
end

local function is_usable(candidate)
  return RANK[candidate.class] and not candidate.tentative and not candidate.failed
end

--- The addresses that may stand for an interface, best first: global ones before private ones, those that
-- stay before temporary ones, deprecated ones last. Those that can't be bound (yet) are not among them.
-- @tparam table netif as @{list} or `core.netif.list()` gives it
-- @tparam string family
-- @treturn {table,...} its records of these addresses: `ip`, `prefix`, `class`
function interfaces.addresses(netif, family)
  local usable, order = {}, {}
  for place, candidate in ipairs(netif[family]) do
    if is_usable(candidate) then
      usable[#usable + 1], order[candidate] = candidate, order_of(netif, family, candidate, place)
    end
  end
  table.sort(usable, function(a, b) return order[a] < order[b] end)
  return usable
end

local function has_usable(netif)
  for _, family in ipairs(families.ALL) do
    for _, candidate in ipairs(netif[family]) do
      if is_usable(candidate) then return true end
    end
  end
  return false
end

-- -- the way out

local function owner_of(all, family, ip)
  for _, netif in ipairs(all) do
    for _, own in ipairs(netif[family]) do
      if own.ip == ip then return netif end
    end
  end
end

-- The interface by which the kernel would reach an address, and the source that it would take.
local function find_way(all, target)
  local source, name = core.netif.way(target)
  if not source then return nil end
  local class, family = core.inet.class(source)
  if class == "loopback" then return nil end
  for _, netif in ipairs(all) do
    if netif.name == name then return netif, family, source end
  end
  return owner_of(all, family, source), family, source
end

local function is_outside(target)
  return core.inet.class(target) == "global"
end

-- Marks the ways to targets: `ways`, by family, is the place among all ways; `sources` our address on it.
local function mark_ways(all, targets)
  local count = 0
  for _, target in ipairs(targets) do
    local netif, family, source = find_way(all, target)
    if netif then
      count = count + 1
      netif.ways, netif.sources = netif.ways or {}, netif.sources or {}
      netif.ways[family] = netif.ways[family] or count
      netif.sources[family] = netif.sources[family] or source
    end
  end
  return count > 0
end

local function find_ways(all, targets)
  local outside = list.filter(targets, is_outside)
  outside = table.move(outside, 1, math.min(#outside, TARGETS_MAX), 1, {})
  if mark_ways(all, list.append(outside, OUTSIDE)) then return end
  mark_ways(all, table.move(targets, 1, math.min(#targets, TARGETS_MAX), 1, {}))
end

local function way_of(netif)
  local ways = netif.ways or {}
  return math.min(ways.ipv4 or math.huge, ways.ipv6 or math.huge)
end

-- -- which ones

-- A default route of an interface that leads nowhere by its kind counts only when the kernel would take it.
local function leads_out(netif)
  return netif.ways or (netif.default4 or netif.default6) and not netif.inner
end

local function comes_first(a, b)
  if way_of(a) ~= way_of(b) then return way_of(a) < way_of(b) end
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
      local why = not netif.up and "is down" or not has_usable(netif) and "has no address"
        or "has no route out"
      left_out[#left_out + 1] = ("%s %s"):format(netif.name, why)
    end
  end
  return left_out
end

local function is_lan(netif)
  return has_usable(netif) and not netif.inner and not TUNNELS[netif.kind]
end

local function choose(all)
  local outward = list.filter(all, function(n) return n.up and not n.loopback end)
  local chosen = list.filter(outward, leads_out)
  if not chosen[1] then chosen = list.filter(outward, is_lan) end
  if not chosen[1] then chosen = list.filter(all, function(n) return n.loopback and n.up end) end
  table.sort(chosen, comes_first)
  return chosen, name_left_out(all, chosen)
end

-- What the kernel would not let an interface be called.
local function can_be_called(name)
  return type(name) == "string" and #name > 0 and #name <= NAME_MAX and not name:find "[/%s%z]"
end

local function why_not(netif, name)
  if not netif then return ("no interface %q"):format(tostring(name)), "ENODEV" end
  if not netif.up then return ("the interface %q is down"):format(name), "ENETDOWN" end
end

local function by_name(all, names, is_patient)
  for _, name in ipairs(names) do
    if not can_be_called(name) then
      return nil, ("%q cannot be the name of an interface"):format(tostring(name)), "EINVAL"
    end
  end
  local known, taken, chosen, left_out = {}, {}, {}, {}
  for _, netif in ipairs(all) do known[netif.name] = netif end
  for _, name in ipairs(names) do
    local reason, code = why_not(known[name], name)
    if reason and not is_patient then return nil, reason, code end
    left_out[#left_out + 1] = reason
    if not reason and not taken[name] then chosen[#chosen + 1] = known[name] end
    taken[name] = true
  end
  return chosen, left_out
end

--- The interfaces that a node uses, best first. Those by which the kernel would reach the servers come first,
-- whatever its routing tables, rules and metrics look like; then those that are up and have a default route,
-- the lowest metric first. When there is none, those with an address that is not link-local, but no tunnels
-- and no bridges of containers; when there is none, the loopback interface.
-- @tparam[opt] table options `names`: the interfaces to use instead, in this order; `is_patient`: true when
-- those of them that are not there are left out; `targets`: addresses of servers
-- @treturn[1] {table,...} as `core.netif.list()` gives them, and where they are ways out `ways` and `sources`
-- (by family: the place among the ways, and our address)
-- @treturn[1] {string,...} which interfaces are left out and why, for people
-- @treturn[1] {table,...} all interfaces there are
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "ENODEV" for an unknown name, "ENETDOWN" for an interface that is down, "EINVAL" for
-- what no interface can be called
-- @raise when names is no list
function interfaces.list(options)
  local names = options and options.names
  if names ~= nil and type(names) ~= "table" then error("interfaces.list: names is not a list", 2) end
  local all, reason, code = core.netif.list()
  if not all then return nil, reason, code end
  find_ways(all, options and options.targets or {})
  if not names or names[1] == nil then
    local chosen, left_out = choose(all)
    return chosen, left_out, all
  end
  local chosen, left_out, errno = by_name(all, names, options.is_patient)
  return chosen, left_out, chosen and all or errno
end

return interfaces
