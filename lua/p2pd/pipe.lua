--- What a dial or an accept gives: one ordered, reliable byte stream, whatever strategy made it.
-- Reading and writing follow Lua's io library. A call that waits lets other tasks run; one task reads at a
-- time, and each write goes out whole. The world's failures are nil, message, code.
-- A peer that does not want the pipe says so first: then reading, writing and waiting for the end fail with
-- EACCES.
-- @classmod p2pd.pipe
local core = require "p2pd.core"
local deadline = require "p2pd.deadline"
local handshake = require "p2pd.handshake"
local streams = require "p2pd.stream"
local task = require "p2pd.task"
local endpoint = require "p2pd.endpoint"

local pipe = {}

local methods = {}
local Pipe = { __name = "p2pd.pipe" }

-- For people at a prompt.
Pipe.__dir = { "abort", "close", "detach", "flush", "id", "info", "interface", "lines", "peer", "protocol",
  "read", "recv", "secure", "settimeout", "shutdown", "strategy", "write" }

-- What a pipe's session tells, and the path that carries it, which may be another one at any moment.
local function of_session(self, key)
  local of = rawget(self, "session")
  return of and of[key]
end

local function of_path(self, key)
  local of = rawget(self, "session")
  local path = of and of:path()
  return path and path[key]
end

local ELSEWHERE = {
  peer = of_session, secure = of_session, strategy = of_path, interface = of_path,
  report = function(self)
    local attempts = rawget(self, "attempts")
    return attempts and attempts.report
  end,
}

function Pipe:__index(key)
  local find = ELSEWHERE[key]
  if find then return find(self, key) end
  return methods[key]
end

