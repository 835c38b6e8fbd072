--- Names for peers: a file of the user's, `$XDG_CONFIG_HOME/p2pd/contacts.lua`, which returns a table of
-- addresses and node ids by name.
-- @module p2pd.contacts
-- @usage node:connect(assert(p2pd.contacts.find "bob"))
local address = require "p2pd.address"
local chunk = require "p2pd.config.chunk"
local config = require "p2pd.config"
local core = require "p2pd.core"
local text = require "p2pd.text"

local contacts = {}

local MAX_NAME = 64 -- bytes
local TRIES = 20    -- to write while others do

-- -- what may be in it

local function name_fault(name)
  if type(name) ~= "string" then return "a contact's name is a string" end
  if name == "" then return "a contact's name must not be empty" end
  if #name > MAX_NAME then return ("a contact's name has at most %d bytes"):format(MAX_NAME) end
  if not name:find "^[%a\x80-\xff][%w\x80-\xff._-]*$" or text.printable(name) ~= name then
    return "a contact's name begins with a letter and has letters, digits, dots, dashes and underscores"
  end
  if core.keys.is_id(name) then return "a contact's name must not be a node id" end
end

--- The node id in an address, or a node id itself.
-- @tparam string whom
-- @treturn string; or nil, message, code
function contacts.id_of(whom)
  if core.keys.is_id(whom) then return whom end
  local parsed, fault = address.parse(whom)
  if not parsed then return nil, "not a peer address: " .. fault, "EINVAL" end
  return parsed.node_id
end

local function table_fault(entries)
  if type(entries) ~= "table" then return "it does not return a table" end
  for name, whom in pairs(entries) do
    local fault = name_fault(name)
    if fault then return fault end
    if type(whom) ~= "string" then return name .. ": no address" end
    local ok
    ok, fault = contacts.id_of(whom)
    if not ok then return ("%s: %s"):format(name, fault) end
  end
end

-- -- the file

--- Where the contacts are.
-- @treturn string the path; or nil, message, code
function contacts.path()
  local path = config.path "contacts.lua"
  if path then return path end
  return nil, "neither XDG_CONFIG_HOME nor HOME is set: no place for contacts", "ENOENT"
end

-- The contacts by name, and the file's text.
local function load_all()
  local path, reason, code = contacts.path()
  if not path then return nil, reason, code end
  local source
  source, reason, code = chunk.read(path)
  if code == "ENOENT" then return {}, "" end
  if not source then return nil, reason, code end
  local entries
  entries, reason, code = chunk.evaluate(source, path)
  if code then return nil, reason, code end
  local fault = table_fault(entries)
  if fault then return nil, ("%s: %s"):format(path, fault), "EINVAL" end
  return entries, source
end

local function sorted(entries)
  local list = {}
  for name, whom in pairs(entries) do list[#list + 1] = { name = name, address = whom } end
  table.sort(list, function(a, b) return a.name < b.name end)
  return list
end

local function render(entries)
  local lines = { "-- p2pd's contacts: addresses and node ids by name.\nreturn {" }
  for _, entry in ipairs(sorted(entries)) do
    lines[#lines + 1] = ("  [%q] = %q,"):format(entry.name, entry.address)
  end
  lines[#lines + 1] = "}\n"
  return table.concat(lines, "\n")
end

-- Reads, changes and writes, anew when somebody else has written meanwhile. change() returns false, or nil,
-- message, code, when nothing is to be written.
local function update(change)
  local ok, reason, code
  for _ = 1, TRIES do
    local entries, source, failed = load_all()
    if not entries then return nil, source, failed end
    ok, reason, code = change(entries)
    if ok then ok, reason, code = core.private_file.swap(contacts.path(), source, render(entries)) end
    if ok ~= nil then return ok end
    if code ~= "EAGAIN" then return nil, reason, code end
  end
  return ok, reason, code
end

-- -- what one does with them

--- All contacts.
-- @treturn {table,...} name and address (or node id) of each, sorted by name; or nil, message, code
function contacts.list()
  local entries, reason, code = load_all()
  if not entries then return nil, reason, code end
  return sorted(entries)
end

--- A contact's address.
-- @tparam string name
-- @treturn string an address, or a node id; or nil, message, code (ENOENT: there is none of that name)
function contacts.find(name)
  local entries, reason, code = load_all()
  if not entries then return nil, reason, code end
  if entries[name] then return entries[name] end
  return nil, ("no contact is called %s"):format(text.printable(tostring(name), MAX_NAME)), "ENOENT"
end

--- The name of a peer.
-- @tparam string id its node id
-- @treturn ?string the first by the alphabet; nil when it is no contact
function contacts.name_of(id)
  for _, entry in ipairs(contacts.list() or {}) do
    if contacts.id_of(entry.address) == id then return entry.name end
  end
  return nil
end

--- Adds a contact, or gives one that is there another address.
-- @tparam string name a letter, then letters, digits, dots, dashes and underscores
-- @tparam string whom an address or a node id
-- @tparam[opt] boolean replace true: also when the name is somebody else's until now
-- @treturn boolean true; or nil, message, code (EEXIST: the name is somebody else's)
function contacts.add(name, whom, replace)
  local fault = name_fault(name)
  if fault then return nil, fault, "EINVAL" end
  local id, reason, code = contacts.id_of(whom)
  if not id then return nil, reason, code end
  return update(function(entries)
    if entries[name] and not replace and contacts.id_of(entries[name]) ~= id then
      return nil, ("%s is somebody else already"):format(name), "EEXIST"
    end
    entries[name] = whom
    return true
  end)
end

--- Removes a contact.
-- @tparam string name
-- @treturn boolean true; or nil, message, code (ENOENT: there is none of that name)
function contacts.remove(name)
  return update(function(entries)
    if not entries[name] then
      return nil, ("no contact is called %s"):format(text.printable(tostring(name), MAX_NAME)), "ENOENT"
    end
    entries[name] = nil
    return true
  end)
end

--- A peer has told its present address: contacts that are it get it.
-- @tparam string id the peer's node id
-- @tparam string present its address
-- @treturn boolean whether there was anything to change; or nil, message, code
function contacts.refresh(id, present)
  if contacts.id_of(present) ~= id then return nil, "the address is another node's", "EINVAL" end
  return update(function(entries)
    local changed = false
    for name, whom in pairs(entries) do
      if whom ~= present and contacts.id_of(whom) == id then
        entries[name], changed = present, true
      end
    end
    return changed
  end)
end

return contacts
