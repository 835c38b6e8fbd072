--- One attempt to reach a peer. It owns everything that the attempt opens: whatever does not become the pipe
-- is closed when the dial ends, however it ends.
--
-- A strategy has these fields: `node` (ours), `peer` (the peer's address, parsed: the newest that is known),
-- `pipe_id`, `deadline` (see @{p2pd.deadline}), `prepared` (by strategy, what its `prepare` returned). A
-- policy has `strategies`, a list of names.
-- @classmod p2pd.dial
local contacts = require "p2pd.contacts"
local core = require "p2pd.core"
local address = require "p2pd.address"
local deadline = require "p2pd.deadline"
local handshake = require "p2pd.handshake"
local id = require "p2pd.id"
local peers = require "p2pd.peer"
local pipe = require "p2pd.pipe"
local policy = require "p2pd.policy"
local race = require "p2pd.dial.race"
local report = require "p2pd.dial.report"
local strategy = require "p2pd.strategy"
local task = require "p2pd.task"
local text = require "p2pd.text"

local dial = {}

dial.TIMEOUT = 20

local REFRESH_S = 1        -- for which ways that have failed wait for the peer's present address
local REQUEST_S = 0.25     -- for which an answer under way may tell it, before it is asked for

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

--- Makes the error object: message, code, attempts (list of strategy, began, seconds, ok, reason), report
-- (see @{p2pd.dial.report}; nil when nothing was tried), and each strategy's reason under its name.
function dial.failure(message, code, attempts)
  attempts = attempts or {}
  local failure = { message = text.printable(message), code = code, attempts = attempts,
    report = attempts.report }
  for _, attempt in ipairs(failure.attempts) do
    attempt.reason = attempt.reason and text.printable(attempt.reason)
    failure[attempt.strategy] = attempt.reason
  end
  return setmetatable(failure, Failure)
end

-- -- the dial

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

-- The node's own modules for the names that it knows.
local function choose_strategies(node, list)
  if list == nil then return strategy.enabled(node.strategies, node.settings) end
  if type(list) ~= "table" then return strategy.load(list) end
  local chosen = {}
  for i, value in ipairs(list) do
    chosen[i] = value
    for _, module in ipairs(node.strategies) do
      if module.name == value then chosen[i] = module end
    end
  end
  return strategy.load(chosen)
end

--- Makes a dial; @{run} runs it.
-- @tparam node node ours
-- @tparam table peer a parsed address
-- @tparam table options strategies (names or modules), policy (name or function), timeout (seconds), protocol
-- (of the pipe), secure (false: a stream without TLS)
-- @raise for an unknown strategy or policy
-- @local
function dial.new(node, peer, options)
  local modules = choose_strategies(node, options.strategies)
  local timeout, started = check_timeout(options.timeout or dial.TIMEOUT), core.clock.monotonic()
  local made = report.new(started)
  local self = setmetatable({
    node = node,
    peer = peer,
    insecure = options.secure == false,
    protocol = options.protocol,
    pipe_id = id.new(),
    is_chosen = options.strategies ~= nil, -- the strategies, by whoever connects
    started = started,
    timeout = timeout,
    deadline = deadline.after(timeout),
    report = made,
    strategies = {},
    modules = {},
    messages = strategy.messages(modules),
    attempts = setmetatable({}, { __index = { report = made } }), -- its report goes where it goes
    prepared = setmetatable({}, Prepared),
    verified = setmetatable({}, { __mode = "k" }), -- streams that secure() has let through
    makers = setmetatable({}, { __mode = "k" }),   -- which strategy made a stream
    requesting = 0,      -- requests under way whose answers tell the peer's present address
    changes = 0,         -- how often wake() was called
    changed = task.condition(),
    policy = dial.find_policy(options.policy or "race"),
  }, Dial)
  peer.insecure = self.insecure
  for i, module in ipairs(modules) do self.strategies[i], self.modules[module.name] = module.name, module end
  return self
end

--- Something has changed that may let a way begin, or end the dial.
-- @local
function Dial:wake()
  self.changes = self.changes + 1
  self.report:look(self)
  self.changed:broadcast()
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

--- The dialer's part on a connected stream: encrypts it, as the TLS client, and verifies who answers. For
-- strategies: every stream that they return has passed here.
-- @tparam stream stream taken over: closed when this fails
-- @treturn stream a verified stream; or nil, message, code
function Dial:secure(stream)
  local held <close> = task.hold(stream)
  local ok, message, code = self.report:handshake(stream, handshake.dial, { pipe = self.pipe_id,
    from = self.node.id, to = self.peer.node_id, context = self.node.tls, insecure = self.insecure })
  if not ok then return nil, message, code end
  self.verified[stream] = true
  return held:release()
end

--- Announces that the peer will connect to us for this pipe: `condition` wakes once `ended`, with a stream to
-- `take()`, which is verified. Closing it ends the expectation. For strategies.
function Dial:expect()
  local entry = setmetatable({ node = self.node, pipe_id = self.pipe_id, dial = self,
    condition = task.condition() }, Expected)
  self.node.expected[self.pipe_id] = entry
  return entry
end

-- The addresses that our user means: those that he has named or, when he has named a node id alone, those
-- that its node is the first to tell.
local function typed_of(peer, present)
  local is_bare = peer.typed and not peer.ipv4[1] and not peer.ipv6[1]
  return is_bare and peers.named(present) or peer.typed
end

-- The peer's present address, as a message of its own tells it.
local function learn(self, message)
  self.heard = true
  if message.from == self.peer.node_id and message.address ~= address.format(self.peer) then
    message.sender.insecure, message.sender.typed = self.insecure, typed_of(self.peer, message.sender)
    self.peer = message.sender
    self.learned = message.address
  end
  self:wake()
end

--- Sends the peer a message of a strategy of this dial, and waits for the answer. For strategies.
-- @tparam string kind the message's type
-- @tparam[opt] table fields what it carries besides the pipe's id
-- @tparam[opt] number timeout seconds; the dial's deadline holds too
-- @treturn table the answer; or nil, message, code (EACCES when the peer refuses)
-- @raise when no strategy of this dial has such a message
function Dial:request(kind, fields, timeout)
  local entry = self.messages[kind] or error(("no strategy of the dial has a message %s"):format(kind), 2)
  local all = { pipe = self.pipe_id }
  for name, value in pairs(fields or {}) do all[name] = value end
  local tells = entry.reply and 1 or 0
  self.requesting = self.requesting + tells
  local _ <close> = setmetatable({}, { __close = function() self.requesting = self.requesting - tells end })
  local answer, reason, code = self.report:message(self, kind, all, timeout, self.messages)
  if answer then learn(self, answer) end
  return answer, reason, code
end

-- -- policies call these

--- Lets a strategy begin with what takes long, before it runs. For policies.
-- @tparam string name
function Dial:prepare(name)
  local module = self.modules[name]
  if module.prepare and not self.prepared[name] then self.prepared[name] = module.prepare(self) end
end

--- Runs strategies side by side, each on every pair of our routes with the peer's: the first verified stream
-- wins, and a cheaper one is waited for while it can still land within a short grace. For policies.
-- @tparam[opt] {string,...} names of strategies (all of the dial's)
-- @tparam[opt] number seconds that it may take
-- @treturn ?stream a verified stream and its strategy's name; or nil: the reasons are kept in `attempts`
function Dial:race(names, seconds)
  local modules = {}
  for i, name in ipairs(names or self.strategies) do
    modules[i] = self.modules[name] or error(('the dial has no strategy "%s"'):format(tostring(name)), 2)
  end
  return race.run(self, modules, seconds)
end

--- Runs one strategy. For policies.
-- @tparam string name
-- @tparam[opt] number seconds that it may take, at most its budget
-- @treturn ?stream a verified stream, or nil: the reason is kept in `attempts`
function Dial:attempt(name, seconds)
  return (self:race({ name }, seconds))
end

-- -- the peer's present address

-- Whether it is worth waiting for the peer's present address: with nothing but that to go on for as long as
-- the dial may take, else for a moment.
function Dial:is_refreshing()
  if not self.refresh_by or self.refresh_ended then return false end
  if not self.node:pairs(self.peer)[1] then return true end
  return not self.refresh_by:has_passed()
end

--- Seconds until waiting for it is not worth it any more; nil when nothing says so.
-- @local
function Dial:refresh_left()
  if not self:is_refreshing() or not self.node:pairs(self.peer)[1] then return nil end
  return self.refresh_by:left()
end

-- Addresses go stale. Every answer tells the peer's present one, so it is asked for when none is under way:
-- a broker may hold a second message back until the first one is acknowledged.
local function refresh(self)
  task.sleep(0) -- ways that have just begun may ask
  local limit = deadline.after(REQUEST_S)
  while self.requesting > 0 and not self.heard and not limit:has_passed() do
    self.changed:wait(limit:left())
  end
  if not self.heard then
    local answer, reason = self.report:message(self, "GET_ADDR")
    if answer then learn(self, answer) else self.refresh_reason = reason end
  end
  self.refresh_ended = true
  self:wake()
end

--- Asks for the peer's present address, once; the strategies that have begun go first.
-- @local
function Dial:refresh()
  if self.refresh_by then return end
  self.refresh_by = deadline.after(REFRESH_S)
  self.children:spawn(refresh, self)
end

-- -- the end

-- What was cut off has a reason too; seconds are those that passed.
local function conclude(self, is_won)
  local now = core.clock.monotonic()
  for _, attempt in ipairs(self.attempts) do
    if attempt.began and not attempt.seconds then attempt.seconds = now - self.started - attempt.began end
    attempt.seconds = attempt.seconds or 0
    if not attempt.ok and (not attempt.reason or attempt.is_running) then
      attempt.reason = is_won and (attempt.began and "lost the race" or "not begun: another was quicker")
        or attempt.reason or ("no answer within %.3g s"):format(attempt.seconds)
    end
    attempt.is_running = nil
  end
end

-- The user's contacts learn what the dial has learned.
local function tell_contacts(self)
  if not self.learned then return end
  local ok, reason, code = contacts.refresh(self.peer.node_id, self.learned)
  if ok == nil and code ~= "ENOENT" then core.log.write("warn", "the contacts: " .. reason) end
end

local function call_policy(self)
  local ok, stream, name = xpcall(self.policy, debug.traceback, self)
  if not ok then
    core.log.write("error", "the policy failed: " .. tostring(stream))
    return nil, "an error in the policy: " .. tostring(stream):match "[^\n]*", "EFAULT"
  end
  if not stream then return nil, nil, "EHOSTUNREACH" end
  if not self.verified[stream] then
    return nil, ("the policy returned a %s, and no verified stream"):format(type(stream)), "EFAULT"
  end
  return stream, name or self.makers[stream]
end

-- Among the node's dials as long as it lasts: they learn when the node learns more of its routes.
local function enlist(self)
  self.node.dials[self] = true
  return setmetatable({}, { __close = function() self.node.dials[self] = nil end })
end

--- Runs the dial until there is a verified stream, on which nothing has been said yet.
-- @treturn stream a stream and its strategy's name; or nil and an error object
-- @local
function Dial:reach()
  local children <close> = task.group()
  local _ <close> = self.prepared
  local _ <close> = enlist(self)
  self.report:look(self)
  self.children = children
  local stream, name, code = task.timeout(self.deadline:left(), call_policy, self)
  conclude(self, stream)
  self.report:conclude(self, stream ~= nil)
  tell_contacts(self)
  if not stream then
    local why = code == "EFAULT" and ": " .. name or ""
    return nil, dial.failure(("no connection to %s%s"):format(self.peer.node_id, why), code, self.attempts)
  end
  stream:setsilence(self.node.settings.silence)
  local ip = stream:getpeername()
  if ip then self.node.limits.trust:note_source(ip) end
  return stream, name
end

--- Runs the dial; what it reaches becomes a pipe of its own.
-- @treturn pipe the pipe; or nil and an error object
-- @local
function Dial:run()
  local stream, name = self:reach()
  if not stream then return nil, name end
  local held <close> = task.hold(stream)
  local ok, reason, code = handshake.go(stream, { pipe = self.pipe_id, strategy = name, kind = "pipe",
    name = self.protocol })
  if not ok then return nil, dial.failure(reason, code, self.attempts) end
  held:release()
  return pipe.new(stream, { strategy = name, peer = self.peer.node_id, id = self.pipe_id,
    protocol = self.protocol, awaits_verdict = true, secure = not self.insecure,
    interface = self.node:interface_of(stream), attempts = self.attempts })
end

return dial
