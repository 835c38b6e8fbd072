--- The keys of this user's nodes: a file each, under a name.
-- A key file holds one line, `p2pd-key-1 SEED ID`: the 32-byte Ed25519 seed (RFC 8032 section 5.1.5) in
-- hexadecimal and the node id. Who can read it is the node, so it must be its owner's alone (mode 0600).
-- @module p2pd.keyring
local core = require "p2pd.core"

local keyring = {}

local MAX_NAME = 64 -- characters

local function name_fault(name)
  if name == "" then return "a node's name must not be empty" end
  if #name > MAX_NAME then return ("a node's name has at most %d characters"):format(MAX_NAME) end
  if name:find "^%." then return "a node's name must not begin with a dot" end
  if name:find "[^A-Za-z0-9._-]" then
    return "a node's name may only have letters, digits, dots, dashes and underscores"
  end
end

-- The XDG base directory specification has programs ignore a path that is not absolute.
local function data_folder()
  local data = os.getenv "XDG_DATA_HOME"
  if data and data:sub(1, 1) == "/" then return data end
  local home = os.getenv "HOME"
  if home and home:sub(1, 1) == "/" then return home .. "/.local/share" end
end

--- Where the key of a name is kept: `$XDG_DATA_HOME/p2pd/NAME.key`, or in `$HOME/.local/share` when that is
-- not set.
-- @tparam string name 1 to 64 characters of `A-Za-z0-9._-`, the first one not a dot
-- @treturn string the path; or nil, message, code (`EINVAL` for the name, `ENOENT` when there is no home)
function keyring.path(name)
  assert(type(name) == "string", "a name expected")
  local fault = name_fault(name)
  if fault then return nil, fault, "EINVAL" end
  local folder = data_folder()
  if not folder then return nil, "neither XDG_DATA_HOME nor HOME is set: no place for keys", "ENOENT" end
  return ("%s/p2pd/%s.key"):format(folder, name)
end

local function make(path)
  local ok, message, code = core.keys.make_folders(path)
  if not ok then return nil, message, code end
  local key
  key, message, code = core.keys.generate()
  if not key then return nil, message, code end
  ok, message, code = key:save(path)
  if ok then return key end
  key:close()
  if code == "EEXIST" then return core.keys.load(path) end -- somebody was faster: theirs is the key
  return nil, message, code
end

--- The key of a name, made on first use; without a name, a new key that lives as long as it is held.
-- @tparam[opt] string name see `path`
-- @treturn p2pd.key the key; or nil, message, code: as `path`, or `EACCES` when others can use the file or
-- write to its folder, `EPERM` when one of them belongs to somebody else, `ELOOP` when it is a symbolic
-- link, `EINVAL` when it is damaged
function keyring.open(name)
  if name == nil then return core.keys.generate() end
  local path, fault, fault_code = keyring.path(name)
  if not path then return nil, fault, fault_code end
  local key, message, code = core.keys.load(path)
  if key then return key end
  if code == "ENOENT" then return make(path) end
  return nil, message, code
end

--- Locks the key of a name, so that there is one node of that name on this machine. Where the file system
-- has no locks there is none.
-- @tparam string name of a key that was opened
-- @treturn lock to be closed, or true where nothing can be locked; or nil, message, code: `EBUSY` when
-- another node has it
function keyring.lock(name)
  local path, fault, fault_code = keyring.path(name)
  if not path then return nil, fault, fault_code end
  local lock, message, code = core.keylock.take(path)
  if code == "EBUSY" then
    return nil, ("a node named %s is running already: key file %s"):format(name, message), code
  end
  if code == "EOPNOTSUPP" then
    core.log.write("info", message)
    return true
  end
  return lock, message, code
end

return keyring
