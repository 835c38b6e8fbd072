--- What comes first on a stream: TLS, and on which of its streams the dialer wants the pipe.
-- The dialer is the TLS client whichever side connected. It is done when it has verified the answering node,
-- one round trip after it began, and says go on the one stream that it keeps. Whoever connects back says so
-- in one line before TLS, with the pipe's id: nobody but the dialer knows it. Without TLS (`insecure`, wanted
-- by both sides) the same is said in lines that anybody can read. The answering node's first line is its
-- verdict: it has taken the pipe, or why not. All of it stands in docs/protocol.md.
-- @module p2pd.handshake
local core = require "p2pd.core"
local deadline = require "p2pd.deadline"
local id = require "p2pd.id"
local preamble = require "p2pd.preamble"
local text = require "p2pd.text"

local handshake = {}

handshake.TIMEOUT = 5       -- seconds a stream may take for it
handshake.FIRST_TIMEOUT = 2 -- and for its first byte

local TLS_HANDSHAKE = "\x16"             -- the first byte of a ClientHello, RFC 8446 section 5.1
local TLS_BUSY = "\x15\3\3\0\2\2\x50"    -- the alert internal_error: how a node says that it has no room
local NOT_INSECURE = "only encrypted pipes here"

-- -- the first bytes

--- Says, before anything else, that we connect back to the dialer of a pipe.
-- @return true, or nil, message, code
function handshake.back(stream, pipe_id)
  return preamble.write(stream, "back", pipe_id)
end

local ROLES = {
  back = function(words) return #words == 2 and id.is_id(words[2]) end,
  dial = function(words)
    return #words == 4 and id.is_id(words[2]) and id.is_id(words[3]) and id.is_id(words[4])
  end,
}

--- Looks at what a stream begins with.
-- @tparam stream stream
-- @treturn table role: "tls" (nothing has been taken from the stream), "back" (with pipe) or "dial" (an
-- insecure one, with pipe, from, to); or nil, message, code
function handshake.receive(stream)
  local first, message, code = stream:peek(1)
  if not first then return nil, message or "the peer hung up", code or "ECONNRESET" end
  if first == TLS_HANDSHAKE then return { role = "tls" } end
  local words
  words, message, code = preamble.read(stream)
  if not words then return nil, message, code end
  local refusal = preamble.refusal(words)
  if refusal then return nil, refusal, "EACCES" end
  local check = ROLES[words[1]]
  if not check or not words.is_clean or not check(words) then return nil, preamble.MALFORMED, "EPROTO" end
  return { role = words[1], pipe = words[2], from = words[3], to = words[4] }
end

--- Turns away a stream on which there is no TLS.
-- @tparam stream stream
-- @tparam string reason a word or a sentence for the other side
function handshake.refuse(stream, reason)
  return preamble.refuse(stream, reason)
end

-- Whether the ClientHello that a stream begins with is of somebody who knows our id. It stays where it is.
local function has_proof(stream, context)
  local proved
  local size = 5
  repeat
    local bytes = stream:peek(size)
    if not bytes or #bytes < size then return false end
    proved, size = core.tls.proved(context, bytes)
  until proved or not size
  return proved
end

--- Turns away a stream for which there is no room, in the words that it began with; without a word when
-- whoever sent these does not know our id.
-- @tparam stream stream
-- @tparam table hello what the stream began with
-- @tparam table about to (our id), context (of TLS)
function handshake.refuse_busy(stream, hello, about)
  if hello.role == "tls" then
    return has_proof(stream, about.context) and stream:write(TLS_BUSY)
  end
  return hello.to == about.to and handshake.refuse(stream, "too busy")
end

local DRAIN_S, DRAIN_BYTES = 1, 1024 * 1024

