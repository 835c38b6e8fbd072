--- Whom a command is to talk to, or to let in: addresses, node ids and names of contacts.
-- @module p2pd.cli.whom
local address = require "p2pd.address"
local config = require "p2pd.config"
local contacts = require "p2pd.contacts"
local peer = require "p2pd.peer"

local whom = {}

local SHOWN = 8 -- characters of a node id that people see

--- The address of a peer.
-- @tparam string text
-- @tparam[opt] string settings the file that the command was told
-- @treturn string; or nil, message, code
function whom.find(text, settings)
  local resolved, reason, code = config.resolve(settings)
  if not resolved then return nil, reason, code end
  return peer.find(text, { settings = resolved, contacts = contacts })
end

--- Like @{find}, and the name of one of the peer's services behind it: `PEER` or `PEER:SERVICE`.
-- @tparam string text
-- @tparam[opt] string settings
-- @treturn string the address; or nil, message, code
-- @treturn string the service, "" when none is named
function whom.find_service(text, settings)
  local found, reason, code = whom.find(text, settings)
  if found then return found, "" end
  local head, service = text:match "^(.*):([%w._-]+)$"
  if not head then return nil, reason, code end
  found, reason, code = whom.find(head, settings)
  if found then return found, service end
  return nil, reason, code
end

--- The node ids of peers.
-- @tparam {string,...} list of texts
-- @tparam[opt] string settings
-- @treturn {string,...}; or nil, message, code
function whom.ids(list, settings)
  local ids = {}
  for i, text in ipairs(list) do
    local found, reason, code = whom.find(text, settings)
    if not found then return nil, reason, code end
    ids[i] = address.parse(found).node_id
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
