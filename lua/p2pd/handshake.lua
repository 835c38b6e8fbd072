--- The first lines on a stream: who speaks to whom, for which pipe, and which stream the dialer chose.
-- The side that connected announces itself; the answering node says it is ready; the dialer says go on the
-- one stream that it keeps. Three lines, stated in docs/protocol.md.
-- @module p2pd.handshake
local id = require "p2pd.id"

local handshake = {}

handshake.TIMEOUT = 5 -- seconds a stream may take for it

local MAGIC = "P2PD/1"
local LINE_MAX = 320

-- Reads byte-exactly: what follows the line belongs to the application.
local function read_line(stream)
  stream:setlimit(LINE_MAX)
  local line, message, code = stream:read "L"
  stream:setlimit(nil)
  local text = line and line:match "^(.*)\n$"
  if not text then return nil, message or "the peer hung up", code or "ECONNRESET" end
  return text
end

-- A stranger's words must not speak to the terminal of whoever reads an error.
local function printable(text)
  return (text:gsub("[%c\x80-\xff]", "?"))
end

local function write_line(stream, ...)
  return stream:write(table.concat({ MAGIC, ... }, " "), "\n")
end

local function split(line)
  local words = {}
  for word in line:gmatch "%S+" do words[#words + 1] = word end
  if words[1] ~= MAGIC then return nil, "not a p2pd peer", "EPROTO" end
  return words
end

--- The connecting side's line.
-- @tparam stream stream
-- @tparam table hello role ("dial": the dialer has connected, "back": the answerer has), pipe, from, to
-- @return true, or nil, message, code
function handshake.announce(stream, hello)
  return write_line(stream, hello.role, hello.pipe, hello.from, hello.to)
end

--- Reads that line on the accepting side.
-- @treturn table hello; or nil, message, code
function handshake.receive(stream)
  local line, message, code = read_line(stream)
  if not line then return nil, message, code end
  local words
  words, message, code = split(line)
  if not words then return nil, message, code end
  local hello = { role = words[2], pipe = words[3], from = words[4], to = words[5] }
  local ok = (hello.role == "dial" or hello.role == "back") and #words == 5
    and not line:find "%c" and id.is_id(hello.pipe) and id.is_id(hello.from) and id.is_id(hello.to)
  if not ok then return nil, "a malformed first line", "EPROTO" end
  return hello
end

--- Turns a stream away.
-- @tparam stream stream
-- @tparam string reason a word or a sentence for the other side
function handshake.refuse(stream, reason)
  return write_line(stream, "refused", reason)
end

--- The answering node's part: it is ready; waits until the dialer has chosen this stream.
-- @tparam stream stream
-- @tparam string pipe_id
-- @tparam string node_id ours
-- @return true, or nil, message, code ("ECANCELED" when the dialer chose another)
function handshake.answer(stream, pipe_id, node_id)
  local ok, message, code = write_line(stream, "ready", pipe_id, node_id)
  if not ok then return nil, message, code end
  local line
  line, message, code = read_line(stream)
  if not line then
    if code == "ECONNRESET" then return nil, "the dialer chose another stream", "ECANCELED" end
    return nil, message, code
  end
  if line == MAGIC .. " go" then return true end
  if line:find("^" .. MAGIC .. " refused ") then
    return nil, "the dialer does not wait any more", "ECANCELED"
  end
  return nil, "not a p2pd dialer", "EPROTO"
end

--- The dialer's part: waits until the peer is ready.
-- @tparam stream stream
-- @tparam string pipe_id
-- @tparam string peer_id whom we expect
-- @return true, or nil, message, code
function handshake.verify(stream, pipe_id, peer_id)
  local line, message, code = read_line(stream)
  if not line then return nil, message, code end
  local words
  words, message, code = split(line)
  if not words then return nil, message, code end
  if words[2] == "refused" then
    return nil, "refused by the peer: " .. printable(table.concat(words, " ", 3)), "EACCES"
  end
  if words[2] ~= "ready" or words[3] ~= pipe_id then return nil, "an unexpected answer", "EPROTO" end
  if words[4] ~= peer_id then
    return nil, "another node answered: " .. printable(words[4] or "?"), "EPROTO"
  end
  return true
end

--- The dialer keeps this stream.
-- @return true, or nil, message, code
function handshake.go(stream)
  return write_line(stream, "go")
end

return handshake
