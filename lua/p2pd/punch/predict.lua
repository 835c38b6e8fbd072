--- Port prediction: from both NATs and what a pair is for, how the two can meet, and which mappings to try.
-- Pure: what has been observed of a NAT comes in as a table; p2pd.punch.probe observes.
--
-- What decides is the TCP side of a NAT. A side's external port is *fixed* when it is known however much
-- other traffic there is: without a NAT, from a rule that only looks at the local port, or because a mapping
-- that serves every destination is held open. It is *sequential* when a counter gives it out, and *unknown*
-- when nothing does. Who filters by ports can only be met on a known port; who does not can wait, listening,
-- for a peer that comes from anywhere.
-- @module p2pd.punch.predict
local nat = require "p2pd.nat"

local predict = {}

predict.PURPOSES = { internet = true, lan = true, machine = true }
predict.COUNT = 2    -- mappings of a side whose ports are fixed
predict.SEQUENCE = 4 -- of a counter: as many less one may be taken by others between the probe and the punch

local PORT_MAX = 65535
local OPEN, FIREWALL = nat.TYPES["open internet"], nat.TYPES["symmetric UDP firewall"]
local FULL_CONE, ADDRESS = nat.TYPES["full cone"], nat.TYPES["address-restricted"]
local PORT, SYMMETRIC, BLOCKED = nat.TYPES["port-restricted"], nat.TYPES["symmetric"], nat.TYPES["blocked"]
local EQUAL, PRESERVING = nat.DELTAS["equal"], nat.DELTAS["preserving"]
local INDEPENDENT, DEPENDENT = nat.DELTAS["independent"], nat.DELTAS["dependent"]
local UNTRANSLATED = { [OPEN] = true, [FIREWALL] = true }
local CONE = { [FULL_CONE] = true, [ADDRESS] = true, [PORT] = true }
local ENDPOINT_INDEPENDENT = "endpoint-independent"

-- The type that counts for TCP. UDP's may differ from it, and blocked UDP says nothing about TCP.
local function tcp_type(one)
  if UNTRANSLATED[one.type] then return one.type end
  if one.tcp_mapping == ENDPOINT_INDEPENDENT then return CONE[one.type] and one.type or PORT end
  if one.tcp_mapping and CONE[one.type] then return SYMMETRIC end
  return one.type
end

--- How a side's external ports can be known.
-- @tparam table one a NAT: type, delta, value (design numbers), and `tcp_mapping` where it is known
-- @treturn string "equal" (the local port), "held" (one mapping for every destination: hold it open),
-- "distance" (the local port and what a probe is away from its own), "counter" (the last one and a step),
-- "unknown", or "blocked" (no TCP mapping was ever seen)
function predict.rule(one)
  local type = tcp_type(one)
  if UNTRANSLATED[type] then return "equal" end
  if type == BLOCKED and one.delta == nat.DELTA_NONE then return "blocked" end
  if one.delta == EQUAL then return "equal" end
  if CONE[type] then return "held" end
  if one.delta == PRESERVING then return "distance" end
  local is_counter = one.delta == INDEPENDENT or one.delta == DEPENDENT
  return is_counter and one.value ~= 0 and "counter" or "unknown"
end

--- What to tell peers of a NAT, who see no more than its type, delta and value: where TCP mappings are
-- another matter than UDP's, theirs is the type that counts.
-- @tparam table one a NAT
-- @treturn table type, delta, value
function predict.advertise(one)
  local plain = { type = one.type, delta = one.delta, value = one.value }
  if predict.rule(plain) ~= predict.rule(one) then plain.type = tcp_type(one) end
  return plain
end

--- What a side lets in: "all", "address" (whoever it has sent to, from any port) or "port".
-- @tparam table one a NAT
-- @treturn string
function predict.filter(one)
  local type = tcp_type(one)
  if type == OPEN or type == FULL_CONE then return "all" end
  return type == ADDRESS and "address" or "port"
end

local FIXED = { equal = true, held = true, distance = true }

local function describe(one)
  local type, delta = nat.TYPES[one.type] or "unknown", nat.DELTAS[one.delta] or "unknown"
  if UNTRANSLATED[one.type] or one.type == BLOCKED and one.delta == nat.DELTA_NONE then return type end
  return ("%s, ports %s"):format(type, delta)
end

local function not_predictable(why)
  return nil, "not predictable: " .. why
end

-- One side's ports are unknown: `role` is ours where a SYN from an unknown port gets through; where it does
-- not, a birthday attack has to guess a port, `whose` says on which side.
local function meet_unknown(known, unknown, role, whose, birthday)
  if not FIXED[predict.rule(known)] then
    return not_predictable(("a port that a counter gives out (%s) can't be met from an unknown one (%s)")
      :format(describe(known), describe(unknown)))
  end
  if predict.filter(known) ~= "port" then return role end
  if birthday then return "birthday " .. whose end
  return not_predictable(("a random port (%s) can't pass a filter of ports (%s)")
    :format(describe(unknown), describe(known)))
end

