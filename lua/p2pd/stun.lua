--- A STUN client: Binding requests (RFC 8489), whose answers tell our external address.
-- @module p2pd.stun
local core = require "p2pd.core"
local deadline = require "p2pd.deadline"
local framing = require "p2pd.stun.framing"

local stun = {}

local NOBODY = "no STUN server answered"
local HEAD = 20 -- bytes of a message that tell its length
local RELIABLE_WAIT = 39.5 -- seconds, RFC 8489 section 6.2.2

--- ICMP errors that no retransmission can mend: nobody is there (RFC 1122 section 4.2.3.9).
-- @local
stun.HARD = { ECONNREFUSED = true, ENOPROTOOPT = true }

--- A Binding answer.
-- @table answer
-- @tfield string ip our address as the server saw it
-- @tfield integer port our port as the server saw it
-- @tfield table server the entry of `servers` that answered; none over TCP
-- @tfield number rtt seconds from the first request to the answer
-- @tfield table message the whole answer, as `core.stun.decode` gives it (`other`, `origin`, ...)

local function new_ask(server, options)
  local request = core.stun.encode {
    key = options.key, username = options.username, change = options.change,
    software = options.software, fingerprint = options.fingerprint,
  }
  return { server = server, transaction = core.stun.transaction(request, options) }
end

local function describe(server)
  return ("%s port %d"):format(server.ip, server.port)
end

local function give_up(ask, message, code)
  ask.over, ask.reason, ask.code = true, message, code
end

--- What is wrong with an answer that belongs to the request.
-- @tparam table message as `core.stun.decode` gives it
-- @treturn[1] nil nothing
-- @treturn[2] string a sentence
-- @treturn[2] string "EPROTO"
function stun.find_fault(message)
  if message.class == "error" then
    local err = message.error or { code = 0, reason = "without a code" }
    return ("error %d %s"):format(err.code, err.reason), "EPROTO"
  elseif message.unknown[1] then
    return ("unknown attribute 0x%04x"):format(message.unknown[1]), "EPROTO"
  elseif not message.mapped then
    return "an answer without an address", "EPROTO"
  end
end

local function to_answer(ask, message)
  local _, first = ask.transaction:sent()
  return { ip = message.mapped.ip, port = message.mapped.port, server = ask.server,
    rtt = core.clock.monotonic() - first, message = message }
end

local function send(socket, ask, request)
  local ip, port, code = socket:sendto(request, ask.server.ip, ask.server.port)
  if ip then
    ask.ip, ask.port = ip, port
  elseif code ~= "EAGAIN" and code ~= "ENOBUFS" then
    give_up(ask, port, code)
  end
end

-- Sends what is due; returns the next instant at which something is, or nil when all is over.
local function advance(socket, asks)
  local now, next_due = core.clock.monotonic(), nil
  for _, ask in ipairs(asks) do
    if not ask.over then
      local action, request = ask.transaction:poll(now)
      if action == "send" then send(socket, ask, request) end
      if action == "failed" then
        give_up(ask, ask.reason or "timed out", ask.code or "ETIMEDOUT")
      end
    end
    if not ask.over then
      next_due = math.min(next_due or math.huge, ask.transaction:due())
    end
  end
  return next_due
end

local function accept(asks, data, ip, port)
  for _, ask in ipairs(asks) do
    if not ask.over and ask.ip == ip and ask.port == port then
      local message = ask.transaction:feed(data)
      if message then
        local fault, code = stun.find_fault(message)
        if not fault then return to_answer(ask, message) end
        give_up(ask, fault, code)
      end
    end
  end
end

local function note_icmp(asks, message, code, ip, port)
  for _, ask in ipairs(asks) do
    if not ask.over and ask.ip == ip and ask.port == port then
      ask.reason, ask.code = message, code
      if stun.HARD[code] then give_up(ask, message, code) end
    end
  end
end

