--- The network interfaces that a node uses.
-- @module p2pd.net.interfaces
local core = require "p2pd.core"
local list = require "p2pd.list"

local interfaces = {}

-- Which of an interface's addresses stands for it; link-local ones never do.
local RANK = { global = 1, shared = 2, private = 3, reserved = 4, loopback = 5 }

--- The addresses that may stand for an interface, best first: global ones before private ones.
-- @tparam table netif as `core.netif.list()` gives it
-- @tparam string family
-- @treturn {table,...} its records of these addresses: `ip`, `prefix`, `class`
function interfaces.addresses(netif, family)
  local usable, order = {}, {}
  for i, candidate in ipairs(netif[family]) do
    if RANK[candidate.class] then
      usable[#usable + 1], order[candidate] = candidate, RANK[candidate.class] * 1000 + i
    end
  end
  table.sort(usable, function(a, b) return order[a] < order[b] end)
  return usable
end

local function has_default(netif)
  return netif.default4 or netif.default6
end

local function has_address(netif)
  return interfaces.addresses(netif, "ipv4")[1] or interfaces.addresses(netif, "ipv6")[1]
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
  local outward = list.filter(all, function(n) return n.up and not n.loopback end)
  local chosen = list.filter(outward, has_default)
  if not chosen[1] then chosen = list.filter(outward, has_address) end
  if not chosen[1] then chosen = list.filter(all, function(n) return n.loopback and n.up end) end
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
-- @raise when names is no list
function interfaces.list(options)
  local names = options and options.names
  if names ~= nil and type(names) ~= "table" then error("interfaces.list: names is not a list", 2) end
  local all, reason, code = core.netif.list()
  if not all then return nil, reason, code end
  if names and names[1] ~= nil then return by_name(all, names) end
  return choose(all)
end

return interfaces
