--- One race over (address, pair, strategy): what is feasible begins at once or after its head start, what
-- becomes known later joins in, and the first verified stream wins.
--
-- A *way* is a strategy on a pair, or for a strategy that is called once per dial on all of them. The race
-- looks at all ways again whenever one ends, the peer's present address comes, or our node has learnt more of
-- its routes.
-- @module p2pd.dial.race
local core = require "p2pd.core"
local deadline = require "p2pd.deadline"
local strategy = require "p2pd.strategy"
local task = require "p2pd.task"

local race = {}

-- For a cheaper stream of which something is expected, once another has landed: seconds, and a share of the
-- time that it took.
local GRACE_S, GRACE_SHARE = 0.05, 0.1

-- Seconds that ways of which something is expected have before one that sends messages without such hope.
local UNEXPECTED_S = 0.25

-- Until a peer that had no room is asked again: seconds, times a half to one and a half; then longer.
local BUSY_S, BUSY_GROWTH, BUSY_MOST_S = 0.4, 1.5, 2
local HANG_UPS_MAX = 4 -- without a word, which is how a peer says so that has room for nothing

local Race = {}
Race.__index = Race

function Race:__close()
  for _, landing in ipairs(self.landed) do landing.stream:close() end
end

-- -- reports

-- A strategy's part of the dial's report.
local function new_attempt(self, name)
  local attempt = { strategy = name, ok = false }
  table.insert(self.dial.attempts, attempt)
  return attempt
end

-- Each reason once, and kept at once: the attempt may be cut off before it ends.
local function note(entry, reason)
  if entry.reasons[reason] then return end
  entry.reasons[reason] = true
  table.insert(entry.reasons, reason)
  entry.attempt.reason = table.concat(entry.reasons, ", ")
end

local function seconds_since(dial)
  return core.clock.monotonic() - dial.started
end

-- -- a strategy is anybody's code

local function call(entry, what, ...)
  local ok, result, reason, code = xpcall(entry.module[what], debug.traceback, ...)
  if ok then return result, reason, code end
  core.log.write("error", ("strategy %s failed: %s"):format(entry.name, result))
  return nil, "an error in the strategy: " .. tostring(result):match "[^\n]*", "EFAULT"
end

-- True; or nil, reason, and "EAGAIN" while that is not known.
local function is_feasible(self, entry, pair)
  if not entry.module.feasible then return true end
  local ok, reason, code = call(entry, "feasible", self.dial.node, pair)
  if ok then return true end
  return nil, tostring(reason or "not feasible"), code
end

local function is_expected(self, entry, pair)
  if not entry.module.expected then return true end
  return (call(entry, "expected", self.dial.node, pair)) and true or false
end

-- -- ways

local function key_of(pair)
  local remote, nat = pair.remote, pair.remote.nat
  return table.concat({ pair.route.nic, remote.external, remote.internal, remote.port, nat.type, nat.delta,
    nat.value }, " ")
end

