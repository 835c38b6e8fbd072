--- Messages on a stream: a head that tells the length, and the rest.
-- @module p2pd.stun.framing
local framing = {}

local function read_exactly(stream, n, limit)
  if n == 0 then return "" end
  if limit then stream:settimeout(limit:left()) end
  local data, message, code = stream:read(n)
  if data and #data == n then return data end
  if data or not message then message, code = "the server closed the connection", "ECONNRESET" end
  return nil, message, code
end

--- Reads one message, to the byte. Waits.
-- @tparam stream stream
-- @tparam integer head bytes that tell the length
-- @tparam function length_of function(head): the length of all of it; or nil, message, code
-- @tparam[opt] deadline limit when to give up
-- @treturn string the message; or nil, message, code
function framing.read(stream, head, length_of, limit)
  local first, message, code = read_exactly(stream, head, limit)
  if not first then return nil, message, code end
  local length
  length, message, code = length_of(first)
  if not length then return nil, message, code end
  local rest
  rest, message, code = read_exactly(stream, length - head, limit)
  if not rest then return nil, message, code end
  return first .. rest
end

return framing