--- How two sides can meet.
-- @tparam table local_nat ours
-- @tparam table remote_nat the peer's
-- @tparam[opt="internet"] string purpose "internet", "lan" or "machine": no NAT lies between the last two
-- @tparam[opt=false] boolean birthday whether both agree to a birthday attack
-- @treturn[1] string "simultaneous" (each connects to the other's known port), "await" (the peer comes from
-- an unknown port, we wait for it), "initiate" (the other way round), "birthday local" (we open many ports
-- that nobody can know, the peer guesses one of them), "birthday remote" (the other way round)
-- @treturn[2] nil
-- @treturn[2] string "not predictable: why"
function predict.meeting(local_nat, remote_nat, purpose, birthday)
  if purpose and not predict.PURPOSES[purpose] then error("no purpose " .. tostring(purpose), 2) end
  if purpose == "lan" or purpose == "machine" then return "simultaneous" end
  local local_rule, remote_rule = predict.rule(local_nat), predict.rule(remote_nat)
  if local_rule == "blocked" then return not_predictable "no TCP mapping of our NAT is known" end
  if remote_rule == "blocked" then return not_predictable "no TCP mapping of the peer's NAT is known" end
  if local_rule == "unknown" and remote_rule == "unknown" then
    return not_predictable(("both sides' ports are random (%s; %s)"):format(describe(local_nat),
      describe(remote_nat)))
  end
  if local_rule == "unknown" then
    return meet_unknown(remote_nat, local_nat, "initiate", "local", birthday)
  end
  if remote_rule == "unknown" then
    return meet_unknown(local_nat, remote_nat, "await", "remote", birthday)
  end
  return "simultaneous"
end

--- What is needed for our mappings.
-- @tparam table local_nat ours
-- @tparam string meeting as @{meeting} gives it
-- @tparam[opt="internet"] string purpose
-- @tparam[opt=1] integer attempt from the second on, a cone's ports are looked at even where a rule is known
-- @treturn table `rule`; `count`: local ports; `probes`: how many are needed; `each`: whether
-- they come from those ports and hold them open, else it is one from another port, right before;
-- `neighbours`: whether the local ports follow that one; `listen`: whether to accept on them
function predict.needs(local_nat, meeting, purpose, attempt)
  local near = purpose == "lan" or purpose == "machine"
  local rule = near and "equal" or predict.rule(local_nat)
  local is_doubted = rule == "equal" and not near and (attempt or 1) % 2 == 0
  if is_doubted and CONE[tcp_type(local_nat)] then rule = "held" end
  local needs = { rule = rule, count = predict.COUNT, probes = 0 }
  if rule == "distance" then needs.probes = 1 end
  if rule == "counter" then needs.probes, needs.count = 1, predict.SEQUENCE end
  if meeting == "birthday remote" then needs.count = 1 end
  if rule == "held" then needs.each, needs.probes = true, needs.count end
  needs.neighbours = rule == "counter"
  needs.listen = near or predict.filter(local_nat) ~= "port"
  return needs
end

local function is_port(port)
  return port >= 1 and port <= PORT_MAX
end

local EXTERNAL = {}

function EXTERNAL.equal(_, _, port) return port end

function EXTERNAL.unknown() return 0 end

function EXTERNAL.held(_, observed, port) return observed.held[port] end

function EXTERNAL.distance(_, observed, port)
  return port + observed.last.external - observed.last.port
end

-- All of them aim for the peer from the one port that the last of them gets when nobody else takes any: as
-- long as others take fewer than there are, one of ours gets it.
function EXTERNAL.counter(local_nat, observed)
  for n = #observed.ports, 1, -1 do
    local port = observed.last.external + n * local_nat.value
    if is_port(port) then return port end
  end
end

--- Our mappings.
-- @tparam table local_nat ours
-- @tparam table needs as @{needs} gives them
-- @tparam table observed `ports`: our local ports, in the order in which they will be used; `held`: external
-- port by local port; `last`: the last probe, `{ port = local, external = port }`
-- @treturn[1] {table,...} each `{ local_port = , reply_port = 0, external_port = }`: a port of ours, and as
-- which one the peer sees it; 0 when that is not known. @{aim} fills in to (and from) which port of the
-- peer's.
-- @treturn[2] nil
-- @treturn[2] string "not predictable: why"
function predict.mappings(local_nat, needs, observed)
  local mappings = {}
  for _, port in ipairs(observed.ports) do
    local external = EXTERNAL[needs.rule](local_nat, observed, port)
    if external and (needs.rule == "unknown" or is_port(external)) then
      mappings[#mappings + 1] = { local_port = port, reply_port = 0, external_port = external }
    end
  end
  if mappings[1] then return mappings end
  return not_predictable "the NAT's next ports would lie beyond the last one"
end

-- Distinct external ports, in order.
local function externals(mappings)
  local ports, seen = {}, {}
  for _, mapping in ipairs(mappings) do
    local port = mapping.external_port
    if port ~= 0 and not seen[port] then seen[port], ports[#ports + 1] = true, port end
  end
  return ports
end

--- Points our mappings at the peer's: the first at its first port, and so on: both sides pair them alike.
-- Where the peer's ports are not known ours point at any, which opens a filter of addresses.
-- @tparam {table,...} mappings ours
-- @tparam {table,...} remote_mappings the peer's
-- @treturn {table,...} ours with their reply ports
function predict.aim(mappings, remote_mappings)
  local ports, aimed = externals(remote_mappings), {}
  for i, mapping in ipairs(mappings) do
    aimed[i] = {
      local_port = mapping.local_port,
      reply_port = ports[1] and ports[(i - 1) % #ports + 1] or mapping.local_port,
      external_port = mapping.external_port,
    }
  end
  return aimed
end

return predict
