--- What a lab may look like: checks a description and fills in what it leaves out.
-- Every fault names its field, as in `hosts.a.nats[1].delta: no delta is called "odd"`.
-- @module p2pd.lab.description
local checks = require "p2pd.lab.checks"
local nat = require "p2pd.nat"

local description = {}

local refuse, show = checks.refuse, checks.show

local MAX_HOSTS, MAX_NATS, MAX_INTERFACES, MAX_LAN = 60, 2, 4, 32
local MAX_SERVERS = 32   -- of a kind
local MAX_DELAY_S = 60
local MAX_VALUE = 1000   -- of a delta
local LOWEST_PORT, HIGHEST_PORT = 1024, 65535
local DEFAULT_SERVERS = { brokers = 0, stuns = 0, ntps = 0, turns = 0 }
local SERVER_KEYS = { brokers = true, stuns = true, ntps = true, turns = true, ipv6 = true }

local TYPES, DELTAS = nat.TYPES, nat.DELTAS
local UNSOLICITED = { drop = true, rst = true, icmp = true }
local MAPPING_PROTOCOLS = { igd = true, natpmp = true, pcp = true }
local ALIASES = { open = "open internet", firewall = "symmetric UDP firewall" }

-- The types that give a host an address of its own to the outside.
local UNTRANSLATED = { ["open internet"] = true, ["symmetric UDP firewall"] = true }

-- A word of p2pd.nat in any case, with hyphens for blanks if need be; or its number.
local function word_of(path, words, what, value)
  if type(value) == "number" and words[value] then return words[value] end
  if type(value) == "string" then
    local wanted = (ALIASES[value] or value):lower():gsub("[%s_]", "-")
    for _, word in ipairs(words) do
      if word:lower():gsub("%s", "-") == wanted then return word end
    end
  end
  refuse(path, "no %s is called %s", what, show(value))
end

-- -- NATs

-- What an endpoint-independent NAT, a symmetric one, and no NAT can do with ports.
local FREE_DELTAS = { ["independent"] = true, ["random"] = true }

local function check_pair(path, type, delta)
  if UNTRANSLATED[type] then
    if delta ~= "not applicable" then refuse(path, "%q translates no port, so it has no delta", type) end
  elseif delta == "not applicable" then
    refuse(path, "a NAT of the type %q translates ports, so it has a delta", type)
  elseif type == "symmetric" and not FREE_DELTAS[delta] then
    refuse(path, "a symmetric NAT has a new port for each destination, which makes its delta "
      .. "independent or random; %q can only be that of `tcp`, beside another type", delta)
  end
end

local function default_delta(type)
  if UNTRANSLATED[type] then return "not applicable" end
  return type == "symmetric" and "random" or "equal"
end

local function check_value(path, delta, value)
  if delta == "independent" or delta == "dependent" then
    value = checks.integer(path, value, 1, -MAX_VALUE, MAX_VALUE)
    if value == 0 then refuse(path, "a delta that is %s has a value", delta) end
    return value
  end
  if value ~= nil and value ~= 0 then refuse(path, "a delta that is %s has no value", delta) end
  return 0
end

local function check_ports(path, delta, ports)
  if ports == nil then return nil end
  if not FREE_DELTAS[delta] then refuse(path, "with a delta that is %s the local port decides", delta) end
  checks.require_list(path, ports, 2)
  local from = checks.integer(path .. "[1]", ports[1] or 0, nil, LOWEST_PORT, HIGHEST_PORT)
  return { from, checks.integer(path .. "[2]", ports[2] or 0, nil, from, HIGHEST_PORT) }
end

local BEHAVIOUR_KEYS = { type = true, delta = true, value = true, ports = true }

local function check_behaviour(path, given)
  local kind = word_of(path .. ".type", TYPES, "NAT type", given.type)
  local delta = given.delta == nil and default_delta(kind)
    or word_of(path .. ".delta", DELTAS, "delta", given.delta)
  check_pair(path .. ".delta", kind, delta)
  return {
    type = kind,
    delta = delta,
    value = check_value(path .. ".value", delta, given.value),
    ports = check_ports(path .. ".ports", delta, given.ports),
  }
end

-- `tcp` says what differs for TCP.
local function check_tcp(path, given, udp)
  if given == nil then return udp end
  checks.require_known(path, given, BEHAVIOUR_KEYS)
  local tcp = check_behaviour(path, {
    type = given.type or udp.type, delta = given.delta, value = given.value, ports = given.ports,
  })
  if (UNTRANSLATED[tcp.type] or false) ~= not udp.translates then
    refuse(path .. ".type", "a NAT translates both UDP and TCP, or neither")
  end
  return tcp
