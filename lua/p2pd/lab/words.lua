--- NATs in words, as a command line has them: "port-restricted", "symmetric/independent/3/rst", and
-- "port-restricted+symmetric" for a home's NAT and its carrier's.
-- @module p2pd.lab.words
local nat = require "p2pd.nat"

local words = {}

local TYPES = { "open", "firewall", "full-cone", "address-restricted", "port-restricted", "symmetric",
  "blocked" }
local DELTAS = { "equal", "preserving", "independent", "dependent", "random" }

--- What `parse` understands, for a help text.
words.HELP = ("TYPE[/DELTA[/VALUE]][/drop|/rst|/icmp][/MORE...], the inner of two before a `+`. TYPE: %s. "
  .. "DELTA: %s. MORE: hairpin, igd, natpmp, pcp, nat64."):format(table.concat(TYPES, ", "),
  table.concat(DELTAS, ", "))

local PROTOCOLS = { igd = true, natpmp = true, pcp = true }
local UNSOLICITED = { drop = true, rst = true, icmp = true }

local function parse_word(router, word)
  if UNSOLICITED[word] then
    router.unsolicited = word
  elseif word == "hairpin" then
    router.hairpin = true
  elseif word == "nat64" then
    router.nat64 = true
  elseif PROTOCOLS[word] then
    router.port_mapping = (router.port_mapping and router.port_mapping .. "," or "") .. word
  elseif math.tointeger(tonumber(word)) then
    router.value = math.tointeger(tonumber(word))
  elseif nat.DELTAS[word] then
    router.delta = word
  else
    return false
  end
  return true
end

local function is_among(list, word)
  for _, one in ipairs(list) do
    if one == word then return true end
  end
  return false
end

local function parse_router(text)
  local router
  for word in text:gmatch "[^/]+" do
    if not router then
      if not is_among(TYPES, word) then
        return nil, ("%q is no type of NAT; there are: %s"):format(word, table.concat(TYPES, ", "))
      end
      router = { type = word }
    elseif not parse_word(router, word) then
      return nil, ("%q is no delta, value, drop, rst, icmp, hairpin, igd, natpmp, pcp or nat64"):format(word)
    end
  end
  if not router then return nil, "a NAT has a type" end
  return router
end

--- Reads the NATs of a host; @{p2pd.lab.open} checks what they say.
-- @tparam string text
-- @treturn[1] {table,...} `nats` of a host
-- @treturn[2] nil
-- @treturn[2] string what is wrong
function words.parse(text)
  local nats = {}
  if text == "open" then return nats end
  for part in (text .. "+"):gmatch "([^+]*)%+" do
    local router, fault = parse_router(part)
    if not router then return nil, fault end
    nats[#nats + 1] = router
  end
  return nats
end

--- The opposite, for people.
-- @tparam {table,...} nats as a checked description has them
-- @treturn string
function words.describe(nats)
  local parts = {}
  for i, router in ipairs(nats) do
    local text = router.type
    if router.translates then text = ("%s, %s delta"):format(text, router.delta) end
    if router.value ~= 0 then text = ("%s of %d"):format(text, router.value) end
    parts[i] = ("%s, %s"):format(text, router.unsolicited)
    if router.port_mapping then parts[i] = parts[i] .. ", maps ports" end
    if router.nat64 then parts[i] = parts[i] .. ", NAT64" end
  end
  return parts[1] and table.concat(parts, "; then ") or "no NAT"
end

return words
