--- One attempt to reach a peer. It owns everything that the attempt opens: whatever does not become the pipe
-- is closed when the dial ends, however it ends.
-- @classmod p2pd.dial
local core = require "p2pd.core"
local address = require "p2pd.address"
local handshake = require "p2pd.handshake"
local id = require "p2pd.id"
local pipe = require "p2pd.pipe"
local policy = require "p2pd.policy"
local strategy = require "p2pd.strategy"
local task = require "p2pd.task"

local dial = {}

dial.TIMEOUT = 20

local REFRESH_WAIT = 1 -- seconds for which a failed strategy waits for the peer's present address

local Dial = { __name = "p2pd.dial" }
Dial.__index = Dial

-- -- the error of a failed connect

local Failure = { __name = "p2pd.connect_error" }
Failure.__index = Failure

--- One sentence that says why.
function Failure:__tostring()
  local reasons = {}
  for _, attempt in ipairs(self.attempts) do
    reasons[#reasons + 1] = ("%s: %s"):format(attempt.strategy, attempt.reason or "connected")
  end
  if #reasons == 0 then return self.message end
  return ("%s (%s)"):format(self.message, table.concat(reasons, "; "))
end

--- Makes the error object: message, code, attempts (list of strategy, seconds, ok, reason), and each
-- strategy's reason under its name.
function dial.failure(message, code, attempts)
  local failure = { message = message, code = code, attempts = attempts or {} }
  for _, attempt in ipairs(failure.attempts) do failure[attempt.strategy] = attempt.reason end
  return setmetatable(failure, Failure)
end

-- -- the dial

local function load_strategies(self, list)
  if type(list) ~= "table" or #list == 0 then error("strategies is not a list of one or more", 0) end
  for i, value in ipairs(list) do
    local name, module = strategy.name_of(value), strategy.find(value)
    if (self.modules[name] or module) ~= module then
      error(('two strategies are called "%s"'):format(name), 0)
    end
    self.strategies[i], self.modules[name] = name, module
  end
end

--- A policy by its name, or the function itself.
-- @raise when there is none
function dial.find_policy(chosen)
  local found = type(chosen) == "function" and chosen or policy[chosen]
  return found or error(('no policy "%s"'):format(tostring(chosen)), 0)
end

local function check_timeout(seconds)
  if type(seconds) == "number" and seconds >= 0 then return seconds end
  error(("timeout: %s is not a number of seconds"):format(tostring(seconds)), 0)
end

-- What strategies have begun with early.
local Prepared = {}

function Prepared:__close()
  for _, value in pairs(self) do
    local _ <close> = value
  end
end

--- Makes a dial; @{run} runs it.
-- @tparam node node ours
-- @tparam table peer a parsed address
-- @tparam table options strategies (names or modules), policy (name or function), timeout (seconds), secure
-- (false: a stream without TLS)
-- @raise for an unknown strategy or policy
function dial.new(node, peer, options)
  local self = setmetatable({
    node = node,
    peer = peer,
    insecure = options.secure == false,
    pipe_id = id.new(),
    deadline = core.clock.monotonic() + check_timeout(options.timeout or dial.TIMEOUT),
    strategies = {},
    modules = {},
    attempts = {},
    prepared = setmetatable({}, Prepared),
    makers = setmetatable({}, { __mode = "k" }), -- which strategy made a stream
    refreshed = task.condition(),
    policy = dial.find_policy(options.policy or "race"),
  }, Dial)
  peer.insecure = self.insecure
  load_strategies(self, options.strategies or strategy.usual(node.settings or {}))
  return self
end

-- -- strategies ask for these

local Expected = {}
Expected.__index = Expected

function Expected:__close()
  self.node.expected[self.pipe_id], self.ended = nil, true
  if self.stream then self.stream:close() end
end

--- The stream that has come, once.
function Expected:take()
  local stream = self.stream
  self.stream = nil
  return stream
end

--- The dialer's part on a connected stream: encrypts it, as the TLS client, and verifies who answers.
-- @tparam stream stream taken over: closed when this fails
-- @treturn stream a verified stream; or nil, message, code
function Dial:secure(stream)
  local held <close> = task.hold(stream)
  local ok, message, code = handshake.dial(stream, { pipe = self.pipe_id, from = self.node.id,
    to = self.peer.node_id, context = self.node.tls, insecure = self.insecure })
  if not ok then return nil, message, code end
  return held:release()
end

--- Announces that the peer will connect to us for this pipe: `condition` wakes once `ended`, with a stream to
-- `take()`. Closing it ends the expectation.
function Dial:expect()
  local entry = setmetatable({ node = self.node, pipe_id = self.pipe_id, dial = self,
    condition = task.condition() }, Expected)
  self.node.expected[self.pipe_id] = entry
  return entry
end

-- -- attempts

-- Each reason once, and kept at once: the attempt may be cut off before it ends.
local function note(attempt, reason)
  local reasons = attempt.reasons
  if not reason or reasons[reason] then return end
  reasons[reason] = true
  reasons[#reasons + 1] = reason
  attempt.reason = table.concat(reasons, ", ")
end

-- A strategy may be anybody's, so what it raises is a failure like others.
local function call_dial(self, module, pair)
  local ok, stream, reason, code = xpcall(module.dial, debug.traceback, self, pair)
  if ok then return stream, reason, code end
  core.log.write("error", "a strategy failed: " .. tostring(stream))
  return nil, "an error in the strategy: " .. tostring(stream):match "[^\n]*", "EFAULT"
end

-- Every pair at once.
local function dial_pairs(self, module, peer, attempt)
  local tries = {}
  for i, pair in ipairs(self.node:pairs(peer)) do
    tries[i] = function()
      local stream, reason, code = call_dial(self, module, pair)
      if not stream then note(attempt, reason) end
      return stream, reason, code
    end
  end
  if tries[1] then return task.race(tries) end
  note(attempt, "no address family in common")
  return nil, attempt.reason, "EAFNOSUPPORT"
end

-- The given address, and the peer's present one as soon as that is known to differ.
local function dial_current(self, module, attempt)
  local given = self.peer
  local stream, _, code = task.race {
    function() return dial_pairs(self, module, given, attempt) end,
    function()
      if not self.refresh_ended then self.refreshed:wait(REFRESH_WAIT) end
      return self.peer ~= given and dial_pairs(self, module, self.peer, attempt)
    end,
  }
  if stream then return stream end
  return nil, attempt.reason, code
end

local function call_strategy(self, module, attempt)
  if module.whole then return call_dial(self, module) end
  return dial_current(self, module, attempt)
end

--- Lets a strategy begin with what takes long, before it runs. For policies.
-- @tparam string name
function Dial:prepare(name)
  local module = self.modules[name]
  if module.prepare and not self.prepared[name] then self.prepared[name] = module.prepare(self) end
end

--- Runs one strategy. For policies.
-- @tparam string name
-- @tparam number seconds its budget; the dial's own deadline holds too
-- @treturn ?stream a verified stream, or nil: the reason is kept in `attempts`
function Dial:attempt(name, seconds)
  local module = self.modules[name] or error(('the dial has no strategy "%s"'):format(tostring(name)), 2)
  local started = core.clock.monotonic()
  local attempt = { strategy = name, ok = false, started = started, reasons = {} }
  self.attempts[#self.attempts + 1] = attempt
  local budget = math.max(0, math.min(seconds, self.deadline - started))
  local stream, reason, code = task.timeout(budget, call_strategy, self, module, attempt)
  attempt.seconds = core.clock.monotonic() - started
  attempt.ok = stream ~= nil
  if stream then
    attempt.reason, self.makers[stream] = nil, name
    return stream
  end
  if code == "ETIMEDOUT" and reason == "timed out" then
    reason = attempt.reason or ("no answer within %.3g s"):format(budget)
  end
  attempt.reason = reason or "failed"
end

-- Addresses go stale: the peer tells its present one while the given one is tried.
local function refresh(self)
  local left = self.deadline - core.clock.monotonic()
  local answer = self.node.signal:request(self.peer, "GET_ADDR", nil, left)
  local given = address.format(self.peer)
  if answer and answer.sender.node_id == self.peer.node_id and answer.address ~= given then
    self.peer = answer.sender
    self.peer.insecure = self.insecure
  end
  self.refresh_ended = true
  self.refreshed:broadcast()
end

-- What was cut off has a reason too.
function Dial:conclude(reason)
  local now = core.clock.monotonic()
  for _, attempt in ipairs(self.attempts) do
    attempt.seconds = attempt.seconds or now - attempt.started
    attempt.started, attempt.reasons = nil, nil
    if not attempt.ok then attempt.reason = attempt.reason or reason end
  end
end

--- Runs the dial.
-- @treturn pipe the pipe; or nil and an error object
function Dial:run()
  local children <close> = task.group()
  local _ <close> = self.prepared
  if self.modules.direct then children:spawn(refresh, self) else self.refresh_ended = true end
  local left = math.max(0, self.deadline - core.clock.monotonic())
  local stream, name, code = task.timeout(left, self.policy, self)
  self:conclude(stream and "cancelled" or ("no answer within %.3g s"):format(left))
  if not stream then
    return nil, dial.failure(("no connection to %s"):format(self.peer.node_id),
      code or "EHOSTUNREACH", self.attempts)
  end
  local held <close> = task.hold(stream)
  local ok, reason
  ok, reason, code = handshake.go(stream, self.pipe_id)
  if not ok then return nil, dial.failure(reason, code, self.attempts) end
  held:release()
  return pipe.new(stream, { strategy = name or self.makers[stream], peer = self.peer.node_id,
    id = self.pipe_id, secure = not self.insecure, interface = self.node:interface_of(stream),
    attempts = self.attempts })
end

return dial
