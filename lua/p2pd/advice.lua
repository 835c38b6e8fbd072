--- What a person could do about a connect that has failed, in one sentence. Pure: made of the dial's report.
-- @module p2pd.advice
local families = require "p2pd.families"
local nat = require "p2pd.nat"
local predict = require "p2pd.punch.predict"

local advice = {}

local USUAL_S = 20 -- that a connect may take
local SHORT_S = 5  -- of a timeout that may be the reason

local RELAY = "so a relay is needed: add a TURN server to the settings"

-- -- looking at a report

local function find_step(report, matches)
  for _, step in ipairs(report.steps) do
    if not step.ok and matches(step) then return step end
  end
end

local function says(pattern)
  return function(step) return step.reason ~= nil and step.reason:find(pattern) ~= nil end
end

local function has_tried(report, name)
  for _, step in ipairs(report.steps) do
    if step.kind == "strategy" and step.name == name then return true end
  end
  return false
end

local function is_among(list, wanted)
  for _, one in ipairs(list) do
    if one == wanted then return true end
  end
  return false
end

local function families_of(list)
  local found = {}
  for _, one in ipairs(list) do
    if not one.loopback then found[one.family] = true end
  end
  return found
end

-- -- the kinds of failure, each: the sentence, or nil when it is another kind

local function own_address(facts)
  if facts.node_id ~= facts.peer_id then return nil end
  return "this is the address of this node itself: use the one that the other side prints"
end

--- What could be done about a peer that refuses.
-- @tparam string reason the peer's
-- @tparam string node_id ours
-- @tparam boolean is_named whether the node has this id the next time, too
-- @treturn ?string a sentence without a full stop
function advice.of_refusal(reason, node_id, is_named)
  if reason:find "too busy" then return "the peer has no room now: try again in a minute" end
  if reason:find "knows no message" then
    return "the peer does not use all of these strategies: name others, or give it a newer version"
  end
  if reason:find "not allowed" and not is_named then
    return "the peer lets in only whom it was told to: give this node a name, and let the peer's owner allow "
      .. "the id of that name (`p2pd id`)"
  end
  if reason:find "not allowed" then
    return ("the peer lets in only whom it was told to: its owner can allow this node's id, %s")
      :format(node_id)
  end
end

local function refused(facts, report)
  local step = find_step(report, function(one)
    return one.kind == "signal" and one.code == "EACCES" and not one.reason:find "not reachable"
  end)
  return step and advice.of_refusal(step.reason, facts.node_id, facts.is_named)
end

local function wrong_clock(_, report)
  local step = find_step(report, says "clock")
  return step and "one of the two clocks is wrong: set this one's, or the peer's" or nil
end

local function no_network(facts)
  if facts.routes[1] then return nil end
  return "this machine has no network: connect it to one and try again"
end

