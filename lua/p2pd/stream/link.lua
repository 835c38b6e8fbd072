--- Bytes from stream to stream, both ways, without Lua touching them. A method of streams and pipes.
-- @module p2pd.stream.link
local core = require "p2pd.core"
local options = require "p2pd.options"
local task = require "p2pd.task"

local link = {}

local EARLY_MAX = 64 * 1024 -- bytes, which any pipe takes at once

local function is_end(value)
  return type(value) == "userdata" or type(value) == "table" and value.carrier ~= nil
end

local END = { "a stream or a pipe", is_end }

local PARTS = {
  from = END,
  to = END,
  first = options.BOOLEAN,
}

-- The stream of the core's that a stream or pipe is made of.
local function carrier_of(value)
  if type(value) == "userdata" then return value end
  return value:carrier()
end

-- What is at hand need not wait for the peer's word that it takes the pipe. A failure is the link's, too.
local function send_early(stream, from, early)
  while early.bytes < EARLY_MAX do
    local data, reason = from:recv(EARLY_MAX - early.bytes)
    if not data then return reason or stream:shutdown() end
    early.is_writing = true
    local ok = stream:write(data)
    early.is_writing = false
    if not ok then return end
    early.bytes = early.bytes + #data
  end
end

-- The carrier of a pipe that the peer may not have taken yet, and how many bytes were sent meanwhile.
local function taken(stream, from)
  local early = { bytes = 0 }
  local sending <close> = type(stream) == "table" and task.spawn(send_early, stream, from, early) or nil
  local carrier, message, code = carrier_of(stream)
  if carrier and early.is_writing then sending:join() end
  return carrier, early.bytes, message, code
end

--- Copies what a stream gives to another, and the other way round, until both have ended; waits. The end of
-- what one gives ends the other's sending half. Cancelling the task ends it; so does closing one of them.
-- When it fails, what has not got all that was for it is broken off, not ended. Neither is closed by this.
-- @tparam stream|pipe stream
-- @tparam stream|pipe|table other or `from` and `to`: two streams such as `p2pd.stdin` and `p2pd.stdout`, and
-- perhaps `first`: true when the end of what the stream gives is the end of it all
-- @treturn table received and sent: bytes that the stream has given and taken; or nil, message, code and that
-- table
function link.run(stream, other)
  local parts = is_end(other) and { from = other, to = other } or other
  options.check(parts, PARTS, "link", 2)
  if not parts.from or not parts.to then error("link: from and to are missing", 2) end
  local carrier, early, message, code = taken(stream, parts.from)
  local from, to
  if carrier then from, message, code = carrier_of(parts.from) end
  if from then to, message, code = carrier_of(parts.to) end
  if not to then return nil, message, code, { received = 0, sent = early } end
  local results = table.pack(core.splice.run(carrier, from, to, parts.first))
  if results[1] then return { received = results[1], sent = early + results[2] } end
  return nil, results[2], results[3], { received = results[4], sent = early + results[5] }
end

return link
