--- A node's sessions: one for each peer, and one more when it also has pipes without TLS.
-- @classmod p2pd.node.sessions
local acceptor = require "p2pd.node.acceptor"
local dial = require "p2pd.dial"
local handshake = require "p2pd.handshake"
local id = require "p2pd.id"
local session = require "p2pd.session"
local task = require "p2pd.task"

local sessions = {}

sessions.RESUME = 60 -- seconds

local Sessions = { __name = "p2pd.node.sessions" }
Sessions.__index = Sessions

--- @tparam node node
function sessions.new(node)
  return setmetatable({
    node = node,
    by_key = {},
    dialing = {}, -- by key: a condition that wakes when the dial is over
    closing = setmetatable({}, { __mode = "k" }),
  }, Sessions)
end

local function key_of(peer_id, is_secure)
  return (is_secure and "" or "insecure ") .. peer_id
end

--- The sessions that live.
-- @treturn {session,...}
function Sessions:list()
  local list = {}
  for _, one in pairs(self.by_key) do list[#list + 1] = one end
  table.sort(list, function(a, b) return a.since < b.since end)
  return list
end

-- -- making one

local function create(self, about)
  local key = key_of(about.peer, about.secure)
  local made = session.new {
    node = self.node, peer = about.peer, secure = about.secure, id = about.id, address = about.address,
    is_dialer = about.is_dialer, is_confirmed = not about.is_dialer, strategies = about.strategies,
    policy = about.policy, attempts = about.attempts, resume = self.node.resume,
    on_pipe = function(of, stream, header) acceptor.offer_stream(self.node, of, stream, header) end,
    on_path = function(of, event)
      event.peer = of.peer
      self.node.hub:emit("path", event)
    end,
    on_end = function(of)
      if self.by_key[key] == of then self.by_key[key] = nil end
    end,
  }
  self.by_key[key] = made
  return made
end

-- -- dialing

local function is_among(list, name)
  for _, one in ipairs(list) do
    if (type(one) == "table" and one.name or one) == name then return true end
  end
  return false
end

-- Whether a session's present path is one that the caller would have.
local function serves(found, options)
  if not found or not found:is_open() or options.own_policy then return false end
  if not options.strategies then return true end
  local path = found.paths:current()
  return path ~= nil and is_among(options.strategies, path.strategy)
end

-- What was reached becomes the first path of a session, or one more of the session that has come about.
local function use_stream(self, stream, name, made, options)
  local key = key_of(made.peer.node_id, options.secure)
  local found = self.by_key[key]
  if not found then
    found = create(self, { peer = made.peer.node_id, secure = options.secure, id = id.new(),
      address = made.peer, is_dialer = true, strategies = options.strategies, policy = options.policy,
      attempts = made.attempts })
  end
  local number, reason, code = found:offer_path(stream, { strategy = name, pipe = made.pipe_id })
  if not number then
    if not found.is_confirmed then found:fail(reason, "ECONNRESET") end
    return nil, reason, code
  end
  if found.paths.count > 0 then found:go_over(number, "asked for") end
  return found
end

local function mark_dialing(self, key)
  local over = task.condition()
  self.dialing[key] = over
  return setmetatable({}, { __close = function()
    if self.dialing[key] == over then self.dialing[key] = nil end
    over:broadcast()
  end })
end

local function dial_session(self, made, options, key)
  local _ <close> = mark_dialing(self, key)
  local stream, name = made:reach()
  if not stream then return nil, name end
  local held <close> = task.hold(stream)
  if self.node.closed then return nil, dial.failure("the node is closed", "EBADF") end
  local found = self.by_key[key]
  if serves(found, options) then return found end
  local reason, code
  found, reason, code = use_stream(self, held:release(), name, made, options)
  if not found then return nil, dial.failure(reason, code, made.attempts) end
  return found
end

local function open(found, options, made)
  local pipe, reason, code = found:open(options.protocol, made.pipe_id)
  if pipe then return pipe end
  return nil, dial.failure(reason, code, made.attempts)
end

--- Gives a pipe to a peer: a stream of the session that there is, or of one that a dial begins.
-- @tparam dial made
-- @tparam table options what it was made with, and own_policy (whether the policy is this connect's own:
-- then it is dialed in any case)
-- @treturn pipe; or nil and an error object
function Sessions:connect(made, options)
  local key = key_of(made.peer.node_id, options.secure)
  while self.dialing[key] and not serves(self.by_key[key], options) and not made.deadline:has_passed() do
    self.dialing[key]:wait(made.deadline:left())
  end
  if serves(self.by_key[key], options) then return open(self.by_key[key], options, made) end
  if self.dialing[key] then return nil, dial.failure("timed out", "ETIMEDOUT") end
  local found, failure = dial_session(self, made, options, key)
  if not found then return nil, failure end
  return open(found, options, made)
end

-- -- accepting

-- The session that a peer's path is for; nil: it has been lost here.
local function find_for(self, found, about)
  local key = key_of(found.from, about.secure)
  local present = self.by_key[key]
  if found.kind == "resume" then
    return present and present:is_called(found.name) and present or nil
  end
  if present and (not present.is_confirmed or present:is_called(found.name)) then return present end
  if present then present:fail("the peer has lost the session", "ECONNRESET") end
  return create(self, { peer = found.from, secure = about.secure, id = found.name, address = about.address })
end

--- Takes a verified stream of a peer's that is a session's path.
-- @tparam stream stream taken over
-- @tparam table found what the peer has said, see @{p2pd.handshake.answer}
-- @tparam table about strategy, secure, place, interface, address (the peer's, parsed; may be missing)
-- @treturn boolean true; or nil, reason: it is to be refused
function Sessions:take_path(stream, found, about)
  local of = find_for(self, found, about)
  if not of then return nil, handshake.LOST end
  about.name, about.is_resumed = found.name, found.kind == "resume"
  of.address = of.address or about.address
  local number, reason, code = of:take_path(stream, about)
  if not number then
    if not next(of.paths.live) and of.paths.count == 0 then of:fail(reason, "ECONNRESET") end
    acceptor.turn_away(self.node, nil, code, reason)
  end
  return true
end

-- -- what happens to the node

--- The network has changed: see @{p2pd.session:on_network}.
function Sessions:on_network(find_fault, is_sudden)
  for _, one in ipairs(self:list()) do one:on_network(find_fault, is_sudden) end
end

--- Our address may be another one.
function Sessions:wake()
  for _, one in pairs(self.by_key) do one.changed:broadcast() end
end

--- Closes those without pipes; the others end with their last one.
function Sessions:close()
  for _, one in ipairs(self:list()) do one:retire() end
end

return sessions
