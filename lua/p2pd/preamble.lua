--- The text lines that come first on a stream, before TLS or whatever else it is for: `P2PD/1` and words.
-- docs/protocol.md states them. They are read to the byte: what follows a line belongs to somebody else.
-- @module p2pd.preamble
local text = require "p2pd.text"

local preamble = {}

local MAGIC = "P2PD/1"
local LINE_MAX = 320 -- bytes

preamble.MALFORMED = "a malformed first line"

local function read_line(stream)
  stream:setlimit(LINE_MAX)
  local line, message, code = stream:read "L"
  stream:setlimit(nil)
  local words = line and line:match "^(.*)\n$"
  if not words then return nil, message or "the peer hung up", code or "ECONNRESET" end
  return words
end

--- Writes a line.
-- @tparam stream stream
-- @tparam string ... words
-- @return true, or nil, message, code
function preamble.write(stream, ...)
  return stream:write(table.concat({ MAGIC, ... }, " "), "\n")
end

--- The words of a line.
-- @tparam string line without its end
-- @treturn {string,...} the words after the first one; `is_clean` tells that there are no control characters
-- in them; or nil, message, code
function preamble.parse(line)
  local words = {}
  for word in line:gmatch "%S+" do words[#words + 1] = word end
  if table.remove(words, 1) ~= MAGIC then return nil, "not a p2pd peer", "EPROTO" end
  words.is_clean = not line:find "%c"
  return words
end

--- Reads a line.
-- @tparam stream stream
-- @treturn {string,...} its words, as @{parse} gives them; or nil, message, code
function preamble.read(stream)
  local line, message, code = read_line(stream)
  if not line then return nil, message, code end
  return preamble.parse(line)
end

--- Turns a stream away.
-- @tparam stream stream
-- @tparam string reason a word or a sentence for the other side
-- @return true, or nil, message, code
function preamble.refuse(stream, reason)
  return preamble.write(stream, "refused", text.printable(reason, 200))
end

--- Whether these words turn us away.
-- @tparam {string,...} words
-- @treturn ?string why, for people; nil when they say something else
function preamble.refusal(words)
  if words[1] ~= "refused" then return nil end
  return "refused by the peer: " .. text.printable(table.concat(words, " ", 2))
end

return preamble