--- Refuses a verified stream and ends it; waits. What the dialer has sent is read away, so that the reason
-- arrives, and no reset in its place.
-- @tparam stream stream closed
-- @tparam string reason
function handshake.turn_down(stream, reason)
  local _ <close> = stream
  stream:settimeout(DRAIN_S)
  if not preamble.refuse(stream, reason) or not stream:shutdown() then return end
  local limit, count = deadline.after(DRAIN_S), 0
  while count < DRAIN_BYTES and not limit:has_passed() do
    stream:settimeout(limit:left())
    local data = stream:recv()
    if not data then return end
    count = count + #data
  end
end

-- -- the verdict

--- Says that the pipe, or the session's path, has been taken.
-- @tparam stream stream
-- @tparam[opt] string session_id of a path's session, as we call it
-- @return true, or nil, message, code
function handshake.accept(stream, session_id)
  return preamble.write(stream, "accepted", session_id)
end

--- What the first line after `go` begins with when the answering node has taken it.
handshake.ACCEPTED = "P2PD/1 accepted"

--- What the answering node calls a session, from its verdict on a path.
-- @tparam string line
-- @treturn ?string
function handshake.accepted_as(line)
  local name = line:match "^P2PD/1 accepted (%w+)$"
  return id.is_id(name) and name or nil
end

--- Why a node refuses, from its verdict; nil when the line says something else.
-- @tparam string line
-- @treturn ?string
function handshake.refusal(line)
  local words = preamble.parse(line)
  return words and preamble.refusal(words)
end

--- Why a node refuses a path of a session that it does not have.
handshake.LOST = "the session is lost"

--- Whether a verdict on a path says that.
-- @tparam string line
-- @treturn boolean
function handshake.is_lost(line)
  local words = preamble.parse(line)
  return words ~= nil and words[1] == "refused" and table.concat(words, " ", 2) == handshake.LOST
end

--- The dialer's part: reads what the answering node makes of the stream; waits.
-- @tparam stream stream
-- @treturn boolean|string true, or for a session's path what the other side calls the session; or nil,
-- message, code (EACCES: it refuses)
function handshake.receive_verdict(stream)
  local words, message, code = preamble.read(stream)
  if not words then return nil, message, code end
  local refusal = preamble.refusal(words)
  if refusal then return nil, refusal, "EACCES" end
  local name = words[2]
  if words[1] ~= "accepted" or name and not id.is_id(name) then
    return nil, "an unexpected answer", "EPROTO"
  end
  return name or true
end

-- -- the dialer's part

local function verify_insecure(stream, about)
  local words, message, code = preamble.read(stream)
  if not words then return nil, message, code end
  local refusal = preamble.refusal(words)
  if refusal then return nil, refusal, "EACCES" end
  if words[1] ~= "ready" or words[2] ~= about.pipe then return nil, "an unexpected answer", "EPROTO" end
  if words[3] ~= about.to then
    return nil, "another node answered: " .. text.printable(words[3] or "?"), "EPROTO"
  end
  return true
end

