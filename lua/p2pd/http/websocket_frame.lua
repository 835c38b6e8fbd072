--- WebSocket frames (RFC 6455 section 5), as a server sees them. Pure, but for masks.
-- @module p2pd.http.websocket_frame
local core = require "p2pd.core"

local frame = {}

frame.CONTINUATION, frame.TEXT, frame.BINARY, frame.CLOSE, frame.PING, frame.PONG = 0, 1, 2, 8, 9, 10

local CONTROL_MAX = 125 -- bytes, section 5.5
local KNOWN = { [0] = true, [1] = true, [2] = true, [8] = true, [9] = true, [10] = true }

-- Why a connection is closed, section 7.4.1.
frame.NORMAL, frame.GOING_AWAY, frame.PROTOCOL_ERROR, frame.UNSUPPORTED = 1000, 1001, 1002, 1003
frame.NOT_UTF8, frame.INTERNAL_ERROR = 1007, 1011

--- Makes a frame of a server's: whole, and not masked.
-- @tparam integer opcode
-- @tparam string payload
-- @treturn string
function frame.encode(opcode, payload)
  local length = #payload
  local first = 0x80 | opcode
  if length < 126 then return string.pack("BB", first, length) .. payload end
  if length < 0x10000 then return string.pack(">BBI2", first, 126, length) .. payload end
  return string.pack(">BBI8", first, 127, length) .. payload
end

--- A frame of a client's: for tests and benchmarks.
-- @tparam integer opcode
-- @tparam string payload
-- @tparam string key 4 bytes
-- @tparam[opt=true] boolean is_final
-- @treturn string
function frame.encode_masked(opcode, payload, key, is_final)
  local head = frame.encode(opcode, payload):sub(1, -#payload - 1)
  local first = is_final == false and opcode or 0x80 | opcode
  return string.char(first, head:byte(2) | 0x80) .. head:sub(3) .. key .. core.websocket.mask(payload, key)
end

-- What is wrong with a head's first two bytes, or nil.
local function find_fault(first, second)
  local opcode, length = first & 0x0f, second & 0x7f
  if first & 0x70 ~= 0 then return "a reserved bit is set" end
  if not KNOWN[opcode] then return "a reserved opcode" end
  if second & 0x80 == 0 then return "a frame is not masked" end
  if opcode >= frame.CLOSE and first & 0x80 == 0 then return "a control frame is fragmented" end
  if opcode >= frame.CLOSE and length > CONTROL_MAX then return "a control frame is too long" end
end

--- Reads the first two bytes of a frame's head.
-- @tparam string bytes two
-- @treturn table opcode, is_final, more (bytes of the head that follow), length (when it is known already);
-- or nil, message
function frame.begin(bytes)
  local first, second = bytes:byte(1, 2)
  local fault = find_fault(first, second)
  if fault then return nil, fault end
  local short = second & 0x7f
  return { opcode = first & 0x0f, is_final = first & 0x80 ~= 0, short = short,
    more = (short == 126 and 2 or short == 127 and 8 or 0) + 4 }
end

--- Reads the rest of it.
-- @tparam table head as @{begin} gave it
-- @tparam string bytes `head.more` of them
-- @treturn table the head with length and key; or nil, message
function frame.complete(head, bytes)
  head.length = head.short
  if head.short == 126 then head.length = string.unpack(">I2", bytes) end
  if head.short == 127 then head.length = string.unpack(">i8", bytes) end
  if head.length < 0 then return nil, "a length of more than 63 bits" end
  if head.short == 126 and head.length < 126 or head.short == 127 and head.length < 0x10000 then
    return nil, "a length in more bytes than it needs"
  end
  head.key = bytes:sub(-4)
  return head
end

local function is_code(code)
  return code >= 1000 and code <= 1014 and code ~= 1004 and code ~= 1005 and code ~= 1006
    or code >= 3000 and code <= 4999
end

--- What is wrong with a close frame's payload: the code to answer it with, or nil.
-- @tparam string payload
-- @treturn ?integer
function frame.find_close_fault(payload)
  if payload == "" then return nil end
  if #payload == 1 or not is_code(string.unpack(">I2", payload)) then return frame.PROTOCOL_ERROR end
  if not utf8.len(payload, 3) and #payload > 2 then return frame.NOT_UTF8 end
end

--- A close frame's payload.
-- @tparam integer code
-- @tparam[opt=""] string reason
-- @treturn string
function frame.close_payload(code, reason)
  return string.pack(">I2", code) .. (reason or ""):sub(1, CONTROL_MAX - 2)
end

return frame