end

-- The protocols by which a router maps ports, from a text such as "igd,pcp".
local function check_port_mapping(path, given)
  if given == nil or given == false then return nil end
  if given == true then given = "igd,natpmp,pcp" end
  if type(given) ~= "string" then refuse(path, "%s is not a list such as \"igd,natpmp,pcp\"", show(given)) end
  local result = {}
  for word in (given .. ","):gmatch "([^,]*)," do
    if not MAPPING_PROTOCOLS[word] then refuse(path, "%s is not igd, natpmp or pcp", show(word)) end
    result[word] = true
  end
  return result
end

local NAT_KEYS = { type = true, delta = true, value = true, ports = true, unsolicited = true, hairpin = true,
  udp = true, tcp = true, port_mapping = true, nat64 = true }

local function check_nat(path, given)
  checks.require_known(path, given, NAT_KEYS)
  local result = check_behaviour(path, given)
  result.unsolicited = given.unsolicited == nil and "drop" or given.unsolicited
  if not UNSOLICITED[result.unsolicited] then
    refuse(path .. ".unsolicited", '%s is not "drop", "rst" or "icmp"', show(given.unsolicited))
  end
  result.hairpin = checks.boolean(path .. ".hairpin", given.hairpin, false)
  result.udp = checks.boolean(path .. ".udp", given.udp, true) and result.type ~= "blocked"
  result.translates = not UNTRANSLATED[result.type]
  result.tcp = check_tcp(path .. ".tcp", given.tcp, result)
  result.port_mapping = check_port_mapping(path .. ".port_mapping", given.port_mapping)
  if result.hairpin and not result.translates then
    refuse(path .. ".hairpin", "%q translates nothing, so there is nothing to turn back", result.type)
  end
  result.nat64 = checks.boolean(path .. ".nat64", given.nat64, false)
  if result.nat64 and not result.translates then
    refuse(path .. ".nat64", "%q translates nothing, so IPv6 cannot become IPv4 there", result.type)
  end
  return result
end

local function check_nats(path, given)
  if given == nil then return {} end
  checks.require_list(path, given, MAX_NATS)
  local nats = {}
  for i, one in ipairs(given) do nats[i] = check_nat(("%s[%d]"):format(path, i), one) end
  return nats
end

-- -- interfaces and links

--- Checks what describes a link to the internet.
-- @tparam string path what faults call it
-- @tparam table given `latency`, `up`, `down`, `jitter` (seconds), `loss` (0 to 1)
-- @tparam[opt] table old what is not given stays as it is there
-- @treturn table up, down, jitter, loss
local function check_link(path, given, old)
  local latency = checks.number(path .. ".latency", given.latency, nil, MAX_DELAY_S)
  old = old or { up = 0, down = 0, jitter = 0, loss = 0 }
  return {
    up = checks.number(path .. ".up", given.up, latency or old.up, MAX_DELAY_S),
    down = checks.number(path .. ".down", given.down, latency or old.down, MAX_DELAY_S),
    jitter = checks.number(path .. ".jitter", given.jitter, old.jitter, MAX_DELAY_S),
    loss = checks.number(path .. ".loss", given.loss, old.loss, 1),
  }
end

local LINK_KEYS = { latency = true, up = true, down = true, jitter = true, loss = true }
local INTERFACE_KEYS = { nats = true, firewall = true, udp = true, latency = true, up = true, down = true,
  jitter = true, loss = true }

local function check_firewall(path, given, nats)
  if given == nil or given == false then return nats end
  if nats then refuse(path, "stands for `nats`, and can't be beside it") end
  local unsolicited = given ~= true and given or nil
  return { { type = "symmetric UDP firewall", unsolicited = unsolicited } }
end

local function check_interface(path, given)
  local nats = check_firewall(path .. ".firewall", given.firewall, given.nats)
  local result = check_link(path, given)
  result.nats = check_nats(path .. ".nats", nats)
  result.udp = checks.boolean(path .. ".udp", given.udp, true)
  return result
end

local function check_interfaces(path, host)
  if host.interfaces == nil then return { check_interface(path, host) } end
  for key in pairs(INTERFACE_KEYS) do
    if host[key] ~= nil then refuse(path .. "." .. key, "belongs into each of `interfaces`") end
  end
  path = path .. ".interfaces"
  checks.require_list(path, host.interfaces, MAX_INTERFACES)
  if #host.interfaces == 0 then refuse(path, "a host has at least one") end
  local result = {}
  for i, given in ipairs(host.interfaces) do
    local place = ("%s[%d]"):format(path, i)
    checks.require_known(place, given, INTERFACE_KEYS)
    result[i] = check_interface(place, given)
  end
  return result
