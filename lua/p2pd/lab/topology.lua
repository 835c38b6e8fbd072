--- From a checked description to namespaces: who is connected to whom, and every command that makes it so.
-- Nothing here touches the machine.
--
-- The namespace NET is the internet: a router that knows no private address. Each interface of a host has a
-- line to it, numbered from 1; line 7 has the public subnet 11.0.7.0/24 and, behind a NAT, the LAN
-- 10.0.7.0/24, with 100.64.7.0/24 between a carrier's NAT and a home's. The servers' namespace is a line of
-- its own.
-- @module p2pd.lab.topology
local description = require "p2pd.lab.description"
local nat_rules = require "p2pd.lab.nat_rules"

local topology = {}

topology.NET, topology.SERVERS = "lab.net", "lab.servers"
topology.NAT64_PREFIX = "64:ff9b::/96"    -- RFC 6052 section 2.1
topology.NAT64_POOL = "192.168.255.0/24"  -- what stands for IPv6 hosts, between a NAT64 and its router's NAT

local SERVERS_IPV6 = "2f00:ffff::"
local NAT64_DEVICE = "nat64"
local WAN_MAX = 60 -- the last address that a router may get in its subnet

local Plan = {}
Plan.__index = Plan

-- -- namespaces: commands are collected per namespace, so that each is set up by one process

