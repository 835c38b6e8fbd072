--- The rule-set of a router that behaves as a NAT of a given type and delta: texts for `nft -f`.
--
-- Two independent halves. *Mapping*, by source NAT after routing, decides the external port: a NAT whose
-- mappings do not depend on the destination keeps the local port, computes the external one from it, or gives
-- each inside endpoint the next port of a list; a symmetric NAT gives each connection the next port of a
-- list. A list that is in order makes an independent delta, a shuffled one a random delta without any port
-- twice. *Filtering*, by destination NAT before routing, decides who may answer: connection tracking alone
-- makes a port-restricted NAT; the others look up who has the port (`owners`) and whom he has spoken to
-- (`contacts`).
-- @module p2pd.lab.nat_rules
local nat_rules = {}

local LOWEST, HIGHEST = 1024, 65535
local PRIME = 64499          -- the largest below the number of ports: a factor maps them one to one
local BLOCK = 1024           -- ports that keep their distance; a power of two, so that xor moves them
local BLOCKS = HIGHEST // BLOCK
local PRESERVING_SHIFT = 7   -- blocks
local LIST_LENGTH, LIST_START = 1000, 30000
local RANDOM_LENGTH = 2000
local CHUNK = 2500           -- entries of a map in one transaction; an ordinary user's socket takes few more
local LIFETIME = "300s"      -- of a mapping and of a filter's opening since they were last used

local INSIDE = "{ 10.0.0.0/8, 100.64.0.0/10 }"

local function shuffle(list)
  for i = #list, 2, -1 do
    local j = math.random(i)
    list[i], list[j] = list[j], list[i]
  end
  return list
end

local function map_text(entries)
  return "{ " .. table.concat(entries, ", ") .. " }"
end

-- -- the list of a NAT that chooses ports freely