-- One datagram or one error, waited for so many seconds. An answer, or false; nil when the socket
-- fails.
local function listen(socket, asks, timeout)
  local data, ip, port, peer_ip, peer_port = socket:recvfrom(timeout)
  if data then
    return accept(asks, data, ip, port) or false
  elseif peer_ip then
    note_icmp(asks, ip, port, peer_ip, peer_port)
  elseif port ~= "ETIMEDOUT" then
    return nil, ip, port
  end
  return false
end

local function fail(asks)
  local reasons, code = {}, nil
  for i, ask in ipairs(asks) do
    reasons[i] = describe(ask.server) .. ": " .. (ask.reason or "timed out")
    if not ask.reason then code = "ETIMEDOUT" end
    code = code or ask.code
  end
  return nil, NOBODY .. " (" .. table.concat(reasons, "; ") .. ")", code
end

local function check_servers(servers)
  assert(type(servers) == "table" and servers[1], "a list of servers expected")
  for i, server in ipairs(servers) do
    local fits = type(server) == "table" and type(server.ip) == "string"
    if not fits or math.type(server.port) ~= "integer" then
      error(("server %d: { ip = string, port = integer } expected"):format(i), 3)
    end
  end
end

--- Asks several servers at once from one socket and takes the first good answer.
-- An answer is good when it comes from the very address that was asked, has the request's id, is no
-- error response and has an address in it; anything else is skipped. Requests are repeated by the
-- timer of RFC 8489 section 6.2.1. Waits; call it in a task.
-- @tparam userdata socket from `core.udp.bind`; nobody else may receive from it meanwhile
-- @tparam {table,...} servers each `{ ip = string, port = integer }`
-- @tparam[opt] table options `timeout` (seconds in all; default: until the timer ends, 39.5 s),
-- `rto` (seconds, 0.5), `rc` (requests, 7), `rm` (16), `change` (`{ ip = true, port = true }`,
-- RFC 5780), `key` and `username` (short-term credential), `software`, `fingerprint`
-- @treturn[1] answer
-- @treturn[2] nil
-- @treturn[2] string the reason of each server
-- @treturn[2] string "ETIMEDOUT" when one of them did not answer at all, else the first one's code
function stun.query(socket, servers, options)
  options = options or {}
  check_servers(servers)
  local limit = deadline.after(options.timeout)
  local asks = {}
  for i, server in ipairs(servers) do asks[i] = new_ask(server, options) end
  repeat
    local due = advance(socket, asks)
    if not due then break end
    local answer, message, code = listen(socket, asks, limit:left(deadline.at(due):left()))
    if answer or answer == nil then return answer, message, code end
  until limit:has_passed()
  return fail(asks)
end

-- The answer to the one request, past messages that are not.
local function await_answer(stream, ask, limit)
  repeat
    local data, message, code = framing.read(stream, HEAD, core.stun.frame_length, limit)
    if not data then return nil, message, code end
    local answer, why, errno = ask.transaction:feed(data)
    if answer then
      local fault, fault_code = stun.find_fault(answer)
      if fault then return nil, fault, fault_code end
      return to_answer(ask, answer)
    elseif errno ~= "ENOMSG" then
      return nil, why, errno
    end
  until limit:has_passed()
  return nil, "timed out", "ETIMEDOUT"
end

--- Asks the server at the other end of a stream (RFC 8489 section 6.2.2). Waits; call it in a task.
-- The stream stays open, and its timeout is none afterwards.
-- @tparam userdata stream a connected core stream
-- @tparam[opt] table options `timeout` (seconds, 39.5), `key`, `username`, `software`,
-- `fingerprint`
-- @treturn[1] answer without `server`
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code; "EPROTO" for an error response, "EBADMSG" when it speaks no STUN
function stun.query_tcp(stream, options)
  options = options or {}
  local wait = options.timeout or RELIABLE_WAIT
  local limit = deadline.after(wait)
  local ask = new_ask(nil, { reliable = true, key = options.key, username = options.username,
    software = options.software, fingerprint = options.fingerprint })
  local _, request = ask.transaction:poll(core.clock.monotonic())
  stream:settimeout(wait)
  local ok, message, code = stream:write(request)
  local answer
  if ok then answer, message, code = await_answer(stream, ask, limit) end
  stream:settimeout()
  return answer, message, code
end

return stun