-- What is to be said of pairs of which nothing comes, and whether more may come.
local function explain_none(self, entry, reasons, is_open)
  local dial = self.dial
  local may_come = dial:is_refreshing() or dial.node.discovering and (is_open or #self.pairs == 0)
  entry.unknown = may_come
  if may_come then return end
  if not reasons[1] and not dial.peer.ipv4[1] and not dial.peer.ipv6[1] then
    reasons[1] = "the peer's address tells of no interface"
      .. (dial.refresh_reason and ", and " .. dial.refresh_reason or "")
  end
  for _, reason in ipairs(reasons) do note(entry, reason) end
  if not entry.reasons[1] then note(entry, "no address family in common") end
end

-- What the two sides have in common, or nothing, for a strategy that needs nothing in common.
local function pairs_for(self, entry)
  if self.pairs[1] or not entry.module.any_family then return self.pairs end
  return self.dial.node:pairs(self.dial.peer, true)
end

-- The pairs on which a strategy can run, by key; and what is wrong with the others.
local function look_at_pairs(self, entry)
  local feasible, reasons, is_open = {}, {}, false
  for _, pair in ipairs(pairs_for(self, entry)) do
    local ok, reason, code = is_feasible(self, entry, pair)
    if ok then
      feasible[#feasible + 1] = { key = key_of(pair), pair = pair, expected = is_expected(self, entry, pair) }
    else
      is_open = is_open or code == "EAGAIN"
      reasons[#reasons + 1] = reason
    end
  end
  return feasible, reasons, is_open
end

-- One way for all pairs: it runs again when it has failed and there are others.
local function merge(entry, feasible)
  local keys, expected = {}, false
  for i, one in ipairs(feasible) do
    keys[i], expected = one.key, expected or one.expected
  end
  local key = table.concat(keys, "|")
  local last = entry.last
  if last and not last.ended then return {} end
  if last and last.key == key then return {} end
  return { { key = key, expected = expected } }
end

-- Finds the ways of a strategy that may begin.
local function look(self, entry)
  local feasible, reasons, is_open = look_at_pairs(self, entry)
  entry.unknown = false
  if not feasible[1] and entry.running == 0 then explain_none(self, entry, reasons, is_open) end
  if feasible[1] and entry.module.once_per_dial then feasible = merge(entry, feasible) end
  entry.waiting, entry.expects = {}, false
  for _, way in ipairs(feasible) do
    if not entry.begun[way.key] then
      table.insert(entry.waiting, way)
      entry.expects = entry.expects or way.expected
    end
  end
end

-- Whether something is still to be expected of a strategy.
local function is_promising(entry)
  return entry.running_expected > 0 or entry.expects or entry.unknown
end

local function is_promising_beside(self, entry)
  for _, other in ipairs(self.entries) do
    if other ~= entry and is_promising(other) then return true end
  end
  return false
end

local function has_messages(entry)
  return entry.module.messages ~= nil and next(entry.module.messages) ~= nil
end

-- Seconds after the race's start at which a way may begin.
local function delay_of(self, entry, way)
  local delay = 0
  for _, other in ipairs(self.entries) do
    if other ~= entry and is_promising(other) then
      if other.cost < entry.cost then delay = math.max(delay, entry.module.head_start or 0) end
      if not way.expected and has_messages(entry) then
        delay = math.max(delay, self.busy and BUSY_MOST_S or UNEXPECTED_S)
      end
    end
  end
  return delay
end

local function close_if_any(value)
  local meta = getmetatable(value)
  if type(meta) == "table" and meta.__close then meta.__close(value) end
end

local function run_dial(self, entry, way)
  local dial = self.dial
  dial:prepare(entry.name)
  local stream, reason, code = call(entry, "dial", dial, way.pair)
  if not stream then return nil, reason or "the strategy gave no reason", code end
  if dial.verified[stream] then return stream end
  close_if_any(stream)
  return nil, ("the strategy returned a %s, and no stream that dial:secure has verified")
    :format(type(stream)), "EFAULT"
end

local function settle(self, entry, way, stream, reason, code)
  way.ended = true
  way.step:finish(stream, reason, code)
  entry.running = entry.running - 1
  if way.expected then entry.running_expected = entry.running_expected - 1 end
  entry.attempt.seconds = seconds_since(self.dial) - entry.attempt.began
  entry.attempt.is_running = entry.running > 0 or nil
  if stream then
    entry.attempt.ok, entry.attempt.reason = true, nil
    self.dial.makers[stream] = entry.name
    table.insert(self.landed, { stream = stream, name = entry.name, cost = entry.cost })
    self.landed_at = self.landed_at or core.clock.monotonic()
  else
    note(entry, reason)
  end
  self.dial:wake()
end

-- The peer has no room. What is hoped for is tried again, the rest only when there is no such hope: it would
-- take the others' room.
local function wait_for_room(self, entry, way, pause)
  self.busy = true
  repeat
    task.sleep(pause * (0.5 + math.random()))
  until way.expected or not is_promising_beside(self, entry)
end

local function run_once(self, entry, way)
  local started = core.clock.monotonic()
  local limit = math.min(entry.module.budget or strategy.BUDGET, self.limit:left(self.dial.deadline:left()))
  local stream, reason, code = task.timeout(limit, run_dial, self, entry, way)
  if not stream and code == "ETIMEDOUT" and reason == "timed out" then
    reason = ("no answer within %.3g s"):format(core.clock.monotonic() - started)
  end
  return stream, not stream and tostring(reason) or nil, code
end

local function run_way(self, entry, way)
  local pause, hang_ups = BUSY_S, 0
  while true do
    local stream, reason, code = run_once(self, entry, way)
    hang_ups = hang_ups + (code == "ECONNRESET" and 1 or 0)
    local is_busy = code == "EBUSY" or code == "ECONNRESET" and hang_ups < HANG_UPS_MAX
    if stream or not is_busy then return settle(self, entry, way, stream, reason, code) end
    note(entry, reason)
    wait_for_room(self, entry, way, pause)
    pause = math.min(pause * BUSY_GROWTH, BUSY_MOST_S)
  end
end

local function begin(self, entry, way)
  entry.begun[way.key], entry.last = true, way
  way.step = self.dial.report:begin("strategy", entry.name, way.pair)
  entry.running = entry.running + 1
  if way.expected then entry.running_expected = entry.running_expected + 1 end
  entry.attempt.began = entry.attempt.began or seconds_since(self.dial)
  entry.attempt.seconds, entry.attempt.is_running = nil, true
  self.children:spawn(run_way, self, entry, way)
end

-- Begins with what is due; returns seconds until more is, or nil.
local function begin_due(self)
  local soonest
  local elapsed = core.clock.monotonic() - self.started
  for _, entry in ipairs(self.entries) do
    local later = {}
    for _, way in ipairs(entry.waiting) do
      local delay = delay_of(self, entry, way)
      local left = delay - elapsed
      if left <= 0 then
        begin(self, entry, way)
      else
        later[#later + 1] = way
        if elapsed >= delay / 2 then self.dial:prepare(entry.name) else left = delay / 2 - elapsed end
        soonest = math.min(soonest or left, left)
      end
    end
    entry.waiting = later
  end
  return soonest
end

-- -- the end

-- The cheapest stream, unless a cheaper one may still land within the grace: then seconds to wait.
local function choose(self)
  table.sort(self.landed, function(a, b) return a.cost < b.cost end)
  local best = self.landed[1]
  if not best then return nil end
  local took = self.landed_at - self.started
  local left = self.landed_at + math.min(GRACE_S, took * GRACE_SHARE) - core.clock.monotonic()
  for _, entry in ipairs(self.entries) do
    if left > 0 and entry.cost < best.cost and entry.running_expected > 0 then return nil, left end
  end
  return table.remove(self.landed, 1)
end

local function is_over(self)
  if self.limit:has_passed() then return true end
  for _, entry in ipairs(self.entries) do
    if entry.running > 0 or entry.waiting[1] or entry.unknown then return false end
  end
  return not self.dial:is_refreshing()
end

local function soonest_of(a, b)
  if a and b then return math.min(a, b) end
  return a or b
end

-- One look at everything: the winner, or nil; then whether it is over, else seconds until the next look.
local function turn(self)
  local winner, grace = choose(self)
  if winner then return winner end
  if grace then return nil, false, grace end
  self.pairs = self.dial.node:pairs(self.dial.peer)
  for _, entry in ipairs(self.entries) do look(self, entry) end
  local soonest = begin_due(self)
  self.dial:refresh()
  if is_over(self) then return nil, true end
  return nil, false, soonest_of(soonest_of(soonest, self.dial:refresh_left()), self.limit:left())
end

--- Runs strategies against each other.
-- @tparam dial dial
-- @tparam {table,...} modules
-- @tparam[opt] number seconds
-- @treturn ?stream a verified stream and its strategy's name, or nil
function race.run(dial, modules, seconds)
  local self <close> = setmetatable({ dial = dial, entries = {}, landed = {},
    started = core.clock.monotonic(), limit = deadline.after(seconds) }, Race)
  local children <close> = task.group()
  self.children = children
  for i, module in ipairs(modules) do
    self.entries[i] = { module = module, name = module.name, cost = module.cost or strategy.COST,
      attempt = new_attempt(self, module.name), reasons = {}, begun = {}, waiting = {}, running = 0,
      running_expected = 0 }
  end
  while true do
    local seen = dial.changes
    local winner, over, wait = turn(self)
    if winner then return winner.stream, winner.name end
    if over then return nil end
    if dial.changes == seen then dial.changed:wait(wait) end
  end
end

return race