end

-- -- hosts

local HOST_KEYS = { lan = true, interfaces = true, ipv4 = true, ipv6 = true }
for key in pairs(INTERFACE_KEYS) do HOST_KEYS[key] = true end

local function check_guest(path, given)
  for key in pairs(given) do
    if key ~= "lan" and key ~= "ipv4" and key ~= "ipv6" then
      refuse(("%s.%s"):format(path, key), "a host on another's LAN has what that one has")
    end
  end
end

local function check_host(path, name, given)
  if type(name) ~= "string" or not name:find "^%a[%w_]*$" or #name > 32 then
    refuse("hosts", "%s is not a name of letters, digits and _", show(name))
  end
  checks.require_known(path, given, HOST_KEYS)
  local host = { name = name, ipv4 = checks.boolean(path .. ".ipv4", given.ipv4, true),
    ipv6 = checks.boolean(path .. ".ipv6", given.ipv6, false), lan = given.lan }
  if not host.ipv4 and not host.ipv6 then refuse(path .. ".ipv4", "without IPv6 there is no address left") end
  if given.lan == nil then
    host.interfaces = check_interfaces(path, given)
  else
    check_guest(path, given)
  end
  return host
end

-- Guests of a LAN know their owner's name alone until all hosts are known.
local function join_lans(hosts, by_name)
  local sizes = {}
  for _, host in ipairs(hosts) do
    local path, owner = ("hosts.%s.lan"):format(host.name), by_name[host.lan]
    if host.lan then
      if not owner then refuse(path, "no host is called %s", show(host.lan)) end
      if owner.lan then refuse(path, "%q is on the LAN of %q: name that one", owner.name, owner.lan) end
      if #owner.interfaces[1].nats == 0 then
        refuse(path, "%q has a public address, and no LAN", owner.name)
      end
      sizes[owner] = (sizes[owner] or 1) + 1
      if sizes[owner] > MAX_LAN then refuse(path, "more than %d hosts on one LAN", MAX_LAN) end
    end
  end
end

local function check_hosts(given)
  checks.require_table("hosts", given)
  local hosts, by_name = {}, {}
  for _, name in ipairs(checks.sorted_keys(given)) do
    local host = check_host("hosts." .. tostring(name), name, given[name])
    hosts[#hosts + 1], by_name[name] = host, host
  end
  if #hosts == 0 then refuse("hosts", "a lab has at least one") end
  if #hosts > MAX_HOSTS then refuse("hosts", "%d are more than %d", #hosts, MAX_HOSTS) end
  join_lans(hosts, by_name)
  return hosts
end

local function check_servers(given)
  given = given == nil and {} or given
  checks.require_known("servers", given, SERVER_KEYS)
  local servers = { ipv6 = checks.boolean("servers.ipv6", given.ipv6, true) }
  for kind, default in pairs(DEFAULT_SERVERS) do
    servers[kind] = checks.integer("servers." .. kind, given[kind], default, 0, MAX_SERVERS)
  end
  return servers
end

--- Whether any of the hosts has IPv6.
-- @tparam {table,...} hosts checked
-- @treturn boolean
function description.any_ipv6(hosts)
  for _, host in ipairs(hosts) do
    if host.ipv6 then return true end
  end
  return false
end

local LAB_KEYS = { hosts = true, servers = true, rootless = true }

local function check(given)
  checks.require_known("lab", given, LAB_KEYS)
  local hosts, servers = check_hosts(given.hosts), check_servers(given.servers)
  servers.ipv6 = servers.ipv6 and description.any_ipv6(hosts)
  return {
    hosts = hosts,
    servers = servers,
    rootless = checks.boolean("rootless", given.rootless, false),
  }
end

--- Checks the description of a lab.
-- @tparam table given as for @{p2pd.lab.open}
-- @treturn[1] table `hosts`, a list sorted by name with `name`, `ipv4`, `ipv6` and either `lan` or
-- `interfaces` (`nats`, `up`, `down`, `jitter`, `loss`, `udp`); `servers`, a number for each kind, and `ipv6`
-- @treturn[2] nil
-- @treturn[2] string the fault, with its field
function description.check(given)
  return checks.protect(check, given)
end

--- Checks what may change about a link.
-- @tparam table given any of latency, up, down, jitter (seconds) and loss (0 to 1)
-- @tparam table old the link as it is
-- @treturn[1] table up, down, jitter, loss
-- @treturn[2] nil
-- @treturn[2] string the fault
function description.check_link(given, old)
  return checks.protect(function()
    checks.require_known("link", given, LINK_KEYS)
    return check_link("link", given, old)
  end)
end

return description
