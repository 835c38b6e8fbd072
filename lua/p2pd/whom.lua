--- Whom a person means: an address, a node id, a contact's name, or a code that somebody has read out.
-- All but a code are an address at once. A code needs a node, which then finds out the address by it, once.
-- @module p2pd.whom
-- @usage
-- local peer = assert(whom.find "4-amber-canoe-violin")
-- local node <close> = assert(p2pd.node())
-- local pipe <close> = assert(node:connect(assert(peer:reach(node))))
local address = require "p2pd.address"
local codes = require "p2pd.code"
local config = require "p2pd.config"
local contacts = require "p2pd.contacts"
local peer = require "p2pd.peer"

local whom = {}

local SHOWN = 8 -- characters of a node id that people see

local Whom = { __name = "p2pd.whom" }
Whom.__index = Whom

--- The address.
-- @tparam node node that is to find it, when it was a code that was given
-- @treturn string; or nil, message, code: see @{p2pd.code.redeem}
function Whom:reach(node)
  if self.address then return self.address end
  local found, reason, code = codes.redeem(node, self.code)
  if not found then return nil, reason, code end
  self.address = found
  return found
end

--- What to call the peer: its contact's name, else its id; the code until it has been used.
-- @treturn string
function Whom:called()
  if not self.address then return self.code end
  local id = contacts.id_of(self.address)
  return contacts.name_of(id) or id
end

Whom.__tostring = Whom.called

--- Reads what a person has given, before a node is started for it.
-- @tparam string text
-- @tparam[opt] table options `settings`: complete ones (see @{p2pd.config.resolve}), or none; `insecure`: as
-- for @{p2pd.peer.parse}
-- @treturn table with `address` or `code`, and the methods @{reach} and `called`; or nil, message, code
function whom.find(text, options)
  options = options or {}
  local stripped = #text <= address.MAX_BYTES and peer.strip(text)
  if stripped and codes.is_code(stripped) then
    local parsed, reason, code = codes.parse(stripped)
    if not parsed then return nil, reason, code end
    return setmetatable({ code = parsed }, Whom)
  end
  local found, reason, code = peer.find(text,
    { settings = options.settings, insecure = options.insecure, contacts = contacts })
  if not found then return nil, reason, code end
  return setmetatable({ address = found }, Whom)
end

--- Like @{find}, and the name of one of the peer's services behind it: `PEER` or `PEER:SERVICE`.
-- @tparam string text
-- @tparam[opt] table options as for @{find}
-- @treturn table as from @{find}; or nil, message, code
-- @treturn string the service, "" when none is named
function whom.find_service(text, options)
  local found, reason, code = whom.find(text, options)
  if found then return found, "" end
  local head, service = text:match "^(.*):([%w._-]+)$"
  local of_head = head and whom.find(head, options)
  if of_head then return of_head, service end
  return nil, reason, code
end

--- The node ids of peers, which a code does not tell.
-- @tparam {string,...} list of texts
-- @tparam[opt] table|string settings or their file
-- @treturn {string,...}; or nil, message, code
function whom.ids(list, settings)
  local resolved, fault, errcode = config.resolve(settings)
  if not resolved then return nil, fault, errcode end
  local ids = {}
  for i, text in ipairs(list) do
    local found, reason, code = whom.find(text, { settings = resolved })
    if not found then return nil, reason, code end
    if found.code then return nil, ("%s is a code: it tells nobody's id"):format(found.code), "EINVAL" end
    ids[i] = contacts.id_of(found.address)
  end
  return ids
end

--- What people call a peer: its contact's name, or the beginning of its id.
-- @tparam string id
-- @treturn string
function whom.name(id)
  return contacts.name_of(id) or id:sub(1, SHOWN)
end

return whom