local function add_namespace(self, name)
  local namespace = { name = name, links = {}, ip = {}, ip6 = {}, files = {}, nft = {} }
  self.namespaces[#self.namespaces + 1] = namespace
  self[name] = namespace
  return namespace
end

local function ip(namespace, format, ...)
  table.insert(namespace.ip, format:format(...))
end

-- Of a rule's address `ip` does not see the family.
local function ip6(namespace, format, ...)
  table.insert(namespace.ip6, format:format(...))
end

local function set(namespace, file, value)
  table.insert(namespace.files, { "/proc/sys/net/" .. file, tostring(value) })
end

local function up(namespace, interface)
  ip(namespace, "link set %s up", interface)
end

-- IPv6 is decided before there are interfaces, which take it over.
local function use_ipv6(namespace, wanted)
  set(namespace, "ipv6/conf/all/disable_ipv6", wanted and 0 or 1)
  set(namespace, "ipv6/conf/default/disable_ipv6", wanted and 0 or 1)
  if wanted then
    set(namespace, "ipv6/conf/all/accept_dad", 0)
    set(namespace, "ipv6/conf/default/accept_dad", 0)
  end
end

local function make_router(namespace, ipv6)
  set(namespace, "ipv4/ip_forward", 1)
  set(namespace, "ipv4/icmp_ratelimit", 0)
  for _, scope in ipairs { "all", "default" } do set(namespace, "ipv4/conf/" .. scope .. "/rp_filter", 0) end
  if ipv6 then
    set(namespace, "ipv6/conf/all/forwarding", 1)
    set(namespace, "ipv6/icmp/ratelimit", 0)
  end
end

-- A cable: { namespace, interface } at both ends.
function Plan:connect(a, b)
  table.insert(self.cables, ("link add name %s netns %s type veth peer name %s netns %s"):format(
    a[2], a[1].name, b[2], b[1].name))
  up(a[1], a[2])
  up(b[1], b[2])
end

-- -- addresses

-- The subnet below a router: its own again when it translates nothing, private when it does.
local function next_subnet(line, subnet, router, is_last)
  if not router.translates and subnet.public then
    return { public = true, prefix = subnet.prefix, base = subnet.base + 64, bits = 26 }
  end
  local prefix = (is_last and "10.0.%d." or "100.64.%d."):format(line)
  return { public = false, prefix = prefix, base = 0, bits = 24 }
end

local function address_in(subnet, n)
  return subnet.prefix .. subnet.base + n
end

local function cidr(subnet, n)
  return ("%s/%d"):format(address_in(subnet, n), subnet.bits)
end

local function ipv6_subnet(line, level)
  return level == 0 and ("2f00:%x::"):format(line) or ("2f00:%x:%x::"):format(line, level)
end

-- Gives an interface its place on a level of a line, and its default route.
local function join(self, namespace, interface, place, ipv6_only)
  if not ipv6_only then ip(namespace, "addr add %s dev %s", cidr(place.subnet, place.number), interface) end
  if self.ipv6 then
    ip(namespace, "addr add %s%x/64 dev %s nodad", place.ipv6, place.number, interface)
  end
end

local function add_default_routes(self, namespace, interface, place, metric, ipv6_only)
  local suffix = metric and " metric " .. metric or ""
  if not ipv6_only then
    ip(namespace, "route add default via %s dev %s%s", address_in(place.subnet, 1), interface, suffix)
  end
  if self.ipv6 then ip(namespace, "route add default via %s1 dev %s%s", place.ipv6, interface, suffix) end
end

-- -- one line: routers from the outside to the inside

-- What is below a router is found through it: untranslated IPv4, and IPv6 always.
local function route_down(self, above, place, below)
  local first = below[1]
  if first and not first.translated then
    ip(above, "route add %s via %s", ("%s/%d"):format(address_in(first.subnet, 0), first.subnet.bits),
      address_in(place.subnet, 2))
  end
  if self.ipv6 then
    for _, lower in ipairs(below) do
      ip(above, "route add %s/64 via %s2", lower.ipv6, place.ipv6)
    end
  end
end

local function plan_places(line, nats)
  local bits = #nats > 0 and 26 or 24
  local subnet = { public = true, prefix = ("11.0.%d."):format(line), base = 0, bits = bits }
  local places = { { subnet = subnet, ipv6 = ipv6_subnet(line, 0) } }
  for depth = 1, #nats do
    local router = nats[#nats - depth + 1]
    subnet = next_subnet(line, subnet, router, depth == #nats)
    places[depth + 1] = { subnet = subnet, ipv6 = ipv6_subnet(line, depth), translated = router.translates }
  end
  return places
end

local function at(place, number)
  return { subnet = place.subnet, ipv6 = place.ipv6, number = number }
end

local function add_router(self, name, nat, above, place)
  local router = add_namespace(self, name)
  use_ipv6(router, self.ipv6)
  make_router(router, self.ipv6)
  self:connect({ above, above.below }, { router, "wan" })
  join(self, router, "wan", at(place, 2))
  add_default_routes(self, router, "wan", place)
  router.nft = nat_rules.texts(nat, address_in(place.subnet, 2))
  return router
end

-- A router that maps ports for who is below it.
local function add_mapper(self, router, nat, below)
  if not nat.port_mapping then return end
  table.insert(self.mappers, {
    namespace = router.name, protocols = nat.port_mapping, host = address_in(below.subnet, 1),
    lan = ("%s/%d"):format(address_in(below.subnet, 0), below.subnet.bits), ipv6 = self.ipv6,
  })
end

-- A router that translates the IPv6 of who is below it into IPv4, whose addresses it translates as others'.
local function add_nat64(self, router, nat)
  if not nat.nat64 then return end
  ip(router, "tuntap add dev %s mode tun pi", NAT64_DEVICE)
  up(router, NAT64_DEVICE)
  ip(router, "route add %s dev %s", topology.NAT64_POOL, NAT64_DEVICE)
  if self.ipv6 then ip(router, "route add %s dev %s", topology.NAT64_PREFIX, NAT64_DEVICE) end
  table.insert(self.nat64s, { namespace = router.name, device = NAT64_DEVICE })
end

-- The LAN of a line's innermost router: a cable for one, a bridge for several.
local function add_lan(router, guests)
  if guests == 0 then return function() return "lan" end end
  ip(router, "link add name lan type bridge mcast_snooping 0")
  local ports = 0
  return function()
    ports = ports + 1
    ip(router, "link set port%d master lan", ports)
    return "port" .. ports
  end
end

-- The outermost router that translates, whose address the provider may change.
local function find_wan(name, nats, places)
  local nat = nats[#nats]
  if not nat or not nat.translates then return nil end
  return { namespace = ("%s.nat%d"):format(name, #nats), nat = nat, subnet = places[1].subnet, number = 2 }
end

local function last_subnet_external(places)
  for depth = 2, #places do
    if places[depth].translated then return address_in(places[depth - 1].subnet, 2) end
  end
end

--- A line from the internet to where a host's interface is to be plugged in.
local function add_line(self, name, interface, guests)
  self.lines = self.lines + 1
  local line, above = self.lines, self[topology.NET]
  local net_side = "line" .. line
  local places = plan_places(line, interface.nats)
  above.below = net_side
  local plug
  for depth = 1, #interface.nats do
    local index = #interface.nats - depth + 1
    join(self, above, above.below, at(places[depth], 1))
    local router = add_router(self, ("%s.nat%d"):format(name, index), interface.nats[index], above,
      places[depth])
    add_mapper(self, router, interface.nats[index], places[depth + 1])
    add_nat64(self, router, interface.nats[index])
    route_down(self, above, places[depth], table.move(places, depth + 1, #places, 1, {}))
    above = router
    above.below = "lan"
    if index == 1 then plug = add_lan(router, guests) end
  end
  join(self, above, above.below, at(places[#places], 1))
  if plug and guests > 0 then up(above, "lan") end
  return {
    number = line, net_side = net_side, namespace = above, place = places[#places],
    plug = plug or function() return net_side end,
    external = last_subnet_external(places), taken = 1, wan = find_wan(name, interface.nats, places),
  }
end

-- -- hosts

-- Several NICs: what has an interface's address leaves by that interface.
local function add_source_routes(self, namespace, interface, place, id, ipv6_only)
  if not ipv6_only then
    ip(namespace, "route add default via %s dev %s table %d", address_in(place.subnet, 1), interface, id)
    ip(namespace, "rule add from %s lookup %d", address_in(place.subnet, place.number), id)
  end
  if self.ipv6 then
    ip(namespace, "route add default via %s1 dev %s table %d", place.ipv6, interface, id)
    ip6(namespace, "rule add from %s%x lookup %d", place.ipv6, place.number, id)
  end
end

local function plug_in(self, host, line, index, is_one_of_many)
  line.taken = line.taken + 1
  local place, interface = at(line.place, line.taken), "eth" .. index - 1
  local namespace = self[host.name]
  self:connect({ line.namespace, line.plug() }, { namespace, interface })
  join(self, namespace, interface, place, host.ipv6_only)
  add_default_routes(self, namespace, interface, place, is_one_of_many and 100 * index or nil, host.ipv6_only)
  if is_one_of_many then add_source_routes(self, namespace, interface, place, 100 + index, host.ipv6_only) end
  local address = not host.ipv6_only and address_in(place.subnet, place.number) or nil
  return {
    name = interface, line = line, address = address, external = address and (line.external or address),
    ipv6 = self.ipv6 and ("%s%x"):format(place.ipv6, place.number) or nil,
  }
end

local function count_guests(hosts)
  local guests = {}
  for _, host in ipairs(hosts) do
    if host.lan then guests[host.lan] = (guests[host.lan] or 0) + 1 end
  end
  return guests
end

local function wants_ipv6(host, hosts)
  if host.ipv6 then return true end
  for _, guest in ipairs(hosts) do
    if guest.lan == host.name and guest.ipv6 then return true end
  end
  return false
end

local function has_nat64(lines)
  for _, line in ipairs(lines) do
    for _, nat in ipairs(line.link.nats) do
      if nat.nat64 then return true end
    end
  end
  return false
end

local function add_host(self, host, lines)
  self.ipv6 = host.ipv6
  local namespace = add_namespace(self, host.name)
  use_ipv6(namespace, host.ipv6)
  up(namespace, "lo")
  local interfaces = {}
  local plugged = { name = host.name, ipv6_only = not host.ipv4 }
  for i, line in ipairs(lines) do interfaces[i] = plug_in(self, plugged, line, i, #lines > 1) end
  self.hosts[host.name] = { interfaces = interfaces, nat64 = has_nat64(lines) }
end

local function add_lines(self, host, hosts, guests)
  self.ipv6 = wants_ipv6(host, hosts)
  local lines = {}
  for i, interface in ipairs(host.interfaces) do
    local name = i == 1 and host.name or ("%s.eth%d"):format(host.name, i - 1)
    lines[i] = add_line(self, name, interface, i == 1 and guests or 0)
    lines[i].link = interface
    self.links[#self.links + 1] = lines[i]
  end
  return lines
end

-- -- the internet and the servers

local NET_RULES = [[
table inet internet {
  set cut { type ifname; }
  set no_udp { type ifname; }
  chain arriving { type filter hook input priority 0; iifname @cut drop; }
  chain leaving {
    type filter hook output priority 0;
    oifname @cut drop
    icmp type { echo-reply, destination-unreachable, time-exceeded } jump delay
    icmpv6 type { echo-reply, destination-unreachable, packet-too-big, time-exceeded } jump delay
  }
  chain passing {
    type filter hook forward priority 0;
    iifname @cut drop
    oifname @cut drop
    meta l4proto udp iifname @no_udp drop
    meta l4proto udp oifname @no_udp drop
    jump delay
  }
  chain delay { }
}
]]

local function add_internet(self, ipv6)
  local net = add_namespace(self, topology.NET)
  use_ipv6(net, ipv6)
  make_router(net, ipv6)
  up(net, "lo")
  for _, private in ipairs { "10.0.0.0/8", "100.64.0.0/10" } do ip(net, "route add blackhole %s", private) end
  table.insert(net.nft, NET_RULES)
end

local function add_servers(self, ipv6, addresses, addresses6)
  local net, servers = self[topology.NET], add_namespace(self, topology.SERVERS)
  use_ipv6(servers, ipv6)
  up(servers, "lo")
  self:connect({ net, "servers" }, { servers, "eth0" })
  ip(net, "addr add 11.1.0.1/16 dev servers")
  ip(servers, "addr add 11.1.0.2/16 dev eth0")
  for _, address in ipairs(addresses) do ip(servers, "addr add %s/16 dev eth0", address) end
  ip(servers, "route add default via 11.1.0.1")
  if not ipv6 then return end
  ip(net, "addr add %s1/64 dev servers nodad", SERVERS_IPV6)
  ip(servers, "addr add %s2/64 dev eth0 nodad", SERVERS_IPV6)
  for _, address in ipairs(addresses6) do ip(servers, "addr add %s/64 dev eth0 nodad", address) end
  ip(servers, "route add default via %s1", SERVERS_IPV6)
end

local function forbid_udp(self)
  for _, line in ipairs(self.links) do
    if not line.link.udp then
      local rule = ("add element inet internet no_udp { %s }\n"):format(line.net_side)
      table.insert(self[topology.NET].nft, rule)
    end
  end
end

--- What gives the router of a line its next address; the line is changed.
-- @tparam table line
-- @treturn table a namespace as those of a plan: `name`, `ip`, `nft`
function topology.renumber(line)
  local wan = line.wan
  local old = wan.number
  wan.number = old < WAN_MAX and old + 1 or 2
  line.external = address_in(wan.subnet, wan.number)
  local texts = nat_rules.texts(wan.nat, line.external)
  texts[1] = "flush ruleset\n" .. texts[1]
  return {
    name = wan.namespace, nft = texts, files = {},
    ip = {
      "addr del " .. cidr(wan.subnet, old) .. " dev wan",
      "addr add " .. cidr(wan.subnet, wan.number) .. " dev wan",
      "route replace default via " .. address_in(wan.subnet, 1) .. " dev wan",
    },
  }
end

--- What makes the router of a line forget all that it has translated; the line is changed.
-- @tparam table line
-- @treturn table a namespace as those of a plan: `name`, `ip`, `nft`
function topology.reboot(line)
  local wan = line.wan
  wan.boots = (wan.boots or 0) + 1
  local texts = nat_rules.texts(wan.nat, line.external)
  texts[1] = "flush ruleset\n" .. nat_rules.fresh_start(wan.boots) .. texts[1]
  return { name = wan.namespace, ip = {}, nft = texts, files = {} }
end

--- Plans a lab.
-- @tparam table lab a checked description
-- @tparam {string,...} addresses of the servers, in 11.1.0.0/16; none: no servers
-- @tparam[opt] {string,...} addresses6 the same, in 2f00:ffff::/64
-- @treturn table `namespaces`: a list, the first being the internet, each with `name`, `ip` (lines for
-- `ip -batch`), `ip6` (for `ip -6 -batch`), `files` ({ path, value } to write) and `nft` (rule-sets, each a
-- transaction); `cables`: lines for `ip -batch` that make the interfaces; `links`: the lines, with
-- `net_side`; `hosts`: by name, `interfaces` with `name`, `address`, `ipv6`, `external`, `line`, and `nat64`;
-- `mappers`: the routers that map ports, with `namespace`, `protocols` (a set), `host` (their address below),
-- `lan`, `ipv6`; `nat64s`: those that translate IPv6, with `namespace`, `device`
function topology.plan(lab, addresses, addresses6)
  local self = setmetatable({ namespaces = {}, cables = {}, links = {}, hosts = {}, mappers = {},
    nat64s = {}, lines = 0 }, Plan)
  local ipv6 = description.any_ipv6(lab.hosts)
  add_internet(self, ipv6)
  if #addresses > 0 then add_servers(self, ipv6, addresses, addresses6 or {}) end
  local guests, lines = count_guests(lab.hosts), {}
  for _, host in ipairs(lab.hosts) do
    if not host.lan then
      lines[host.name] = add_lines(self, host, lab.hosts, guests[host.name] or 0)
      add_host(self, host, lines[host.name])
    end
  end
  for _, host in ipairs(lab.hosts) do
    if host.lan then add_host(self, host, { lines[host.lan][1] }) end
  end
  forbid_udp(self)
  return self
end

return topology
