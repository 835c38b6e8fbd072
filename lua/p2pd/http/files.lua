--- The folder of the files that peers have sent: those of each peer are in a folder of its own that has its
-- node id for a name, so that nobody finds out, or is in the way of, what others have sent.
-- @classmod p2pd.http.files
local core = require "p2pd.core"
local names = require "p2pd.transfer.names"
local text = require "p2pd.text"
local walk = require "p2pd.transfer.walk"

local files = {}

files.LISTED_MAX = 10000
files.OUTGOING = ".outgoing" -- a folder in it, see @{p2pd.http.outgoing}

local OWNER_ONLY = 448 -- 0700
local PART = names.PART

local Files = { __name = "p2pd.http.files" }
Files.__index = Files

--- Where it is, unless somebody says otherwise: `$XDG_DATA_HOME/p2pd/files`, or
-- `$HOME/.local/share/p2pd/files`.
-- @treturn ?string nil when there is no home
function files.default_path()
  for _, place in ipairs { { "XDG_DATA_HOME", "" }, { "HOME", "/.local/share" } } do
    local path = os.getenv(place[1])
    if path and path:sub(1, 1) == "/" then return path .. place[2] .. "/p2pd/files" end
  end
end

--- @tparam string path of a folder, which is made when it is needed
-- @treturn files
function files.new(path)
  return setmetatable({ path = path }, Files)
end

--- Opens a folder, and makes what is missing of it.
-- @tparam string path
-- @treturn p2pd.folder to be closed; or nil, message, code
function files.open(path)
  local folder, reason, code = core.folder.open(path)
  if folder or code ~= "ENOENT" then return folder, reason, code end
  local name, outer = names.split((path:gsub("/+$", "")))
  if name == "" then return nil, reason, code end
  if outer == "" then outer = path:sub(1, 1) == "/" and "/" or "." end
  local parent <close>, why, errcode = files.open(outer)
  if not parent then return nil, why, errcode end
  local ok
  ok, why, errcode = parent:make(name, OWNER_ONLY)
  if not ok and errcode ~= "EEXIST" then return nil, why, errcode end
  return core.folder.open(path)
end

local function without_path(reason)
  return (reason:gsub("^.*: ", ""))
end

-- -- what has been received

--- The folder for what a peer sends; it is made.
-- @tparam string peer its node id
-- @treturn string path; or nil, message, code
function Files:place_for(peer)
  local path = self.path .. "/" .. peer
  local folder <close>, reason, code = files.open(path)
  if not folder then return nil, reason, code end
  return path
end

local function is_outgoing(path)
  return path:sub(1, #files.OUTGOING) == files.OUTGOING
end

local function without_part(path)
  return path:sub(-#PART) == PART and path:sub(1, -#PART - 1) or nil
end

-- A path that somebody asks for; one of an unfinished file is let pass when it may be.
local function check(path, may_be_part)
  local whole = may_be_part and without_part(path) or path
  local safe, reason = names.make_safe(whole)
  if not safe then return nil, reason, "EINVAL" end
  if safe ~= whole or is_outgoing(path) then return nil, "no file is there", "ENOENT" end
  return true
end

local function describe(entry, path)
  local whole = without_part(path)
  return { path = path, peer = path:match "^[^/]+", name = (names.split(whole or path)), size = entry.size,
    modified = entry.mtime // 1000000000, partial = whole ~= nil }
end

-- Files are in peers' folders, and can be told as they are.
local function is_listed(entry, path)
  return entry.kind == "file" and path:find("/", 1, true) and not is_outgoing(path)
    and text.printable(path, #path) == path
end

-- Where a walk begins, and what is before its paths.
local function root_of(self, under)
  if not under then return self.path, "" end
  local ok, reason, code = check(under)
  if not ok then return nil, reason, code end
  local folder <close>, why, errcode = core.folder.open(self.path)
  if not folder then return nil, without_path(why), errcode end
  if folder:stat(under) ~= "folder" then return nil, "no folder is there", "ENOENT" end
  return self.path .. "/" .. under, under .. "/"
end

--- The files that are there, and the beginnings of those that are not whole, sorted by path.
-- @tparam[opt] string under a folder: those in it
-- @treturn {table,...} `path`, `peer`, `name`, `size`, `modified` (seconds since 1970), `partial`; or nil,
-- message, code
-- @treturn boolean whether there are more
function Files:list(under)
  local root, before, errcode = root_of(self, under)
  if not root then return nil, before, errcode end
  local tree <close>, reason, code = walk.new { { inside = root } }
  if not tree and code == "ENOENT" and not under then return {}, false end
  if not tree then return nil, reason, code end
  local list = {}
  for entry in tree.next, tree do
    local path = before .. entry.path
    if is_listed(entry, path) then
      if #list == files.LISTED_MAX then return list, true end
      list[#list + 1] = describe(entry, path)
    end
  end
  return list, false
end

--- Opens a file that is whole.
-- @tparam string path as @{list} has it
-- @treturn file to be closed; or nil, message, code (ENOENT, EINVAL: not a safe path)
-- @treturn integer size
-- @treturn integer when it was changed: nanoseconds since 1970
function Files:read(path)
  local ok, reason, code = check(path)
  if not ok then return nil, reason, code end
  local folder <close>, why, errcode = core.folder.open(self.path)
  if not folder then return nil, without_path(why), errcode end
  local kind, size, mtime = folder:stat(path)
  if kind ~= "file" then return nil, "no file is there", "ENOENT" end
  local file
  file, reason, code = folder:read(path, size)
  if not file then return nil, without_path(reason), code end
  return file, size, mtime
end

--- Removes a file, or the beginning of one.
-- @tparam string path
-- @treturn boolean true; or nil, message, code
function Files:remove(path)
  local ok, reason, code = check(path, true)
  if not ok then return nil, reason, code end
  local folder <close>, why, errcode = core.folder.open(self.path)
  if not folder then return nil, without_path(why), errcode end
  if folder:stat(path) ~= "file" then return nil, "no file is there", "ENOENT" end
  ok, reason, code = folder:remove(path)
  if not ok then return nil, without_path(reason), code end
  return true
end

return files