--- Makes a pipe of a stream that a strategy gave.
-- @tparam stream stream
-- @tparam table about strategy, protocol, peer (node id), id, secure (is it TLS: then the peer's id is
-- verified), interface, attempts (what a dial tried, with its report), awaits_verdict (the peer has yet to
-- say that it takes the pipe), place (closed with the pipe), session (that the stream belongs to: then
-- peer and secure are the session's, strategy and interface those of its path)
-- @within Making
function pipe.new(stream, about)
  local self = { -- no more than eight fields: a table of nine takes the room of sixteen
    stream = stream,
    session = about.session,
    protocol = about.protocol,
    id = about.id,
    attempts = about.attempts,
    awaits_verdict = about.awaits_verdict or false, -- true; or what a task does about it
    place = about.place,
    since = core.clock.monotonic(),
  }
  if not about.session then
    self.strategy, self.peer, self.secure, self.interface =
      about.strategy, about.peer, about.secure, about.interface
  end
  return setmetatable(self, Pipe)
end

-- -- the verdict: what the peer says first, before the application's bytes

local VERDICT_S = 1 -- for it to arrive behind the failure of a write

local function refused(self)
  return nil, table.unpack(self.refusal, 1, 2)
end

-- One task reads it; whoever would read the pipe waits while a writer looks for it.
local function receive_verdict(self, state)
  self.awaits_verdict = state
  local _ <close> = setmetatable({}, { __close = function()
    self.awaits_verdict = self.awaits_verdict and true
    if self.looked then self.looked:broadcast() end
  end })
  local ok, message, code = handshake.receive_verdict(self.stream)
  if ok then
    self.awaits_verdict = false
    return true
  end
  if code == "EACCES" or code == "EPROTO" then
    self.refusal, self.awaits_verdict = { message, code }, false
    self.stream:close()
  end
  return nil, message, code
end

-- A failure of the stream is the reader's.
local function wait_for_verdict(self)
  while self.awaits_verdict == "looking" do
    self.looked = self.looked or task.condition()
    self.looked:wait()
  end
  if self.refusal then return refused(self) end
  if not self.awaits_verdict then return true end
  return receive_verdict(self, "reading")
end

-- Whether it has come, or comes in so many seconds, and is a refusal.
local function is_refused(self, seconds)
  if self.awaits_verdict == true then
    self.stream:settimeout(seconds)
    local _ <close> = setmetatable({}, { __close = function()
      if not self.refusal then self.stream:settimeout(self.timeout) end
    end })
    receive_verdict(self, "looking")
  end
  return self.refusal ~= nil
end

-- When the session has failed, that is the reason; one that has ended in good order leaves the stream's own.
local function failure_of(self)
  local ended = self.session and self.session.ended
  return ended and ended.code ~= "EBADF" and ended or nil
end

local function result(self, first, ...)
  local failure = first == nil and ... and failure_of(self)
  if failure then return nil, failure.reason, failure.code end
  return first, ...
end

-- A write that fails has a reason, which may be on its way.
local function explain(self, message, code, taken)
  if failure_of(self) then return result(self, nil, message, code) end
  if is_refused(self, VERDICT_S) then return refused(self) end
  return nil, message, code, taken
end

-- -- reading and writing

--- Reads by formats: "l" a line, "L" a line with its end, "a" all until the end, a number that many bytes
-- (fewer only at the end); "*l" and the like too. Without one, a line.
-- @param ... formats
-- @return a string for each; nil at the end of the stream; nil, message, code on a failure (ETIMEDOUT: what
-- has come stays readable)
function methods:read(...)
  local ok, message, code = wait_for_verdict(self)
  if not ok then return result(self, nil, message, code) end
  return result(self, self.stream:read(...))
end

--- Waits until there is something and returns it.
-- @tparam[opt] integer max bytes at most
-- @treturn ?string nil at the end; nil, message, code on a failure
function methods:recv(max)
  local ok, message, code = wait_for_verdict(self)
  if not ok then return result(self, nil, message, code) end
  return result(self, self.stream:recv(max))
end

--- Writes strings and numbers; waits while the peer is slow.
-- @param ... strings or numbers; they leave together
-- @treturn pipe itself; or nil, message, code, bytes taken
function methods:write(...)
  if is_refused(self, 0) then return refused(self) end
  local ok, message, code, taken = self.stream:write(...)
  if ok then return self end
  return explain(self, message, code, taken)
end

--- Copies to another stream what comes, until the peer's end, which does not end the other one. Waits.
-- @tparam stream to
-- @treturn integer bytes; or nil, message, code
-- @treturn ?integer after a failure: bytes that were copied
-- @treturn ?boolean after a failure: whether it was the pipe's
-- @local
function methods:copy_to(to)
  local ok, message, code = wait_for_verdict(self)
  if not ok then
    message, code = select(2, result(self, nil, message, code))
    return nil, message, code, 0, true
  end
  local bytes, reason, errcode, copied, call = core.splice.copy(self.stream, to)
  if bytes or call == "write" then return bytes, reason, errcode, copied, false end
  reason, errcode = select(2, result(self, nil, reason, errcode))
  return nil, reason, errcode, copied, true
end

--- Writes what another stream gives, until its end, which does not end the pipe. Waits. Others may write
-- meanwhile: what one read gives goes out whole.
-- @tparam stream from
-- @return as @{copy_to}
-- @local
function methods:copy_from(from)
  local message, code
  if is_refused(self, 0) then
    message, code = select(2, refused(self))
    return nil, message, code, 0, true
  end
  local bytes, reason, errcode, copied, call = core.splice.copy(from, self.stream)
  if bytes or call == "read" then return bytes, reason, errcode, copied, false end
  reason, errcode = select(2, explain(self, reason, errcode))
  return nil, reason, errcode, copied, true
end

--- An iterator over @{read} with the same formats; it ends at the stream's end and raises on a failure.
-- Or over the lines that match a pattern: each step gives a line and what the pattern captures of it. Several
-- tasks may do so at a time, each with a pattern of its own; a line that matches none is skipped.
-- @function lines
-- @param ... formats, or one pattern that is no format
-- @usage for line, name in pipe:lines "^hello (%a+)" do print(name) end

--- Sends a message, which the peer receives as one: four bytes of length, and the message.
-- @function send
-- @tparam string message
-- @tparam[opt=1048576] integer max bytes
-- @treturn pipe itself; or nil, message, code (EMSGSIZE: it is too long, and nothing was sent)

--- Waits for a message.
-- @function receive
-- @tparam[opt=1048576] integer max bytes
-- @treturn ?string nil at the end; nil, message, code on a failure (EMSGSIZE: a longer one comes; EPROTO: the
-- end came within one; ETIMEDOUT: it may be waited for again)

--- An iterator over @{receive}; it ends at the pipe's end and raises on a failure.
-- @function messages
-- @tparam[opt=1048576] integer max bytes

--- Copies what the pipe gives to another stream or pipe, and the other way round, until both have ended. The
-- end of what one gives ends the other's sending half. Cancelling the task ends it; so does closing one of
-- them. When it fails, what has not got all that was for it is broken off, not ended. Closes neither.
-- @function link
-- @tparam stream|pipe|table other or `from` and `to`, two streams such as `p2pd.stdin` and `p2pd.stdout`, and
-- perhaps `first`: true when the end of what the pipe gives is the end of it all
-- @treturn table received and sent: bytes that the pipe has given and taken; or nil, message, code and that
-- table
-- @usage pipe:link(assert(p2pd.tcp.connect "127.0.0.1:22"))

for name, method in pairs(streams.methods) do methods[name] = method end

--- The stream of the core's that carries the pipe, once the peer has taken it.
-- @local
function methods:carrier()
  local ok, message, code = wait_for_verdict(self)
  if not ok then return nil, message, code end
  return self.stream
end

--- Ends our sending half, once what is written is out: the peer reads the end. Reading goes on.
-- @treturn pipe itself; or nil, message, code
function methods:shutdown()
  if is_refused(self, 0) then return refused(self) end
  local ok, message, code = self.stream:shutdown()
  if ok then return self end
  return explain(self, message, code)
end

--- Closes; what is written still goes out. May be called twice.
-- @treturn boolean true
function methods:close()
  self.stream:close()
  if self.place then self.place:close() end
  return true
end

--- Breaks the pipe off: what the peer has not read yet may be lost, and it learns that this was no end.
-- Can be called again.
-- @treturn boolean true
function methods:abort()
  self.stream:reset()
  if self.place then self.place:close() end
  return true
end

--- Limits every later call that waits.
-- @tparam ?number seconds nil: no limit
function methods:settimeout(seconds)
  self.stream:settimeout(seconds)
  self.timeout = seconds
end

local function endpoint_of(stream, which)
  local ip, port = stream[which](stream)
  if not ip then return nil end
  return endpoint.format(ip, port)
end

-- What the session's path tells, where an exclusive pipe tells it of its stream.
local function add_session(self, info)
  local of = self.session
  local about, path = of:info(), of:path() or {}
  info["local"], info.remote, info.tls = path["local"], path.remote, path.facts and path.facts.tls
  info.rtt = about.rtt
  info.path = about.path
  info.session = { id = about.id, paths = about.paths, resumed = about.resumed, kept = about.kept,
    pipes = about.pipes, story = about.story }
end

--- What is known of the pipe.
-- @treturn table strategy, protocol, peer, id, secure, tls (protocol, cipher, keys: how many it has sent
-- with), interface, local and remote ("ip:port"), received and sent (bytes), queued (bytes not yet taken by
-- the kernel), rtt and age (seconds); of a session's pipe also path (strategy, local, remote, interface,
-- since: how long it has carried the session; nil while there is none) and session (id, paths, resumed, kept,
-- pipes and story, see @{p2pd.session:info}); or nil, message, code once closed
function methods:info()
  local info, message, code = self.stream:stats()
  if not info then return nil, message, code end
  info.peer, info.id, info.protocol, info.secure = self.peer, self.id, self.protocol, self.secure
  info.strategy, info.interface = self.strategy, self.interface
  info.age = core.clock.monotonic() - self.since
  if self.session then
    add_session(self, info)
  else
    info["local"] = endpoint_of(self.stream, "getsockname")
    info.remote = endpoint_of(self.stream, "getpeername")
  end
  return info
