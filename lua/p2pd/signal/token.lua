--- Reply tokens: who got one in a message of ours can show, before anything is opened, that his message is
-- his. A token is a name of 8 bytes and a key of 16. Both follow from a secret of ours, so none is stored:
-- the name hides which peer it was given to, the key is a MAC of the name. A message's tag is the token's
-- name and 8 bytes of a MAC, by the token's key, over the whole sealed message: it is of no use for another
-- one.
-- @classmod p2pd.signal.token
local core = require "p2pd.core"

local token = {}

token.BYTES = 24
token.LIFE_S = 600 -- at least, twice that at most

local NAME, KEY, PROOF = 8, 16, 8

local Tokens = { __name = "p2pd.signal.tokens" }
Tokens.__index = Tokens

--- The tokens that a node gives out.
function token.new()
  return setmetatable({ salt = core.random.bytes(32), secret = core.random.bytes(32) }, Tokens)
end

local function first_word(bytes)
  return (("<I4"):unpack(bytes))
end

--- A number that stands for a peer.
-- @tparam string peer_id
-- @treturn integer
function Tokens:number_of(peer_id)
  return first_word(core.keys.mac(self.salt, peer_id))
end

local function renew(self, now)
  self.since = self.since or now
  if now - self.since < token.LIFE_S then return end
  self.old = now - self.since < 2 * token.LIFE_S and self.secret or nil
  self.secret, self.since = core.random.bytes(32), now
end

local function key_of(secret, name)
  return core.keys.mac(secret, "key" .. name):sub(1, KEY)
end

-- Which peer a name is of: its second half is the peer's number under a mask.
local function mask(secret, random)
  return first_word(core.keys.mac(secret, "peer" .. random))
end

--- A token for a peer.
-- @tparam string peer_id
-- @tparam number now seconds on a scale that never jumps
-- @treturn string 24 bytes
function Tokens:give(peer_id, now)
  renew(self, now)
  local random = core.random.bytes(4)
  local name = random .. ("<I4"):pack(self:number_of(peer_id) ~ mask(self.secret, random))
  return name .. key_of(self.secret, name)
end

local function proof(key, name, sealed)
  return core.keys.mac(key, name .. sealed):sub(1, PROOF)
end

--- The tag with which a message shows a token.
-- @tparam string given the token
-- @tparam string sealed the message without version and tag
-- @treturn string 16 bytes
function token.tag(given, sealed)
  local name = given:sub(1, NAME)
  return name .. proof(given:sub(NAME + 1), name, sealed)
end

--- The first half of that tag, which the seal covers.
function token.name(given)
  return given:sub(1, NAME)
end

--- Whose token a tag shows.
-- @tparam string tag
-- @tparam string sealed
-- @tparam number now
-- @treturn ?integer the peer's number; nil when it shows none of ours
function Tokens:find(tag, sealed, now)
  renew(self, now)
  local name = tag:sub(1, NAME)
  for _, secret in ipairs { self.secret, self.old } do
    if proof(key_of(secret, name), name, sealed) == tag:sub(NAME + 1) then
      return ("<I4"):unpack(name, 5) ~ mask(secret, name:sub(1, 4))
    end
  end
end

return token
