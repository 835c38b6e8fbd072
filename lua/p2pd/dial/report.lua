--- What a dial did, step by step: brokers and STUN servers that it waited for, messages, strategies, TLS.
-- Each step has an instant at which it began, seconds and an outcome. p2pd.dial.waterfall draws it.
--
-- Brokers and routes are the node's and not the dial's: @{Report:look} compares how they stand with how they
-- stood, whenever the dial is woken.
-- @classmod p2pd.dial.report
local core = require "p2pd.core"
local endpoint = require "p2pd.endpoint"
local families = require "p2pd.families"
local nat = require "p2pd.nat"
local text = require "p2pd.text"

local report = {}

local STEPS_MAX = 500 -- of a dial: a policy may go on for ever

local Step = {}
Step.__index = Step

local Report = { __name = "p2pd.dial.report" }
Report.__index = Report

--- Makes an empty one.
-- @tparam number started when the dial began, on the monotonic clock
-- @treturn report `steps`: a list, each with `kind` ("broker", "stun", "signal", "strategy", "attempt",
-- "tls"), `name`, `local` and `remote` (where it has a pair of addresses), `began` (seconds since the
-- dial's beginning), `seconds`, `ok`, `reason` (an outcome in words: why it failed, or what it brought),
-- `code` (ECANCELED: it was not waited for), `is_skipped` (a strategy that could not begin); from the
-- dial's end on also `seconds` and, when it has failed, `facts`
function report.new(started)
  return setmetatable({ started = started, steps = {}, count = 0, brokers = {}, routes = {} }, Report)
end

-- -- steps

--- Whom a candidate pair connects, as a report has it.
-- @tparam table pair see `node:pairs`
-- @treturn string our address
-- @treturn string the peer's endpoint
function report.ends_of(pair)
  return pair.route.nic, endpoint.format(pair.remote.external, pair.remote.port)
end

--- Seconds since the dial began.
function Report:now()
  return core.clock.monotonic() - self.started
end

--- Begins a step.
-- @tparam string kind
-- @tparam string name
-- @tparam[opt] table pair the candidate pair
-- @treturn step to be ended by `finish(ok, reason)`
function Report:begin(kind, name, pair)
  local step = setmetatable({ kind = kind, name = name, began = self:now(), ok = false, report = self }, Step)
  if pair then step["local"], step.remote = report.ends_of(pair) end
  self.count = self.count + 1
  step.number = self.count
  if self.count <= STEPS_MAX then self.steps[self.count] = step end
  return step
end

--- Ends a step, once.
-- @param ok whether it did what it was for
-- @tparam[opt] string reason in words
-- @tparam[opt] string code
-- @within Step
function Step:finish(ok, reason, code)
  if self.seconds then return end
  self.seconds, self.ok, self.code = self.report:now() - self.began, ok and true or false, code
  self.reason = reason and text.printable(tostring(reason)) or nil
end

-- What was cancelled ends then.
function Step:__close()
  self:finish(false, "cancelled", "ECANCELED")
end

local function finish(step, ok, reason, code, ...)
  if ok then step:finish(true) else step:finish(false, reason, code) end
  return ok, reason, code, ...
end

--- A step that is the call of a function: what it returns says how it ended. Waits as the function does.
-- @tparam string kind
-- @tparam string name
-- @tparam ?table pair
-- @tparam function fn
-- @param ... its arguments
-- @return what it returns
function Report:time(kind, name, pair, fn, ...)
  local step <close> = self:begin(kind, name, pair)
  return finish(step, fn(...))
end

--- A step that sends the peer a message and waits for the answer.
-- @tparam dial dial
-- @tparam string kind the message's type
-- @tparam[opt] table fields
-- @tparam[opt] number timeout seconds; the dial's deadline holds too
-- @tparam[opt] table messages by type (the node's)
-- @treturn table the answer; or nil, message, code
function Report:message(dial, kind, fields, timeout, messages)
  self.asked_at = self.asked_at or self:now()
  return self:time("signal", kind, nil, dial.node.signal.request, dial.node.signal, dial.peer, kind, fields,
    dial.deadline:left(timeout), messages)
end

local function ends_of_stream(stream)
  local ends = {}
  for _, which in ipairs { "getsockname", "getpeername" } do
    local ip, port = stream[which](stream)
    ends[#ends + 1] = ip and endpoint.format(ip, port) or "?"
  end
  return ends[1], ends[2]
end

--- A step that is the handshake on a stream.
-- @tparam stream stream
-- @tparam function fn takes the stream
-- @tparam table about what it takes besides
-- @return what it returns
function Report:handshake(stream, fn, about)
  local step <close> = self:begin("tls", about.insecure and "none" or "1.3")
  step["local"], step.remote = ends_of_stream(stream)
  return finish(step, fn(stream, about))
end

-- -- the node's brokers and routes

local function look_at_broker(self, one)
  local step = self.brokers[one.offset]
  if not step then
    step = self:begin("broker", one.name)
    step.began = self.asked_at or step.began -- joined for the first message
    self.brokers[one.offset] = step
    if one.state == "online" then return step:finish(true, self.asked_at and "online" or "online before") end
  end
  if one.state == "online" then
    step:finish(true, "online")
  elseif one.state == "refused" or one.state == "offline" then
    step:finish(false, one.reason)
  end
end

--- A NAT in a few words.
-- @tparam table route
-- @treturn string
function report.describe_route(route)
  local outside, found = route.external, route.nat
  if not route.external_known then return "no STUN server told the address" end
  if not found then return outside end
  if found.type == nat.OPEN or found.type == nat.FIREWALL or found.type == nat.BLOCKED then
    return ("%s, %s"):format(outside, nat.TYPES[found.type])
  end
  return ("%s, %s, %s ports"):format(outside, nat.TYPES[found.type], nat.DELTAS[found.delta])
end

local function look_at_route(self, route, is_discovering)
  local key = route.name .. " " .. route.nic
  local step = self.routes[key]
  if not step then
    step = self:begin("stun", ("%s %s"):format(route.name, route.nic))
    self.routes[key] = step
    if not is_discovering then
      return step:finish(route.external_known, report.describe_route(route) .. " (known before)")
    end
  end
  if route.nat or not is_discovering then
    step:finish(route.external_known, report.describe_route(route))
  end
end

--- Looks at what the dial waits for that is the node's: the peer's brokers, and what STUN servers tell of our
-- routes. To be called when something of that may have changed.
-- @tparam dial dial
function Report:look(dial)
  if self.seconds then return end
  local wanted = {}
  for _, offset in ipairs(dial.peer.mqtt) do wanted[offset] = true end
  for _, one in ipairs(dial.node.signal:stats().brokers) do
    if wanted[one.offset] then look_at_broker(self, one) end
  end
  if not dial.node.settings.stun or not dial.node.settings.stun[1] then return end
  for _, route in ipairs(dial.node.routes) do
    if not route.loopback then look_at_route(self, route, dial.node.discovering) end
  end
end

-- -- the end

local function records_of(peer)
  local list = {}
  for _, family in ipairs(families.ALL) do
    for _, record in ipairs(peer[family]) do
      list[#list + 1] = { family = family, external = record.external, nat = record.nat }
    end
  end
  return list
end

local function routes_of(node)
  local list = {}
  for _, route in ipairs(node.routes) do
    list[#list + 1] = { family = route.family, name = route.name, nic = route.nic,
      external = route.external_known and route.external or nil, loopback = route.loopback, nat = route.nat }
  end
  return list
end

local function brokers_of(self)
  local list = {}
  for _, step in pairs(self.brokers) do
    list[#list + 1] = { name = step.name, ok = step.ok, reason = step.reason, ended = step.seconds ~= nil }
  end
  return list
end

local function facts_of(self, dial)
  return {
    node_id = dial.node.id, is_named = dial.node.name ~= nil, peer_id = dial.peer.node_id,
    timeout = dial.timeout, heard = dial.heard or false,
    strategies = dial.strategies, is_chosen = dial.is_chosen, birthday = dial.node.birthday,
    routes = routes_of(dial.node), records = records_of(dial.peer), brokers = brokers_of(self),
    has_turn = (dial.node.settings.turn or {})[1] ~= nil,
  }
end

-- A strategy that the dial's end has cut off has not got an answer.
local function conclude_step(step, is_won)
  step:finish(false, "cancelled", "ECANCELED")
  if step.code ~= "ECANCELED" then return end
  step.reason = is_won and "unused" or "cut off"
  if step.kind == "strategy" and not is_won then
    step.reason, step.code = ("no answer within %.3g s"):format(step.seconds), "ETIMEDOUT"
  end
end

-- Strategies that had nothing to begin with.
local function add_skipped(self, attempts)
  for _, attempt in ipairs(attempts or {}) do
    if not attempt.began and attempt.reason then
      local step = self:begin("strategy", attempt.strategy)
      step:finish(false, attempt.reason, "EHOSTUNREACH")
      step.is_skipped, step.seconds = true, 0
    end
  end
end

--- Ends what has not ended; of a dial that has failed it keeps what an advice needs to know
-- (@{p2pd.advice}).
-- @tparam dial dial
-- @tparam boolean is_won whether there is a stream
function Report:conclude(dial, is_won)
  self:look(dial)
  self.seconds = self:now()
  if not is_won then self.facts = facts_of(self, dial) end
  self.brokers, self.routes = {}, {}
  for _, step in ipairs(self.steps) do conclude_step(step, is_won) end
  if not is_won then add_skipped(self, dial.attempts) end
  table.sort(self.steps, function(a, b)
    if a.began ~= b.began then return a.began < b.began end
    return a.number < b.number
  end)
end

return report
