--- What both sides of a code tell each other under its key: their addresses, filled up so that the length
-- tells little of them.
-- @module p2pd.code.seal
local address = require "p2pd.address"

local seal = {}

local BLOCK = 128

--- Seals our address.
-- @tparam p2pd.spake2 exchange
-- @tparam string own
-- @treturn string; or nil, message, code
function seal.close(exchange, own)
  return exchange:seal(own .. (" "):rep(-#own % BLOCK))
end

--- Opens the peer's.
-- @tparam p2pd.spake2 exchange
-- @tparam string sealed
-- @tparam table settings
-- @treturn table `address`, `id`; or nil, message, code
function seal.open(exchange, sealed, settings)
  local plain, reason, code = exchange:open(sealed)
  if not plain then return nil, reason, code end
  local text = plain:match "^(.-) *$"
  local peer
  peer, reason = address.parse(text, settings)
  if not peer then return nil, "the peer's address: " .. reason, "EPROTO" end
  return { address = text, id = peer.node_id }
end

return seal
