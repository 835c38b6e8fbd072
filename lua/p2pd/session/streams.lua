--- What is said first on a session's streams: a line that tells what the stream is for. docs/protocol.md
-- states the lines.
-- @module p2pd.session.streams
local address = require "p2pd.address"
local id = require "p2pd.id"
local preamble = require "p2pd.preamble"
local task = require "p2pd.task"

local streams = {}

local HEADER_S = 10      -- for the first line, and for an address
local ADDRESS_MAX = 2048 -- bytes

local function is_protocol(word)
  return word == nil or #word <= 64 and not word:find "[^%w._/+-]"
end

local KINDS = {
  pipe = function(words) return #words <= 3 and id.is_id(words[2]) and is_protocol(words[3]) end,
  address = function(words) return #words == 1 end,
}

--- Opens a stream and says what it is for; does not wait.
-- @tparam mux mux
-- @tparam string kind
-- @tparam string ... words
-- @treturn stream; or nil, message, code
function streams.open(mux, kind, ...)
  local stream, reason, code = mux:open()
  if not stream then return nil, reason, code end
  local held <close> = task.hold(stream)
  local ok
  ok, reason, code = preamble.write(stream, kind, ...)
  if not ok then return nil, reason, code end
  return held:release()
end

--- Reads what a stream of the peer's is for.
-- @tparam stream stream
-- @treturn {string,...} its words; or nil, message, code
function streams.receive(stream)
  stream:settimeout(HEADER_S)
  local words, reason, code = preamble.read(stream)
  if not words then return nil, reason, code end
  local check = KINDS[words[1]]
  if not check or not words.is_clean or not check(words) then return nil, preamble.MALFORMED, "EPROTO" end
  stream:settimeout(nil)
  return words
end

--- Tells the peer an address of ours, on a stream of its own.
-- @tparam mux mux
-- @tparam string text
function streams.send_address(mux, text)
  local stream = streams.open(mux, "address")
  if not stream then return end
  stream:write(text)
  stream:close()
end

--- Reads the address that a peer tells of itself.
-- @tparam stream stream
-- @tparam string peer_id
-- @tparam table settings
-- @treturn table parsed; or nil, message
function streams.receive_address(stream, peer_id, settings)
  stream:settimeout(HEADER_S)
  stream:setlimit(ADDRESS_MAX)
  local text, reason = stream:read "a"
  if not text then return nil, reason end
  local peer
  peer, reason = address.parse(text, settings)
  if not peer then return nil, reason end
  if peer.node_id ~= peer_id then return nil, "another node's address" end
  return peer
end

return streams
