--- Sealed messages: what a broker, and whoever listens there, gets to see of signalling.
-- One byte of version, 16 bytes of tag, and a message sealed for the receiver's key with the sender's key
-- inside (HPKE, RFC 9180; docs/protocol.md has the bytes). The tag looks random to all but the receiver: it
-- is, or it shows a token of the receiver's (p2pd.signal.token). Pure: no clock, no memory.
-- @module p2pd.signal.envelope
local core = require "p2pd.core"
local message = require "p2pd.signal.message"
local token = require "p2pd.signal.token"

local envelope = {}

envelope.TAG_BYTES = 16

local VERSION = "\2"
local INFO = "p2pd signalling 2"
local HEADER_BYTES = 1 + envelope.TAG_BYTES
local COVERED_BYTES = 9 -- of the header, by the seal: all but the proof, which is over what is sealed
local PADDING = 128 -- a text is filled up to a multiple of it, so that its length says little
local TEXT_MAX = message.MAX_BYTES - HEADER_BYTES - 96

--- Seals a message.
-- @tparam p2pd.key key the sender's
-- @tparam table m as for message.encode; `to` is the id of the receiver's key
-- @tparam ?string given a token of the receiver's
-- @treturn string the payload; or nil, message, code (EMSGSIZE; EINVAL: `to` is no key)
function envelope.seal(key, m, given)
  local text = message.encode(m)
  text = text .. (" "):rep(-#text % PADDING)
  if #text > TEXT_MAX then return nil, "the message is too long", "EMSGSIZE" end
  local random = core.random.bytes(envelope.TAG_BYTES)
  local name = given and token.name(given) or random:sub(1, 8)
  local sealed, reason, code = key:seal_hidden(m.to, INFO, VERSION .. name, text)
  if not sealed then return nil, reason, code end
  return VERSION .. (given and token.tag(given, sealed) or random) .. sealed
end

--- Takes what looks like a sealed message apart.
-- @tparam string payload
-- @treturn ?string the tag, 16 bytes; nil when it is something else
-- @treturn ?string what is sealed
-- @treturn ?integer eight bytes that no other message has, and nobody can change
function envelope.split(payload)
  if payload:sub(1, 1) ~= VERSION or #payload < HEADER_BYTES + 32 then return nil end
  local number = ("<i8"):unpack(payload, HEADER_BYTES + 1)
  return payload:sub(2, HEADER_BYTES), payload:sub(HEADER_BYTES + 1), number
end

--- Opens what has a tag.
-- @tparam p2pd.key key the receiver's
-- @tparam string payload
-- @treturn string the message's text, and the id of the node that has sealed it; or nil when it was not
-- sealed for us as it is
function envelope.open(key, payload)
  local text, from = key:open_hidden(INFO, payload:sub(1, COVERED_BYTES), payload:sub(HEADER_BYTES + 1))
  if text then return text, from end
end

return envelope