local function sequence(behaviour)
  local step, list = behaviour.value, {}
  local from, to = LIST_START, HIGHEST
  if step < 0 then from = 60000 end
  if behaviour.ports then
    from, to = table.unpack(behaviour.ports)
    if step < 0 then from, to = to, from end
  elseif step < 0 then
    to = LOWEST
  end
  for port = from, to, step do
    list[#list + 1] = port
    if #list == LIST_LENGTH then break end
  end
  return list
end

local function random_ports(behaviour)
  local from, to = LOWEST, HIGHEST
  if behaviour.ports then from, to = table.unpack(behaviour.ports) end
  local list, seen = {}, {}
  local length = math.min(RANDOM_LENGTH, to - from + 1)
  if length == to - from + 1 then
    for port = from, to do list[#list + 1] = port end
    return shuffle(list)
  end
  while #list < length do
    local port = math.random(from, to)
    if not seen[port] then
      seen[port] = true
      list[#list + 1] = port
    end
  end
  return list
end

local function port_list(behaviour)
  local ports = behaviour.delta == "random" and random_ports(behaviour) or sequence(behaviour)
  local entries = {}
  for i, port in ipairs(ports) do entries[i] = ("%d : %d"):format(i - 1, port) end
  return #ports, map_text(entries)
end

-- -- mappings: each gives the rules of the chain `translate` for packets that `match`

local ENDPOINT = "meta l4proto . ip saddr . th sport"

local mapping = {}

function mapping.equal(_, match, outside)
  return { ("%s snat to %s"):format(match, outside) }
end

-- Blocks of ports change places, and a port keeps its place in the block.
local function moved_blocks(match, outside, place_of)
  local rules = {}
  for block = 1, BLOCKS do
    rules[block] = ("%s th sport %d-%d snat to %s : th sport ^ %d"):format(match, block * BLOCK,
      block * BLOCK + BLOCK - 1, outside, (block ~ place_of(block)) * BLOCK)
  end
  return rules
end

-- All blocks move equally far, but for the last, which move to the front.
function mapping.preserving(_, match, outside)
  return moved_blocks(match, outside, function(block) return (block - 1 + PRESERVING_SHIFT) % BLOCKS + 1 end)
end

-- No two neighbours move equally far.
local function scattered()
  local places, bad = {}, true
  for block = 1, BLOCKS do places[block] = block end
  while bad do
    shuffle(places)
    bad = places[1] == 1
    for block = 2, BLOCKS do bad = bad or places[block] == block or places[block] == places[block - 1] + 1 end
  end
  return places
end

-- With a step of one only neighbours within a block are neighbours outside; all distances kept would be
-- preserving.
function mapping.dependent(behaviour, match, outside)
  if behaviour.value == 1 then
    local places = scattered()
    return moved_blocks(match, outside, function(block) return places[block] end)
  end
  return { ("%s snat to %s : th sport map @%s"):format(match, outside, behaviour.map) }
end

local function needs_map(behaviour)
  return behaviour.delta == "dependent" and behaviour.value ~= 1
end

-- Fills the map of a dependent delta, in as many transactions as that takes.
local function fill_map(behaviour, texts)
  local entries = {}
  for i = 0, PRIME - 1 do
    entries[#entries + 1] = ("%d : %d"):format(LOWEST + i, LOWEST + i * behaviour.value % PRIME)
    if #entries == CHUNK or i == PRIME - 1 then
      texts[#texts + 1] = ("add element ip nat %s %s\n"):format(behaviour.map, map_text(entries))
      entries = {}
    end
  end
end

-- A number that numgen makes has the wrong byte order for a port; it goes through a mark and a constant map.
function mapping.independent(behaviour, match, outside)
  local length, ports = port_list(behaviour)
  if behaviour.type == "symmetric" then
    return { ("%s snat to %s : numgen inc mod %d map %s"):format(match, outside, length, ports) }
  end
  return {
    ("%s %s != @known add @known { %s } add @endpoints { %s : numgen inc mod %d }"):format(match,
      ENDPOINT, ENDPOINT, ENDPOINT, length),
    ("%s meta mark set %s map @endpoints"):format(match, ENDPOINT),
    ("%s snat to %s : meta mark map %s"):format(match, outside, ports),
  }
end

mapping.random = mapping.independent

-- -- filtering: each gives the rules that let packets from outside in

local OWNER = "dnat ip to meta l4proto . th dport map @owners"

local filtering = {
  ["full cone"] = "%s " .. OWNER,
  ["address-restricted"] = "%s meta l4proto . th dport . ip saddr @contacts " .. OWNER,
}

-- -- the whole

-- UDP and TCP as one when they behave alike: they share the list then.
local function behaviours(nat)
  local function one(behaviour, match, name)
    return {
      type = behaviour.type, delta = behaviour.delta, value = behaviour.value, ports = behaviour.ports,
      match = match, map = "dependent_" .. name,
    }
  end
  if nat.tcp == nat then return { one(nat, "meta l4proto { tcp, udp }", "ports") } end
  return { one(nat, "meta l4proto udp", "udp"), one(nat.tcp, "meta l4proto tcp", "tcp") }
end

local SETS = ([[
  map owners { type inet_proto . inet_service : ipv4_addr . inet_service; DYNAMIC }
  set contacts { type inet_proto . inet_service . ipv4_addr; DYNAMIC }
  map endpoints { type inet_proto . ipv4_addr . inet_service : mark; DYNAMIC }
  set known { type inet_proto . ipv4_addr . inet_service; DYNAMIC }
]]):gsub("DYNAMIC", "flags dynamic,timeout; timeout " .. LIFETIME .. ";")

local MAP = "  map %s { type inet_service : inet_service; }\n"

-- The inside end of a connection is its source only in the direction in which it began.
local LEARN = {
  "update @contacts { meta l4proto . th sport . ip daddr }",
  "meta l4proto { tcp, udp } ct direction original "
    .. "update @owners { meta l4proto . th sport : ct original ip saddr . ct original proto-src }",
}

local function chain(name, lines)
  return ("  chain %s {\n    %s\n  }\n"):format(name, table.concat(lines, "\n    "))
end

local function nat_table(nat, outside, list)
  local translate, admit, maps = {}, { "type nat hook prerouting priority -100;" }, ""
  local leaving = { 'oifname "wan" jump translate' }
  local learning = { "type filter hook postrouting priority 110;" }
  for _, behaviour in ipairs(list) do
    for _, rule in ipairs(mapping[behaviour.delta](behaviour, behaviour.match, outside)) do
      translate[#translate + 1] = rule
    end
    local filter = filtering[behaviour.type]
    if filter then admit[#admit + 1] = 'iifname "wan" ' .. filter:format(behaviour.match) end
    if needs_map(behaviour) then maps = maps .. MAP:format(behaviour.map) end
  end
  translate[#translate + 1] = "snat to " .. outside
  if nat.hairpin then
    admit[#admit + 1] = ('iifname "lan" ip daddr %s meta l4proto { tcp, udp } %s'):format(outside, OWNER)
    leaving[2] = ('oifname "lan" ip saddr %s ct original ip daddr %s jump translate'):format(INSIDE, outside)
    learning[3] = ('oifname "lan" ip saddr %s meta l4proto { tcp, udp } jump learn'):format(outside)
  end
  if #admit > 1 then learning[2] = 'oifname "wan" meta l4proto { tcp, udp } jump learn' end
  return "table ip nat {\n" .. SETS .. maps .. chain("translate", translate) .. chain("learn", LEARN)
    .. chain("before", admit)
    .. chain("after", { "type nat hook postrouting priority 100;", table.unpack(leaving) })
    .. chain("learning", learning) .. "}\n"
end

local REFUSALS = {
  drop = { "drop" },
  rst = { "meta l4proto tcp reject with tcp reset", "drop" },
  icmp = { "reject with icmpx type admin-prohibited" },
}

-- What nobody inside has asked for.
local function guard(nat, hook)
  local lines = { ("type filter hook %s priority 0;"):format(hook) }
  if hook == "forward" and not nat.udp then lines[#lines + 1] = "meta l4proto udp drop" end
  if nat.type == "open internet" then return lines end
  lines[#lines + 1] = 'iifname != "wan" accept'
  lines[#lines + 1] = "meta l4proto ipv6-icmp icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept"
  lines[#lines + 1] = "ct state established,related accept"
  if hook == "forward" then lines[#lines + 1] = "ct status dnat accept" end
  if hook == "forward" and nat.port_mapping then lines[#lines + 1] = "jump opened" end
  return table.move(REFUSALS[nat.unsolicited], 1, 2, #lines + 1, lines)
end

-- What miniupnpd fills: `opened` for filters, `mapped` for the ports; and the version by which one can tell
-- PCP's requests from NAT-PMP's, who share a port.
local MAPPING_CHAINS = [[
  chain opened { }
  chain mapped { }
  chain mapped_back { }
  chain mapping { type nat hook prerouting priority -100; jump mapped; }
  chain mapping_back { type nat hook postrouting priority 101; jump mapped_back; }
  chain asking {
    type filter hook input priority -1;
    UNSPOKEN
  }
]]

local function mapping_chains(protocols)
  local unspoken = {}
  if not protocols.natpmp then unspoken[1] = "udp dport 5351 @th,64,8 0 drop" end
  if not protocols.pcp then unspoken[#unspoken + 1] = "udp dport 5351 @th,64,8 != 0 drop" end
  return (MAPPING_CHAINS:gsub("UNSPOKEN", table.concat(unspoken, "\n    ")))
end

-- Connections of another zone are not known, and one is begun by a SYN, not by what follows it.
local FRESH_START = [[
table inet fresh {
  chain forgetting { type filter hook prerouting priority -300; ct zone set ZONE; }
  chain forgetting_own { type filter hook output priority -300; ct zone set ZONE; }
  chain beginning {
    type filter hook forward priority -10;
    ct state new tcp flags & (fin | syn | rst | ack) != syn drop
    ct state invalid drop
  }
}
]]

--- Rules after which a router does not know the connections that have passed it until now.
-- @tparam integer count how often that has happened to it, this time included
-- @treturn string
function nat_rules.fresh_start(count)
  return (FRESH_START:gsub("ZONE", tostring(count)))
end

--- The rule-set of one router, whose interfaces are called `wan` and `lan`.
-- @tparam table nat as @{p2pd.lab.description} completes it: `type`, `delta` (words), `value`,
-- `ports`, `unsolicited`, `hairpin`, `udp`, `translates`, `tcp` (itself, or what differs for TCP),
-- `port_mapping` (a set of protocols)
-- @tparam string outside the router's address on its `wan`
-- @treturn {string,...} one for each transaction, in order
function nat_rules.texts(nat, outside)
  local chains = nat.port_mapping and mapping_chains(nat.port_mapping) or ""
  local texts = { "table inet guard {\n" .. chains .. chain("arriving", guard(nat, "input"))
    .. chain("passing", guard(nat, "forward")) .. "}\n" }
  if not nat.translates then return texts end
  local list = behaviours(nat)
  texts[1] = texts[1] .. nat_table(nat, outside, list)
  for _, behaviour in ipairs(list) do
    if needs_map(behaviour) then fill_map(behaviour, texts) end
  end
  return texts
end

return nat_rules
