--- Judges a NAT by what several STUN servers have observed of it: a majority outvotes a server that lies, and
-- what remains unknown is named. Pure; p2pd.nat.classify gathers the evidence.
-- @module p2pd.nat.evidence
local delta = require "p2pd.nat.delta"
local list = require "p2pd.list"
local nat = require "p2pd.nat"

local evidence = {}

local INDEPENDENT = nat.BEHAVIOURS[1]

local NO_BEHAVIOUR = "no server that answers RFC 5780 was reached, so how unsolicited packets are filtered"
  .. " is not known: the strictest filter is assumed"
local NO_PROBES = "no server showed how TCP ports are allotted: random is assumed"
local OVER_UDP = "no server answers STUN over TCP: the delta is that of UDP"

local function spell(address)
  return address.ip .. " " .. address.port
end

local function note(missing, sentence)
  if sentence then missing[#missing + 1] = sentence end
end

-- The external address that most servers see; each has one vote, whatever it was asked over.
local function find_external(seen, missing)
  local names, ips, voted = {}, {}, {}
  for _, answers in ipairs { seen.udp, seen.tcp } do
    for _, one in ipairs(answers) do
      if not voted[one.name] then
        voted[one.name] = true
        names[#names + 1], ips[#ips + 1] = one.name, one.mapped.ip
      end
    end
  end
  local ip = nat.vote(ips, #ips)
  if not ip and ips[1] then
    note(missing, ("the servers disagree about the external address (%s says %s, %s says %s)"):format(
      names[1], ips[1], names[2], ips[2]))
  end
  return ip or ips[1]
end

local function is_translated(answers, ip)
  local votes, n = list.map(answers, function(one)
    return one.mapped.ip ~= ip or one.mapped.port ~= one.port
  end)
  local answer = nat.vote(votes, n)
  if answer == nil and n > 0 then return true end
  return answer
end

-- Two servers that saw the same mapping prove that it does not depend on them, whatever a third one says.
local function compare(answers)
  local same, votes = nat.vote(list.map(answers, function(one) return spell(one.mapped) end))
  if same and votes >= 2 and 2 * votes > #answers then
    answers = list.filter(answers, function(one) return spell(one.mapped) == same end)
  end
  return nat.mapping(answers)
end

local function find_mapping(servers, missing)
  local words, gaps = {}, {}
  for i, server in ipairs(servers) do
    local word, gap = nat.mapping(server.mapping)
    if server.is_capable and #server.mapping > 1 then words[i] = word end
    gaps[#gaps + 1] = gap
  end
  local word, votes = nat.vote(words, #servers)
  local compared, gap = compare(list.map(servers, function(one)
    return { ip = one.ip, port = one.server_port, mapped = one.mapped }
  end))
  if compared == INDEPENDENT and votes < 2 then return compared end
  if word then return word end
  note(missing, gap or gaps[1])
  return compared
end

-- A packet that came through is proof; that none came is a proof only as long as no other server's did.
local function find_filtering(servers, missing)
  local found = {}
  for _, server in ipairs(servers) do
    local word = server.is_capable and nat.filtering(server.filtering)
    if word then found[word] = true end
  end
  for _, word in ipairs(nat.BEHAVIOURS) do
    if found[word] then return word end
  end
  note(missing, NO_BEHAVIOUR)
end

local function is_unstable(servers)
  local votes, n = list.map(servers, function(one)
    return one.again == nil or spell(one.again) ~= spell(one.mapped)
  end)
  for i, one in ipairs(servers) do
    if one.again == nil then votes[i] = nil end
  end
  return nat.vote(votes, n) == true
end

--- The delta and value that a series of bursts shows, as one word to compare; or nil and why it proves
-- nothing.
function evidence.delta_of(series)
  local kind, value = delta.infer(series.bursts)
  if kind then return kind .. " " .. value end
  return nil, value
end

-- Where it is even, one rule counts more than none, and one about all ports more than one about neighbours: a
-- rule does not show by accident, but may be spoilt by one.
local function prefer_rule(votes, n)
  for _, weak in ipairs { nat.DELTA_RANDOM, nat.DELTA_DEPENDENT } do
    local rule, are_one = nil, true
    for i = 1, n do
      local vote = votes[i]
      if vote and math.tointeger(vote:match "^%d+") == weak then vote = nil end
      are_one = are_one and not (vote and rule and vote ~= rule)
      rule = rule or vote
    end
    if rule and are_one then return rule end
  end
end

local function find_delta(probes, missing)
  local votes, gap = {}, nil
  for i, series in ipairs(probes) do votes[i], gap = evidence.delta_of(series) end
  local winner = nat.vote(votes, #probes) or prefer_rule(votes, #probes)
  if winner then
    if probes[1].transport == "udp" then note(missing, OVER_UDP) end
    local kind, value = winner:match "^(%d+) (%-?%d+)$"
    return math.tointeger(kind), math.tointeger(value)
  end
  if next(votes) then
    note(missing, "the servers disagree about how ports are allotted: random is assumed")
  else
    local known = gap and ("how ports are allotted is not known (%s): random is assumed"):format(gap)
    note(missing, known or NO_PROBES)
  end
  return nat.DELTA_RANDOM, 0, true
end

-- A server that lies about our address may do so about ports. Over UDP there is but one series.
local function find_honest(probes, servers)
  local honest = {}
  for _, server in ipairs(servers) do honest[server.name] = true end
  return list.filter(probes, function(series)
    return series.transport == "udp" or honest[series.name]
  end)
end

local function judge_udp(result, servers, ip)
  local missing = result.missing
  result.is_translated = is_translated(servers, ip)
  result.filtering = find_filtering(servers, missing)
  result.mapping = INDEPENDENT
  if result.is_translated then result.mapping = find_mapping(servers, missing) end
  result.type = nat.classify(result.is_translated, result.mapping, result.filtering)
end

local function judge_tcp(result, seen, servers, ip)
  local translated = is_translated(servers, ip)
  if translated == nil then translated = result.is_translated end
  if translated == false then
    result.delta, result.value = result.type == nat.BLOCKED and nat.DELTA_EQUAL or nat.DELTA_NONE, 0
    result.tcp_mapping = servers[1] and INDEPENDENT
    return
  end
  if translated == nil then -- nobody answered at all
    result.delta, result.value = nat.DELTA_NONE, 0
    return
  end
  result.delta, result.value, result.is_delta_assumed =
    find_delta(find_honest(seen.probes, servers), result.missing)
  if seen.tcp_mapping[1] then
    local gap
    result.tcp_mapping, gap = compare(seen.tcp_mapping)
    note(result.missing, gap and "TCP: " .. gap)
  elseif servers[1] then
    note(result.missing, "TCP: what the mapping depends on is not known")
  end
end

local function judge_unstable(result)
  result.unstable, result.mapping = true, nat.UNSTABLE
  result.type, result.delta, result.value = nat.SYMMETRIC, nat.DELTA_RANDOM, 0
  result.reason = "the NAT changed its mapping while it was looked at"
end

local function judge_blocked(result, seen, has_tcp)
  result.type = nat.BLOCKED
  local reasons = { has_tcp and "UDP is blocked" or "no STUN server answered" }
  if seen.reasons[1] then reasons[2] = table.concat(seen.reasons, "; ") end
  result.reason = table.concat(reasons, ": ")
  if has_tcp then note(result.missing, "how the NAT treats UDP is not known: nothing comes back") end
end

local function judge_unhelpful(result, seen, tcp)
  result.is_translated = is_translated(tcp, seen.ip) ~= false
  result.type = result.is_translated and nat.unknown().type or nat.FIREWALL
  result.reason = "no STUN server tells our address: " .. table.concat(seen.reasons, "; ")
  note(result.missing, "what the NAT does with UDP is not known: the strictest is assumed")
end

--- What one address's NAT is.
-- @tparam table seen what p2pd.nat.classify saw: `ip` (the NIC's); `udp` and `tcp`: lists of `{ name, ip,
-- server_port, port = our local port, mapped = { ip, port } }`, those of `udp` also with `is_capable`
-- (answers RFC 5780), `mapping` (as @{nat.mapping} takes it), `filtering` (as @{nat.filtering} takes it),
-- `again` (a later mapping of the same endpoint); `tcp_mapping`, a list as @{nat.mapping} takes it; `probes`,
-- for each server that saw bursts of them `{ name, transport, bursts }`, as @{delta.infer} takes those;
-- `hairpin`; `reasons`, why servers said nothing; `udp_is_open`: one has answered, though with nothing of use
-- @treturn table `type`, `delta`, `value`, `mapping`, `filtering`, `tcp_mapping` (nil: not known),
-- `is_delta_assumed`, `hairpin`, `unstable`, `external` (an address, or nil), `missing` (what is not known,
-- sentences), `reason` (why the type is 7 or the mapping unstable)
function evidence.judge(seen)
  local missing = {}
  local result = { missing = missing, hairpin = seen.hairpin, external = find_external(seen, missing) }
  local function is_honest(one) return one.mapped.ip == result.external end
  local udp, tcp = list.filter(seen.udp, is_honest), list.filter(seen.tcp, is_honest)
  if udp[1] then
    judge_udp(result, udp, seen.ip)
  elseif seen.udp_is_open then
    judge_unhelpful(result, seen, tcp)
  else
    judge_blocked(result, seen, tcp[1] ~= nil)
  end
  judge_tcp(result, seen, tcp, seen.ip)
  if udp[1] and is_unstable(udp) then judge_unstable(result) end
  return result
end

return evidence
