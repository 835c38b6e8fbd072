--- Frames of a WebSocket (RFC 6455 section 5), for specs and benchmarks: what clients send.
local frame = {}

frame.CONTINUATION, frame.TEXT, frame.BINARY, frame.CLOSE, frame.PING, frame.PONG = 0, 1, 2, 8, 9, 10

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

local EIGHT = ("."):rep(8)

local function mask(data, key)
  local by = string.unpack("<I8", key .. key)
  local padded = data .. ("\0"):rep(-#data % 8)
  local masked = padded:gsub(EIGHT, function(word)
    return string.pack("<I8", string.unpack("<I8", word) ~ by)
  end)
  return masked:sub(1, #data)
end

--- Makes a frame of a client's.
-- @tparam integer opcode
-- @tparam string payload
-- @tparam string key 4 bytes
-- @tparam[opt=true] boolean is_final
-- @treturn string
function frame.encode_masked(opcode, payload, key, is_final)
  local head = frame.encode(opcode, payload):sub(1, -#payload - 1)
  local first = is_final == false and opcode or 0x80 | opcode
  return string.char(first, head:byte(2) | 0x80) .. head:sub(3) .. key .. mask(payload, key)
end

--- A close frame's payload.
-- @tparam integer code
-- @tparam[opt=""] string reason
-- @treturn string
function frame.close_payload(code, reason)
  return string.pack(">I2", code) .. (reason or "")
end

return frame