local function no_broker(facts)
  local reasons = {}
  for _, broker in ipairs(facts.brokers) do
    if broker.ok then return nil end
    reasons[#reasons + 1] = broker.reason
  end
  if not facts.brokers[1] or facts.heard then return nil end
  local all = table.concat(reasons, " ")
  if all:find "certificate has expired" or all:find "not yet valid" then
    return "a broker's certificate is not valid by this machine's clock: check the clock"
  end
  if all:find "certificate" then return "check the brokers' certificates in the settings (ca, cert, key)" end
  local names = {}
  for i, broker in ipairs(facts.brokers) do names[i] = broker.name end
  table.sort(names)
  return ("the peer's brokers (%s) can't be reached from here: check this machine's network and firewall, "
    .. "or let the peer use other brokers"):format(table.concat(names, ", "))
end

local function other_node(_, report)
  local step = find_step(report, says "another node")
  if not step or report.facts.heard then return nil end
  return "another node may have the peer's address now: ask the peer for the address that it prints now"
end

local function not_heard(facts, report)
  if facts.heard or not find_step(report, function(step) return step.kind == "signal" end) then return nil end
  return "the peer was not heard of: see that it runs, and use the address that it printed last"
end

local function no_family(facts)
  local local_ones, remote_ones = families_of(facts.routes), families_of(facts.records)
  for family in pairs(local_ones) do
    if remote_ones[family] then return nil end
  end
  local here, there = next(local_ones), next(remote_ones)
  if not here or not there or facts.has_turn then return nil end
  return ("this side has only %s and the peer only %s, %s that serves both"):format(families.TITLES[here],
    families.TITLES[there], RELAY)
end

local function few_strategies(facts, report)
  if not facts.is_chosen then return nil end
  if is_among(facts.strategies, "punch") and (not facts.has_turn or is_among(facts.strategies, "relay")) then
    return nil
  end
  if has_tried(report, "relay") then return nil end
  local names = table.concat(facts.strategies, ", ")
  return ("only %s was tried: leave the choice of strategies out"):format(names)
end

local function relay_failed(facts, report)
  if not facts.has_turn then return nil end
  local step = find_step(report, function(one) return one.kind == "strategy" and one.name == "relay" end)
  if not step or step.code == "ECANCELED" then return nil end
  if says ": 401 " (step) or says "credentials" (step) then
    return "the TURN server does not take the user or the password: check them in the settings"
  end
  return "the relay could not be used: `p2pd nat` tries the TURN servers of the settings one by one"
end

local function describe(one)
  if one.type == nat.BLOCKED then return "blocked" end
  return ("%s, %s ports"):format(nat.TYPES[one.type], nat.DELTAS[one.delta])
end

-- Whether some pair can meet; else the NATs of the first that can't.
local function find_pair(facts)
  local first
  for _, route in ipairs(facts.routes) do
    for _, record in ipairs(facts.records) do
      if route.family == record.family and route.nat and not route.loopback then
        if predict.meeting(route.nat, record.nat, "internet", facts.birthday) then return true end
        first = first or { route.nat, record.nat }
      end
    end
  end
  return false, first
end

local function no_meeting(facts)
  local can_meet, pair = find_pair(facts)
  if can_meet or not pair or facts.has_turn then return nil end
  if predict.rule(pair[1]) == "unknown" and predict.rule(pair[2]) == "unknown" then
    return "both NATs give out random ports, " .. RELAY
  end
  return ("no punch gets through these two NATs (here %s; there %s), %s"):format(describe(pair[1]),
    describe(pair[2]), RELAY)
end

local function unknown_outside(facts)
  local is_known = false
  for _, route in ipairs(facts.routes) do
    is_known = is_known or route.external ~= nil or route.loopback
  end
  if is_known then return nil end
  return "no STUN server told this side's address: `p2pd nat` shows which servers answer"
end

local function short_timeout(facts)
  if not facts.timeout or facts.timeout >= SHORT_S then return nil end
  return ("%g s is little: allow it %d s"):format(facts.timeout, USUAL_S)
end

local function bad_luck(facts)
  if facts.has_turn then return "try again: these networks should let a connection through" end
  return "try again, or add a TURN server to the settings for a relay"
end

local KINDS = { own_address, wrong_clock, refused, no_network, no_broker, other_node, short_timeout,
  not_heard, few_strategies, relay_failed, no_family, unknown_outside, no_meeting, bad_luck }

--- What could be done.
-- @tparam table failure the error object of `node:connect`
-- @treturn ?string a sentence without a full stop; nil when the error itself says it
function advice.of(failure)
  local report = failure.report
  if not report or not report.facts or failure.code == "EFAULT" then return nil end
  for _, find in ipairs(KINDS) do
    local sentence = find(report.facts, report)
    if sentence then return sentence end
  end
end

--- What has happened and what could be done, without each strategy's reason.
-- @tparam table failure the error object of `node:connect`
-- @tparam[opt] string name what to call the peer, instead of by its id
-- @treturn string
function advice.sentence(failure, name)
  local what, message = advice.of(failure), failure.message
  if not what then return tostring(failure) end
  if name then message = message:gsub(failure.report.facts.peer_id, (name:gsub("%%", "%%%%"))) end
  return ("%s: %s"):format(message, what)
end

return advice
