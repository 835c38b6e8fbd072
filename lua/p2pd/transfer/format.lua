--- What is in the frames of a transfer; docs/protocol.md has the table. Pure.
--
-- From the sender: `H` hello, `F` file, `D` folder, `T` end of a folder, `L` link, `Y` and `N` (what the
-- receiver has is, or is not, the beginning of the file), `B` bytes, `E` end of a file with its digest, `X`
-- the present file fails, `Q` that was all. From the receiver: `H`, `W` wants a file from an offset on, `C`
-- asks to compare what it has, `K` is there (with how), `R` is not (with the reason), `Z` nothing more can be
-- taken, `S` nothing more is wanted, `Q` all is done. Each names the entry by its number, in the order in
-- which they were sent.
-- @module p2pd.transfer.format
local format = {}

local VERSION = 1

local LAYOUT = {
  H = { ">BI1I8I8", "version", "role", "files", "bytes" },
  F = { ">I8I8I8I2s2", "entry", "size", "mtime", "mode", "path" },
  D = { ">I8I8I2s2", "entry", "mtime", "mode", "path" },
  T = { ">I8I2s2", "mtime", "mode", "path" },
  L = { ">I8I8s2s2", "entry", "mtime", "path", "target" },
  Y = { ">I8", "entry" },
  N = { ">I8", "entry" },
  E = { ">I8c32", "entry", "digest" },
  X = { ">I8s2", "entry", "reason" },
  W = { ">I8I8c32", "entry", "offset", "digest" },
  C = { ">I8I8c32", "entry", "offset", "digest" },
  K = { ">I8s1", "entry", "how" },
  R = { ">I8s2", "entry", "reason" },
  Z = { ">s2", "reason" },
  S = { ">s2", "reason" },
  Q = { ">" },
}

format.BULK = "B"
format.SENDER, format.RECEIVER = 1, 2
format.NO_DIGEST = ("\0"):rep(32)

--- The body of a frame.
-- @tparam string kind
-- @tparam table fields
-- @treturn string
function format.pack(kind, fields)
  local layout, values = LAYOUT[kind], {}
  for i = 2, #layout do values[i - 1] = fields[layout[i]] end
  return layout[1]:pack(table.unpack(values, 1, #layout - 1))
end

--- The fields of a frame's body.
-- @tparam string kind
-- @tparam string body
-- @treturn table; or nil, message, code
function format.unpack(kind, body)
  local layout = LAYOUT[kind]
  local results = layout and table.pack(pcall(string.unpack, layout[1], body)) or { false }
  if not results[1] or results[results.n] ~= #body + 1 then return nil, "not what p2pd sends", "EPROTO" end
  local fields = {}
  for i = 2, #layout do
    local value = results[i]
    if math.type(value) == "integer" and value < 0 then return nil, "not what p2pd sends", "EPROTO" end
    fields[layout[i]] = value
  end
  return fields
end

--- The hello of a side.
-- @tparam integer role
-- @tparam[opt] table total files, bytes
-- @treturn string body
function format.hello(role, total)
  return format.pack("H", { version = VERSION, role = role, files = total and total.files or 0,
    bytes = total and total.bytes or 0 })
end

--- Reads the other side's hello.
-- @tparam string kind
-- @tparam string body
-- @tparam integer role its
-- @treturn table files, bytes; or nil, message, code
function format.check_hello(kind, body, role)
  local hello, reason, code = format.unpack("H", kind == "H" and body or "")
  if not hello then return nil, reason, code end
  if hello.version ~= VERSION then return nil, "the other side's p2pd speaks another version", "EPROTO" end
  if hello.role == role then return hello end
  return nil, ("the other side %s, too"):format(role == format.SENDER and "receives" or "sends"), "EPROTO"
end

return format
