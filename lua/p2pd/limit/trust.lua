--- Who is trusted. A peer is a stranger until we have dialed him, or he has held a verified pipe and `allow`
-- had agreed, or the node was told to trust him. And what has proved itself: an address from which a peer has
-- made a verified pipe is no third party's any more.
-- @classmod p2pd.limit.trust
local core = require "p2pd.core"
local expiring_map = require "p2pd.expiring_map"
local source = require "p2pd.limit.source"

local trust = {}

local PEERS = 4096
local PROVEN, PROVEN_S = 1024, 3600 -- addresses, and for how long

local Trust = { __name = "p2pd.limit.trust" }
Trust.__index = Trust

--- Peers that are trusted, and where they were seen.
-- @tparam[opt] {string,...} named ids of peers that are trusted from the beginning, and stay so
function trust.new(named)
  local self = setmetatable({ named = {}, peers = expiring_map.new(PEERS),
    sources = expiring_map.new(PEERS), proven = expiring_map.new(PROVEN, PROVEN_S) }, Trust)
  for _, id in ipairs(named or {}) do self.named[id] = true end
  return self
end

--- Trusts a peer from now on.
function Trust:add(peer_id)
  self.peers:set(peer_id, true, core.clock.monotonic())
end

--- The step at which a peer is.
-- @tparam ?string peer_id nil: nobody knows yet who it is
-- @treturn string "trusted" or "stranger"
function Trust:step(peer_id)
  if peer_id and (self.named[peer_id] or self.peers:get(peer_id)) then return "trusted" end
  return "stranger"
end

--- A verified pipe has come about with an address.
-- @tparam string ip
-- @tparam[opt] string peer_id whose it is; a relay is nobody's
function Trust:prove(ip, peer_id)
  local now = core.clock.monotonic()
  self.proven:set(ip, true, now)
  if self:step(peer_id) == "trusted" then self.sources:set(source.of(ip), true, now) end
end

--- Whether an address has proved itself: what we send there is sent to who has asked for it.
-- @tparam ?string ip
-- @treturn boolean
function Trust:is_proven(ip)
  return ip ~= nil and self.proven:get(ip) ~= nil
end

--- A trusted peer's address, as far as one knows: what comes from there has places of its own.
-- @tparam ?string ip
-- @treturn string "trusted" or "stranger"
function Trust:step_of_source(ip)
  return ip and self.sources:get(source.of(ip)) and "trusted" or "stranger"
end

--- Notes where a trusted peer is to be found.
function Trust:note_source(ip)
  local key, now = source.of(ip), core.clock.monotonic()
  if not self.sources:get(key) then self.sources:set(key, true, now) end
end

return trust
