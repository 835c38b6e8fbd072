--- What a NAT is called, and what follows from what was observed of one: the types and deltas of a peer
-- address, the axes of RFC 4787, the tree of RFC 3489. Pure: p2pd.nat.classify does the observing.
-- @module p2pd.nat
local nat = {}

-- Word to number beside number to word.
local function name_both_ways(words)
  for number = 1, #words do words[words[number]] = number end
  return words
end

--- NAT types: how a router filters. `TYPES[5]` is "port-restricted", `TYPES["port-restricted"]` is 5.
nat.TYPES = name_both_ways {
  "open internet",
  "symmetric UDP firewall",
  "full cone",
  "address-restricted",
  "port-restricted",
  "symmetric",
  "blocked",
}

--- Delta types: how a router allots external ports, number to word and back.
nat.DELTAS = name_both_ways {
  "not applicable",
  "equal",
  "preserving",
  "independent",
  "dependent",
  "random",
}

nat.OPEN = nat.TYPES["open internet"]
nat.FIREWALL = nat.TYPES["symmetric UDP firewall"]
nat.SYMMETRIC = nat.TYPES["symmetric"]
nat.BLOCKED = nat.TYPES["blocked"]

nat.DELTA_NONE = nat.DELTAS["not applicable"]
nat.DELTA_EQUAL = nat.DELTAS["equal"]
nat.DELTA_PRESERVING = nat.DELTAS["preserving"]
nat.DELTA_INDEPENDENT = nat.DELTAS["independent"]
nat.DELTA_DEPENDENT = nat.DELTAS["dependent"]
nat.DELTA_RANDOM = nat.DELTAS["random"]

--- How a mapping or a filter depends on the other end (RFC 4787 sections 4.1 and 5), the strictest last; and
-- "unstable" for a mapping that changed while it was looked at.
local INDEPENDENT = "endpoint-independent"
local ADDRESS = "address-dependent"
local PORT = "address-and-port-dependent"
nat.BEHAVIOURS = { INDEPENDENT, ADDRESS, PORT }
nat.UNSTABLE = "unstable"

--- No NAT at all.
-- @treturn table type, delta, value
function nat.open()
  return { type = nat.OPEN, delta = nat.DELTA_NONE, value = 0 }
end

--- No NAT, but nobody knows whether anything is let in.
-- @treturn table type, delta, value
function nat.firewall()
  return { type = nat.FIREWALL, delta = nat.DELTA_NONE, value = 0 }
end

--- A NAT of which nothing is known: it promises nothing.
-- @treturn table type, delta, value
function nat.unknown()
  return { type = nat.SYMMETRIC, delta = nat.DELTA_RANDOM, value = 0 }
end

-- -- from observations to words

local CONES = {
  [INDEPENDENT] = nat.TYPES["full cone"],
  [ADDRESS] = nat.TYPES["address-restricted"],
  [PORT] = nat.TYPES["port-restricted"],
}

local function is_same(a, b)
  return a.ip == b.ip and a.port == b.port
end

--- The value that most have.
-- @tparam table list any values; nils are no votes, so give its length
-- @tparam integer n how many
-- @treturn ?value nil without a vote, and when two values have equally many
-- @treturn integer its votes
function nat.vote(list, n)
  local counts, best, is_tied = {}, nil, false
  for i = 1, n do
    local value = list[i]
    if value ~= nil then
      counts[value] = (counts[value] or 0) + 1
      if value ~= best then
        local lead = counts[value] - (counts[best] or 0)
        if lead > 0 then best, is_tied = value, false elseif lead == 0 then is_tied = true end
      elseif is_tied then
        is_tied = false
      end
    end
  end
  if is_tied then return nil, 0 end
  return best, counts[best] or 0
end

--- What the mapping depends on, from what several servers saw of one local endpoint.
-- @tparam {table,...} seen each `{ ip = string, port = integer, mapped = { ip, port } }`: whom we sent to,
-- and our address as he saw it
-- @treturn ?string one of `nat.BEHAVIOURS`; nil when all have the same address, so that nothing can be said
-- @treturn[opt] string what is not known
function nat.mapping(seen)
  local by_ip, ips, is_one, port_matters, port_known = {}, 0, true, false, false
  for _, one in ipairs(seen) do
    local first = by_ip[one.ip]
    is_one = is_one and is_same(one.mapped, seen[1].mapped)
    if not first then
      by_ip[one.ip], ips = one, ips + 1
    elseif first.port ~= one.port then
      port_known = true
      port_matters = port_matters or not is_same(first.mapped, one.mapped)
    end
  end
  if is_one and ips >= 2 then return INDEPENDENT end
  if port_matters then return PORT end
  if is_one then return nil, "only one server address answered: what the mapping depends on is not known" end
  if port_known then return ADDRESS end
  return PORT, "whether the mapping depends on the other end's port as well is not known"
end

--- Do these say all that @{mapping} can know?
-- @tparam {table,...} seen
-- @treturn boolean
function nat.is_conclusive(seen)
  local word, gap = nat.mapping(seen)
  return word ~= nil and gap == nil
end

--- How unsolicited packets are filtered, from what one server's CHANGE-REQUEST brought (RFC 5780 section
-- 4.4).
-- @tparam table seen `both`: an answer came from the other address and port, `port`: from the other port;
-- true, false, or nil for a test that proves nothing
-- @treturn ?string one of `nat.BEHAVIOURS`
function nat.filtering(seen)
  if seen.both then return INDEPENDENT end
  if seen.both == nil then return nil end
  if seen.port then return ADDRESS end
  if seen.port == false then return PORT end
end

--- The decision tree of RFC 3489 section 10.1. A mapping that depends on the other end makes a NAT symmetric,
-- however it filters. What is not known counts as the strictest that it may be.
-- @tparam boolean is_translated
-- @tparam ?string mapping
-- @tparam ?string filtering
-- @treturn integer a number of @{TYPES}, 1 to 6
function nat.classify(is_translated, mapping, filtering)
  if not is_translated then
    return filtering == INDEPENDENT and nat.OPEN or nat.FIREWALL
  end
  if mapping ~= INDEPENDENT then return nat.SYMMETRIC end
  return CONES[filtering or PORT]
end

return nat
