--- What is to be sent to a peer and came over HTTP, kept in a folder until the peer has it: so sending goes
-- on where it ended when a pipe has broken.
-- @classmod p2pd.http.outgoing
local files = require "p2pd.http.files"
local id = require "p2pd.id"
local names = require "p2pd.transfer.names"
local task = require "p2pd.task"

local outgoing = {}

local OWNER_ONLY = 448 -- 0700
local OLD_NS = 24 * 3600 * 1000000000 -- of what a server that did not end in order has left

local Outgoing = { __name = "p2pd.http.outgoing" }
Outgoing.__index = Outgoing

local function without_path(reason)
  return (reason:gsub("^.*: ", ""))
end

-- -- the folder

local function remove_all(folder, path)
  if folder:stat(path) == "folder" then
    for name in (folder:list(path) or ""):gmatch "%Z+" do remove_all(folder, path .. "/" .. name) end
  end
  folder:remove(path)
end

local function remove_old(folder)
  for name in (folder:list(files.OUTGOING) or ""):gmatch "%Z+" do
    local path = files.OUTGOING .. "/" .. name
    local _, _, mtime = folder:stat(path)
    if mtime and os.time() * 1000000000 - mtime > OLD_NS then remove_all(folder, path) end
  end
end

local function check_room(folder, size)
  local room = folder:room()
  if not room or room >= size then return true end
  return nil, ("no room: %d bytes are free, and it has %d"):format(room, size), "ENOSPC"
end

-- One that is there will do.
local function make_folder(self, path)
  local ok, reason, code = self.folder:make(path, OWNER_ONLY)
  if not ok and code ~= "EEXIST" then return nil, without_path(reason), code end
  return true
end

local function open(self, size)
  local ok, reason, code = make_folder(self, files.OUTGOING)
  if not ok then return nil, reason, code end
  remove_old(self.folder)
  ok, reason, code = check_room(self.folder, size)
  if not ok then return nil, reason, code end
  return make_folder(self, self.name)
end

--- Begins.
-- @tparam string path of the folder of files
-- @tparam ?integer size of all, when it is known
-- @treturn outgoing to be closed, which removes it; `path` of the folder, `size` (what there is in it); or
-- nil, message, code (ENOSPC)
function outgoing.new(path, size)
  local folder, reason, code = files.open(path)
  if not folder then return nil, without_path(reason), code end
  local name = files.OUTGOING .. "/" .. id.new()
  local self = setmetatable({ folder = folder, name = name, path = path .. "/" .. name, size = 0,
    parent = "" }, Outgoing)
  local held <close> = task.hold(self)
  local ok
  ok, reason, code = open(self, size or 0)
  if not ok then return nil, reason, code end
  return held:release()
end

-- -- files in it

local function make_parents(self, path)
  local _, parent = names.split(path)
  if parent == "" or parent == self.parent then return true end
  for stop in (parent .. "/"):gmatch "()/" do
    local ok, reason, code = make_folder(self, self.name .. "/" .. parent:sub(1, stop - 1))
    if not ok then return nil, reason, code end
  end
  self.parent = parent
  return true
end

local CLASHES = { EISDIR = true, ENOTDIR = true }

--- Begins a file.
-- @tparam string path a safe one
-- @tparam integer size bytes that are expected
-- @treturn boolean true; or nil, message, code (EINVAL: there is another one of that name)
function Outgoing:begin(path, size)
  local place = self.name .. "/" .. path
  local ok, reason, code = make_parents(self, path)
  if ok and self.folder:stat(place) then return nil, "another one has that name", "EINVAL" end
  if ok then self.file, reason, code = self.folder:write(place, size) end
  if self.file then return true end
  if CLASHES[code] then return nil, "it is in a folder that is a file", "EINVAL" end
  return nil, without_path(reason), code
end

--- Adds bytes to it. Waits while the disk is slow.
-- @tparam string data
-- @treturn boolean true; or nil, message, code
function Outgoing:write(data)
  local ok, reason, code = self.file:write(data)
  if not ok then return nil, without_path(reason), code end
  self.size = self.size + #data
  return true
end

--- It is whole. Waits.
-- @treturn boolean true; or nil, message, code
function Outgoing:finish()
  local ok, reason, code = self.file:flush()
  if not ok then return nil, without_path(reason), code end
  self.file:close()
  self.file = nil
  return true
end

--- Removes it all. May be called twice.
function Outgoing:close()
  if not self.folder then return end
  if self.file then self.file:close() end
  remove_all(self.folder, self.name)
  self.folder:close()
  self.folder = nil
end

Outgoing.__close = Outgoing.close

return outgoing