end

local FLUSH_S = { 0.001, 0.02 } -- between two looks at what is left, at first and at most

--- Waits until the peer's host has all that was written.
-- @tparam[opt] number timeout seconds
-- @treturn pipe itself; or nil, message, code
function methods:flush(timeout)
  local limit, pause = deadline.after(timeout), FLUSH_S[1]
  while true do
    local left, message, code = self.stream:unsent()
    if not left then return explain(self, message, code) end
    if left == 0 then return self end
    if limit:has_passed() then return nil, "timed out", "ETIMEDOUT" end
    task.sleep(math.min(pause, limit:left(FLUSH_S[2])))
    pause = math.min(pause * 2, FLUSH_S[2])
  end
end

--- Gives the raw descriptor away, for another library; the pipe is closed then.
-- Waits until the peer has taken the pipe. Only of an exclusive pipe.
-- @treturn integer the descriptor, or nil, message, code (EBUSY while bytes are buffered)
function methods:detach()
  if self.session then
    return nil, "a pipe of a session has no descriptor: connect with exclusive = true", "EOPNOTSUPP"
  end
  local ok, message, code = wait_for_verdict(self)
  if not ok then return nil, message, code end
  local fd
  fd, message, code = self.stream:detach()
  if fd and self.place then self.place:close() end
  return fd, message, code
end

Pipe.__close = methods.close

function Pipe:__tostring()
  local open = self.stream:stats() and "open" or "closed"
  return ("pipe (%s, %s, %s)"):format(open, self.strategy or "without a path", self.peer)
end

return pipe
