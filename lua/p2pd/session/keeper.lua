--- When a session looks for another path, and by which strategies: after a break, and for a cheaper one.
--
-- After a break who has proposed the session dials first, the other side 2 s later, or at once when the break
-- is its own network's, which the other side does not see; again and again for the session's `resume`
-- seconds.
-- For a cheaper path dials who has proposed it: at once when a relay carries it, then after 5 s, 30 s, 2 min
-- and 10 min, and from the beginning again when either side's network has changed. The new path is verified
-- before the old one is left.
-- @module p2pd.session.keeper
local core = require "p2pd.core"
local deadline = require "p2pd.deadline"
local dial = require "p2pd.dial"
local options = require "p2pd.options"
local strategy = require "p2pd.strategy"
local task = require "p2pd.task"

local keeper = {}

local RELAYED = 5              -- what a strategy costs that relays, and more
local CLIMBS = { 5, 30, 120, 600 } -- seconds
local OTHER_SIDE_S = 2
local DIAL_S = 20
local PAUSE_S, PAUSE_MAX_S = 0.25, 5 -- between dials that have failed, doubled each time

local function now()
  return core.clock.monotonic()
end

-- Runs one dial, and offers what it reaches as a path. Its number, or nil, message. The dial learns into the
-- address: it has a copy.
local function dial_path(self, strategies, seconds)
  local made = dial.new(self.node, options.merge(self.address), { strategies = strategies,
    policy = self.policy, timeout = seconds, secure = self.secure })
  local stream, failure = made:reach()
  if not stream then return nil, tostring(failure) end
  self.address = made.peer
  return self:offer_path(stream, { strategy = failure, pipe = made.pipe_id })
end

-- The same, for as long as `is_wanted` says; what has changed meanwhile may end it.
local function dial_while(self, strategies, seconds, is_wanted)
  local child <close> = task.group()
  local number, reason
  local is_over = false
  child:spawn(function()
    number, reason = dial_path(self, strategies, seconds)
    is_over = true
    self.changed:broadcast()
  end)
  while not is_over and self:lives() and is_wanted(self) do self.changed:wait() end
  return number, reason
end

-- -- after a break

-- A path lives, or is on its way to.
local function is_carried(self)
  return next(self.paths.live) ~= nil
end

-- It lives, and could dial a path that it does not have.
local function is_missing(self)
  return self:lives() and not is_carried(self) and not self.node.closed
end

-- Until the time is over, a path carries the session, or something has changed.
local function wait_for_news(self, seconds)
  local limit, seen = deadline.after(seconds), self.news
  while is_missing(self) and not limit:has_passed() and self.news == seen do
    self.changed:wait(limit:left())
  end
end

local function give_up(self, reason)
  if not self.is_confirmed or self.resume <= 0 or self.node.closed then
    return self:fail(self.why or reason or "the path is gone", self.why_code or "ECONNRESET")
  end
  self:fail(("the peer vanished: no path for %.3g s (%s)"):format(self.resume,
    reason or self.why or "nothing to dial"), "ETIMEDOUT")
end

local function reconnect(self)
  local limit = deadline.after(self.is_confirmed and not self.node.closed and self.resume or 0)
  local pause, reason = PAUSE_S, nil
  if not self.is_dialer and not self.is_broken_here then wait_for_news(self, limit:left(OTHER_SIDE_S)) end
  while is_missing(self) and not limit:has_passed() do
    if self.address then
      local _, why = dial_while(self, self.strategies, limit:left(DIAL_S), is_missing)
      reason = why or reason
    end
    if is_missing(self) then wait_for_news(self, limit:left(pause)) end
    pause = math.min(pause * 2, PAUSE_MAX_S)
  end
  if self:lives() and not is_carried(self) then give_up(self, reason) end
end

-- -- a cheaper path

local function serves(self, module, path, pairs_of_both)
  if (module.cost or strategy.COST) >= path.cost then return false end
  for _, pair in ipairs(pairs_of_both) do
    local is_feasible = not module.feasible or module.feasible(self.node, pair)
    local is_likely = path.cost >= RELAYED or not module.expected or module.expected(self.node, pair)
    if is_feasible and is_likely then return true end
  end
  return false
end

-- The strategies that may give a cheaper path.
local function cheaper_strategies(self, path)
  local chosen = {}
  local among = self.strategies and strategy.load(self.strategies) or strategy.enabled(self.node.strategies,
    self.node.settings)
  local both = self.node:pairs(self.address)
  for _, module in ipairs(among) do
    if serves(self, module, path, both) then chosen[#chosen + 1] = module end
  end
  return chosen[1] and chosen
end

local function climb(self, path)
  local strategies = cheaper_strategies(self, path)
  if not strategies then return end
  local function is_wanted() return self.paths:current() == path and not self.node.closed end
  local number, reason = dial_while(self, strategies, DIAL_S, is_wanted)
  if number then return self:go_over(number, "cheaper") end
  core.log.write("debug", ("session with %s: no cheaper path: %s"):format(self.peer, reason or "not needed"))
end

-- Seconds until the next try for a cheaper path; nil: never.
local function climb_in(self, path)
  if not self.is_dialer or not self.address or self.node.closed then return nil end
  if self.climbing ~= path or self.climb_news ~= self.news then
    self.climbing, self.climb_news, self.tries = path, self.news, path.cost >= RELAYED and 0 or 1
    self.climb_from = now()
  end
  local due = self.tries == 0 and 0 or CLIMBS[self.tries]
  return due and math.max(0, self.climb_from + due - now())
end

local function keep(self, path)
  local wait = climb_in(self, path)
  if wait == 0 then
    self.tries = self.tries + 1
    self.climb_from = now()
    return climb(self, path)
  end
  self.changed:wait(wait)
end

--- Keeps a session on its way until it is over; a task of the session. Its first path is there.
-- @tparam session self
function keeper.run(self)
  while self:lives() do
    self:tell_address()
    local path = self.paths:current()
    if path then
      keep(self, path)
    elseif is_carried(self) then
      self.changed:wait()
    else
      reconnect(self)
    end
  end
end

return keeper
