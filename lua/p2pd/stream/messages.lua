--- Messages on a stream: each is four bytes of length, the highest first, and so many bytes. Methods of
-- streams and pipes.
-- @module p2pd.stream.messages
local messages = {}

--- How long a message may be unless one says otherwise: 1 MiB.
messages.MAX = 1024 * 1024

local HEADER = ">I4" -- as string.pack has it
local HEADER_BYTES = 4
local HARD_MAX = 2 ^ 32 - 1

local awaited = setmetatable({}, { __mode = "k" }) -- the length of the message that a stream is in

local function check_max(max)
  max = max or messages.MAX
  if math.type(max) ~= "integer" or max < 0 or max > HARD_MAX then
    error("a message's length is an integer from 0 to 4294967295", 3)
  end
  return max
end

local function too_long(length, max)
  return nil, ("a message of %d bytes, and %d are the most"):format(length, max), "EMSGSIZE"
end

local function broken_off(message, code)
  return nil, message or "the stream ended within a message", code or "EPROTO"
end

-- The length of the next message, which stays known when what follows has to be waited for again.
local function read_length(stream)
  if awaited[stream] then return awaited[stream] end
  local header, message, code = stream:read(HEADER_BYTES)
  if not header then return nil, message, code end
  if #header < HEADER_BYTES then return broken_off() end
  awaited[stream] = HEADER:unpack(header)
  return awaited[stream]
end

--- Sends a message; waits while the peer is slow.
-- @tparam stream|pipe stream
-- @tparam string message
-- @tparam[opt=1048576] integer max bytes
-- @return the stream; or nil, message, code (EMSGSIZE: it is too long, nothing was sent)
function messages.send(stream, message, max)
  if type(message) ~= "string" then error("a message is a string, and not a " .. type(message), 2) end
  max = check_max(max)
  if #message > max then return too_long(#message, max) end
  return stream:write(HEADER:pack(#message), message)
end

--- Waits for a message.
-- @tparam stream|pipe stream
-- @tparam[opt=1048576] integer max bytes
-- @treturn ?string nil at the end; nil, message, code on a failure (EMSGSIZE: a longer one comes, and the
-- stream can't go on; EPROTO: the end came within one; ETIMEDOUT: it may be waited for again)
function messages.receive(stream, max)
  max = check_max(max)
  local length, message, code = read_length(stream)
  if not length then return nil, message, code end
  if length > max then return too_long(length, max) end
  if length == 0 then
    awaited[stream] = nil
    return ""
  end
  local text
  text, message, code = stream:read(length)
  if not text then return broken_off(message, code) end
  if #text < length then return broken_off() end
  awaited[stream] = nil
  return text
end

--- An iterator over @{receive}; it ends at the stream's end and raises on a failure.
-- @tparam stream|pipe stream
-- @tparam[opt=1048576] integer max bytes
function messages.iterate(stream, max)
  max = check_max(max)
  return function()
    local text, message = messages.receive(stream, max)
    if message then error(message, 2) end
    return text
  end
end

return messages
