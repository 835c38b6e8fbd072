--- What two nodes share while any pipe is open between them: it is carried by one path at a time, and
-- outlives it. A pipe is one of its streams.
--
-- Two machines do the work: `core.session` makes one ordered byte stream each way of successive paths, and
-- `core.mux` puts many streams on it (yamux). What is decided is here and in @{p2pd.session.keeper}: which
-- path carries the session, when another one is looked for, and when it is over.
--
-- `peer` (node id), `id`, `secure` are there to be read.
-- @classmod p2pd.session
local core = require "p2pd.core"
local deadline = require "p2pd.deadline"
local handshake = require "p2pd.handshake"
local id = require "p2pd.id"
local keeper = require "p2pd.session.keeper"
local paths = require "p2pd.session.paths"
local pipe = require "p2pd.pipe"
local streams = require "p2pd.session.streams"
local strategy = require "p2pd.strategy"
local task = require "p2pd.task"

local session = {}

session.LINGER = 30 -- seconds for which a session without pipes is kept

local ACCEPTORS = 2  -- tasks that wait for a stream, at most
local GO_OVER_S = 10 -- until the peer follows to another path

local Session = { __name = "p2pd.session" }
Session.__index = Session

-- For people at a prompt.
Session.__dir = { "close", "id", "info", "is_open", "open", "path", "peer", "secure" }

local function cost_of(self, name)
  for _, module in ipairs(self.node.strategies) do
    if module.name == name then return module.cost or strategy.COST end
  end
  return strategy.COST
end

--- The path that carries it now (see @{p2pd.session.paths.describe}), or nil.
function Session:path()
  return self.paths:current()
end

-- -- its end

-- Nothing of it is left but the reason.
local function finish(self, reason, code)
  if self.ended then return end
  self.ended = { reason = reason, code = code }
  self.on_end(self)
  self.paths:close()
  self.changed:broadcast()
  self.accepting:cancel()
  self.tasks:cancel()
end

-- How the machine can end; a path that broke may have had other codes.
local ENDS = { ECONNABORTED = true, ECONNRESET = true, ETIMEDOUT = true, EACCES = true, EBUSY = true }

--- Ends it: every pipe fails.
-- @tparam string reason
-- @tparam string code
function Session:fail(reason, code)
  if self.ended then return end
  self.machine:abort(reason, ENDS[code] and code or "ECONNRESET")
  finish(self, reason, code)
end

--- Closes it, once its last pipe has gone; what that has written still goes out. May be called twice.
function Session:close()
  if self.ended or self.closing then return end
  self.closing = true
  self.on_end(self)
  self.accepting:cancel()
  self.mux:close()
end

Session.__close = Session.close

--- Whether pipes may be opened.
function Session:is_open()
  return self:lives() and not self.closing
end

--- Whether it is not over: one that is closed may still have something to deliver.
function Session:lives()
  return not self.ended
end

-- -- paths

--- Ends a path, without a word to the other side but its end.
-- @tparam integer number
-- @tparam string why
-- @tparam[opt=false] boolean at_once nothing can come by it any more
function Session:drop(number, why, at_once)
  self.machine:drop(number, why, at_once)
end

-- It goes on by a path from now on.
local function note_move(self, number, pause)
  local to, from = self.paths:move(number)
  if not to then return end
  self.is_broken_here = false
  self.on_path(self, { why = to.reason or from and "resumed" or "first", from = from and from.strategy,
    to = to.strategy, pause = from and pause })
  self.changed:broadcast()
end

-- The first path is used at once.
local function attach(self, stream, path, greeting)
  local held <close> = task.hold(stream)
  local number, reason, code = self.machine:attach(stream, greeting)
  if not number then
    if path.place then path.place:close() end
    return nil, reason, code
  end
  held:release()
  self.paths:add(number, path)
  if number == 1 then note_move(self, number) end
  self.keeping = self.keeping or self.tasks:detach(keeper.run, self)
  return number
end

-- What the peer calls it. When both sides have proposed one at once these become the same session, and who
-- has the smaller node id is the one that leads.
local function add_alias(self, name)
  if self:is_called(name) then return end
  self.aliases[name] = true
  self.is_dialer = self.is_first
end

