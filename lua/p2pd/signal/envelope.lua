--- Sealed messages: what a broker, and whoever listens there, gets to see of signalling.
-- One byte of version, 16 bytes of tag, and a message sealed for the receiver's key with the sender's key
-- inside (HPKE, RFC 9180; docs/protocol.md has the bytes). The tag looks random to all but the receiver, who
-- may have given it out. Pure: no clock, no memory.
-- @module p2pd.signal.envelope
local core = require "p2pd.core"
local message = require "p2pd.signal.message"

local envelope = {}

envelope.TAG_BYTES = 16

local VERSION = "\2"
local INFO = "p2pd signalling 2"
local HEADER_BYTES = 1 + envelope.TAG_BYTES
local PADDING = 128 -- a text is filled up to a multiple of it, so that its length says little
local TEXT_MAX = message.MAX_BYTES - HEADER_BYTES - 96

--- A tag that nobody has given out.
-- @treturn string 16 bytes
function envelope.new_tag()
  return core.random.bytes(envelope.TAG_BYTES)
end

--- Seals a message.
-- @tparam p2pd.key key the sender's
-- @tparam table m as for message.encode; `to` is the id of the receiver's key
-- @tparam string tag 16 bytes
-- @treturn string the payload; or nil, message, code (EMSGSIZE; EINVAL: `to` is no key)
function envelope.seal(key, m, tag)
  local text = message.encode(m)
  text = text .. (" "):rep(-#text % PADDING)
  if #text > TEXT_MAX then return nil, "the message is too long", "EMSGSIZE" end
  local header = VERSION .. tag
  local sealed, reason, code = key:seal_hidden(m.to, INFO, header, text)
  if not sealed then return nil, reason, code end
  return header .. sealed
end

--- The tag of what looks like a sealed message.
-- @tparam string payload
-- @treturn ?string 16 bytes; nil when it is something else
function envelope.tag_of(payload)
  if payload:sub(1, 1) ~= VERSION or #payload < HEADER_BYTES then return nil end
  return payload:sub(2, HEADER_BYTES)
end

--- Opens what has a tag.
-- @tparam p2pd.key key the receiver's
-- @tparam string payload
-- @treturn string the message's text, and the id of the node that has sealed it; or nil when it was not
-- sealed for us as it is
function envelope.open(key, payload)
  local text, from = key:open_hidden(INFO, payload:sub(1, HEADER_BYTES), payload:sub(HEADER_BYTES + 1))
  if text then return text, from end
end

return envelope
