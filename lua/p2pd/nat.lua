--- What a NAT is called: the types and deltas of a peer address.
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
nat.SYMMETRIC = nat.TYPES["symmetric"]

nat.DELTA_NONE = nat.DELTAS["not applicable"]
nat.DELTA_RANDOM = nat.DELTAS["random"]

--- No NAT at all.
-- @treturn table type, delta, value
function nat.open()
  return { type = nat.OPEN, delta = nat.DELTA_NONE, value = 0 }
end

--- A NAT of which nothing is known: it promises nothing.
-- @treturn table type, delta, value
function nat.unknown()
  return { type = nat.SYMMETRIC, delta = nat.DELTA_RANDOM, value = 0 }
end

return nat