--- A verified stream that we have made becomes a path, once the peer has accepted it.
-- @tparam stream stream taken over
-- @tparam table about strategy, pipe (its dial's pipe id)
-- @treturn integer the path's number; or nil, message, code
function Session:offer_path(stream, about)
  local held <close> = task.hold(stream)
  local path = paths.describe(stream, { strategy = about.strategy, cost = cost_of(self, about.strategy),
    interface = self.node:interface_of(stream) })
  path.is_resumed = self.is_confirmed
  local ok, reason, code = handshake.go(stream, { pipe = about.pipe, strategy = about.strategy,
    kind = self.is_confirmed and "resume" or "session", name = self.id })
  if not ok then return nil, reason, code end
  return attach(self, held:release(), path, handshake.ACCEPTED)
end

--- A verified stream that the peer has made becomes a path.
-- @tparam stream stream taken over
-- @tparam table about strategy, interface, place, name (the session's id, as the peer has said it),
-- is_resumed (whether the session has had a path before)
-- @treturn integer the path's number; or nil, message, code
function Session:take_path(stream, about)
  local held <close> = task.hold(stream)
  local path = paths.describe(stream, about)
  path.cost, path.accepted = cost_of(self, about.strategy), true
  add_alias(self, about.name)
  local ok, reason, code = handshake.accept(stream, self.id)
  if not ok then
    path.place:close()
    return nil, reason, code
  end
  local number
  number, reason, code = attach(self, held:release(), path)
  if number and about.is_resumed and self.is_dialer then
    self.tasks:detach(self.go_over, self, number, "the peer has dialed it")
  end
  return number, reason, code
end

--- The session goes on by a path, and the one before is ended once it is left. Waits for that. Who leads
-- chooses; a peer that has dialed a path itself wants it to be that.
-- @tparam integer number
-- @tparam string why
function Session:go_over(number, why)
  local path, old, limit = self.paths.live[number], self.paths:current(), deadline.after(GO_OVER_S)
  if not path or path == old then return end
  path.reason = why
  local ok = not self.is_dialer or self.machine:switch(number)
  while ok and self:lives() and self.paths:current() ~= path and self.paths.live[number]
    and not limit:has_passed() do
    self.changed:wait(limit:left())
  end
  if old and self.paths:current() == path then self:drop(old.number, "another path carries the session") end
end

--- Whether a session's id is one of this one's: each side may have proposed one.
function Session:is_called(name)
  return name == self.id or self.aliases[name] or false
end

-- -- what the machine tells

local on = {}

function on.moved(self, event)
  note_move(self, event.path, event.pause)
end

function on.up(self, event)
  local name = event.greeting and handshake.accepted_as(event.greeting)
  if name then add_alias(self, name) end
  self.is_confirmed = true
  self.changed:broadcast()
end

-- A path that the peer refuses is the session's end when it has none any more, or never wanted it. One that
-- it has no room for at the moment is just a path less.
local function judge_refusal(self, path, line)
  local refusal = handshake.refusal(line)
  if not refusal then return end
  if handshake.is_lost(line) then
    self:fail("the peer has lost the session", "ECONNRESET")
  elseif not (path and path.is_resumed) then
    self:fail(refusal, "EACCES")
  end
  return refusal
end

function on.down(self, event)
  local path = self.paths:remove(event.path, event.reason)
  local refusal = event.code == "EACCES" and judge_refusal(self, path, event.reason)
  if path then self.why, self.why_code = refusal or event.reason, event.code end
  if event.code == "ETIMEDOUT" then self.node.signal:doubt() end -- a router that forgets one forgets all
  self.changed:broadcast()
end

function on.ended(self, event)
  finish(self, event.reason or "the session is over", event.code or "EBADF")
end

local function watch(self)
  while true do
    local event, reason, code = self.machine:event()
    if not event then return finish(self, reason, code) end
    if on[event.type] then on[event.type](self, event) end
  end
end

-- -- pipes

--- Opens a pipe: no round trip before its first byte.
-- @tparam[opt] string protocol
-- @tparam[opt] string pipe_id
-- @treturn pipe; or nil, message, code
function Session:open(protocol, pipe_id)
  if self.ended then return nil, self.ended.reason, self.ended.code end
  pipe_id = pipe_id or id.new()
  local stream, reason, code = streams.open(self.mux, "pipe", pipe_id, protocol)
  if not stream then return nil, reason, code end
  self.opened = self.opened + 1
  return pipe.new(stream, { session = self, protocol = protocol, id = pipe_id, awaits_verdict = true,
    attempts = self.attempts })
end

-- What the peer opens streams for.
local take = {}

function take.pipe(self, stream, words)
  self.on_pipe(self, stream, { id = words[2], protocol = words[3] })
end

function take.address(self, stream)
  local held <close> = stream
  local peer = streams.receive_address(held, self.peer, self.node.settings)
  if not peer then return end
  peer.typed = self.address and self.address.typed
  self.address = peer
  self.news = self.news + 1
  self.changed:broadcast()
end

local function receive(self, stream)
  local held <close> = task.hold(stream)
  local words = streams.receive(stream)
  if not words then return stream:abort() end
  self.opened = self.opened + 1
  take[words[1]](self, held:release(), words)
end

-- A task that takes one stream after the other; there is another one as long as this one is busy. A few
-- remain: who opens many pipes does not have us make as many tasks.
local function accept(self)
  self.acceptors = self.acceptors + 1
  while self.acceptors <= ACCEPTORS do
    local stream = self.mux:accept()
    if not stream then return end
    self.acceptors = self.acceptors - 1
    if self.acceptors == 0 then self.accepting:detach(accept, self) end
    receive(self, stream)
    self.acceptors = self.acceptors + 1
  end
  self.acceptors = self.acceptors - 1
end

-- Who proposed it closes it first.
local function watch_idle(self)
  while true do
    self.mux:wait_idle()
    if not self:is_open() then return end
    local seen = self.opened
    task.sleep(session.LINGER + (self.is_dialer and 0 or 5))
    local is_idle = self.mux:wait_idle(0) and self.opened == seen
    if is_idle then return self:close() end
  end
end

-- -- addresses

--- Tells the peer our present address, over the session.
function Session:tell_address()
  local text = self.node.address
  if text == self.told_address or not self.is_confirmed or not self:is_open() then return end
  self.told_address = text
  streams.send_address(self.mux, text)
end

--- Our network has changed.
-- @tparam function find_fault of a path's local and remote IP: why it is dead, or nil
-- @tparam boolean is_sudden whether no path is to be believed in
function Session:on_network(find_fault, is_sudden)
  for number, path in pairs(self.paths.live) do
    local fault = path.ip and path.remote_ip and find_fault(path.ip, path.remote_ip)
    if fault then
      self.is_broken_here = true
      self:drop(number, fault, true)
    end
  end
  if is_sudden then self.machine:doubt() end
  self.news = self.news + 1
  self.changed:broadcast()
end

--- The node is closed: no path is looked for any more, and it ends with its last pipe.
function Session:retire()
  self.changed:broadcast()
  self:close()
end

-- -- what is known of it

--- What is known of it.
-- @treturn table peer, id, secure, path (see @{p2pd.session.paths:tell_current}), paths (that have carried it
-- so far), story (see @{p2pd.session.paths:tell}), resumed (how often it went on by another path), kept
-- (bytes sent and not acknowledged), sent and received (bytes of all its pipes), rtt (seconds), pipes (open
-- now), age (seconds)
function Session:info()
  local machine, mux = self.ended and {} or self.machine:info(), self.ended and {} or self.mux:info()
  return {
    peer = self.peer, id = self.id, secure = self.secure,
    path = self.paths:tell_current(), paths = self.paths.count, story = self.paths:tell(),
    resumed = math.max(0, self.paths.count - 1),
    kept = machine and machine.kept, sent = machine and machine.sent,
    received = machine and machine.received,
    rtt = machine and machine.rtt, pipes = mux and mux.streams or 0,
    age = core.clock.monotonic() - self.since,
  }
end

function Session:__tostring()
  local path = self.paths:current()
  local state = self.ended and "ended" or path and path.strategy or "without a path"
  return ("session with %s (%s)"):format(self.peer, state)
end

--- Begins a session without a path.
-- @tparam table about node, peer (node id), address (the peer's, parsed; may be missing), id, secure,
-- is_dialer (whether we have proposed it), strategies and policy (of its dials), resume (seconds without a
-- path that it lives through), attempts, and callbacks: on_pipe(session, stream, header), on_path(session,
-- event), on_end(session)
-- @treturn session
function session.new(about)
  local is_first = about.node.id < about.peer -- the same at both ends, whoever has proposed it
  local self = setmetatable({
    changed = task.condition(), aliases = {}, paths = paths.new(), tasks = task.group(),
    accepting = task.group(), opened = 0, news = 0, acceptors = 0, since = core.clock.monotonic(),
    machine = core.session.new { initiator = about.is_dialer or false, prevails = is_first,
      yields = not is_first, silence = about.node.settings.silence },
    is_first = is_first,
  }, Session)
  for key, value in pairs(about) do self[key] = value end
  self.mux = core.mux.new(self.machine:stream(), is_first and "client" or "server")
  self.tasks:detach(watch, self)
  self.accepting:detach(accept, self)
  self.tasks:detach(watch_idle, self)
  return self
end

return session
