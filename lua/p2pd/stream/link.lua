--- Bytes from stream to stream, both ways, without Lua touching them. A method of streams and pipes.
-- @module p2pd.stream.link
local core = require "p2pd.core"
local options = require "p2pd.options"

local link = {}

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
  local carriers = {}
  for i, one in ipairs { stream, parts.from, parts.to } do
    local carrier, message, code = carrier_of(one)
    if not carrier then return nil, message, code, { received = 0, sent = 0 } end
    carriers[i] = carrier
  end
  local results = table.pack(core.splice.run(carriers[1], carriers[2], carriers[3], parts.first))
  if results[1] then return { received = results[1], sent = results[2] } end
  return nil, results[2], results[3], { received = results[4], sent = results[5] }
end

return link