--- The dialer's part on a connected stream, until the peer is who it should be.
-- @tparam stream stream
-- @tparam table about pipe (id), from (our id), to (the peer's), context (of TLS), insecure (no TLS)
-- @return true, or nil, message, code
function handshake.dial(stream, about)
  local ok, message, code
  if not about.insecure then
    ok, message, code = core.tls.client(stream, about.context, about.to)
    if code == "ECONNRESET" then message = message .. ": it may be another node" end
    return ok, message, code
  end
  ok, message, code = preamble.write(stream, "dial", about.pipe, about.from, about.to)
  if ok then ok, message, code = verify_insecure(stream, about) end
  return ok, message, code
end

--- The dialer keeps this stream, and says what for.
-- @tparam stream stream
-- @tparam table about pipe (its id), strategy (what has made the stream, for the other side to know;
-- "unknown" when it is missing), kind ("pipe": the stream is the pipe; "session": it begins one; "resume": it
-- carries one on), name (of the pipe's protocol, when there is one; or the session's id)
-- @return true, or nil, message, code
function handshake.go(stream, about)
  return preamble.write(stream, "go", about.pipe, about.strategy or "unknown", about.kind or "pipe",
    about.name)
end

-- -- the answering node's part

local function is_name(word)
  return #word <= 64 and not word:find "[^%w._/+-]"
end

-- What a dialer may keep a stream for, and whether a word may follow: a protocol, or a session's id.
local KINDS = {
  pipe = function(word) return word == nil or is_name(word) end,
  session = function(word) return word ~= nil and id.is_id(word) end,
  resume = function(word) return word ~= nil and id.is_id(word) end,
}

-- What the dialer says of the stream that it keeps.
local function wait_for_go(stream)
  local words, message, code = preamble.read(stream)
  if not words then
    if code == "ECONNRESET" then return nil, "the dialer chose another stream", "ECANCELED" end
    return nil, message, code
  end
  if preamble.refusal(words) then return nil, "the dialer does not wait any more", "ECANCELED" end
  local strategy, kind, name = words[3] or "unknown", words[4] or "pipe", words[5]
  local ok = words[1] == "go" and #words <= 5 and words.is_clean and id.is_id(words[2]) and is_name(strategy)
    and KINDS[kind] and KINDS[kind](name)
  if not ok then return nil, "not a p2pd dialer", "EPROTO" end
  return { pipe = words[2], strategy = strategy, kind = kind, name = name }
end

local function answer_insecure(stream, hello, about)
  if hello.to ~= about.to then -- who does not know our id gets no byte
    return nil, "meant for another node: " .. text.printable(hello.to or "?"), "EPROTO"
  end
  if not about.insecure then
    handshake.refuse(stream, NOT_INSECURE)
    return nil, "a stream without TLS", "EPROTO"
  end
  if about.from and hello.from ~= about.from or about.pipe and hello.pipe ~= about.pipe then
    handshake.refuse(stream, "nobody waits for this pipe")
    return nil, "an unexpected first line", "EPROTO"
  end
  local ok, message, code = preamble.write(stream, "ready", hello.pipe, about.to)
  if not ok then return nil, message, code end
  return hello.from
end

local function answer_tls(stream, about)
  local ok, peer, code = core.tls.server(stream, about.context, about.from)
  if ok then return peer end
  if code == "ECONNRESET" and about.from then code = "ECANCELED" end
  return nil, peer, code
end

--- The answering node's part, after @{receive}: the dialer proves who it is, and says that it has chosen this
-- stream.
-- @tparam stream stream
-- @tparam table hello what the stream began with
-- @tparam table about to (our id), context (of TLS), insecure (may it be without TLS), allow (function of the
-- dialer's id and the pipe's, when that is known: whether we want it; a false one, and its reason), and
-- when they are known from (the dialer's id) and pipe
-- @treturn table from (the dialer), pipe, strategy, kind and name (as the dialer says, see @{go}), insecure,
-- and refused (why, when we do not want it; the dialer has yet to be told: @{turn_down}); or nil, message,
-- code ("ECANCELED" when the dialer chose another stream)
function handshake.answer(stream, hello, about)
  local insecure = hello.role ~= "tls"
  local from, message, code
  if insecure then
    from, message, code = answer_insecure(stream, hello, about)
  else
    from, message, code = answer_tls(stream, about)
  end
  if not from then return nil, message, code end
  local allowed, why = true, nil
  if about.allow then allowed, why = about.allow(from) end
  if not allowed then return { from = from, insecure = insecure, refused = why or "not allowed" } end
  local chosen
  chosen, message, code = wait_for_go(stream)
  if not chosen then return nil, message, code end
  local wanted = about.pipe or hello.pipe
  if wanted and chosen.pipe ~= wanted then return nil, "another pipe's go", "EPROTO" end
  chosen.from, chosen.insecure = from, insecure
  return chosen
end

return handshake
