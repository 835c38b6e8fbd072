--- What is to be sent to a peer and came over HTTP, kept in a file until the peer has it: so sending goes on
-- where it ended when a pipe has broken.
-- @classmod p2pd.http.outgoing
local files = require "p2pd.http.files"
local id = require "p2pd.id"
local task = require "p2pd.task"

local outgoing = {}

local OWNER_ONLY = 448 -- 0700
local OLD_NS = 24 * 3600 * 1000000000 -- of what a server that did not end in order has left

local Outgoing = { __name = "p2pd.http.outgoing" }
Outgoing.__index = Outgoing

local function without_path(reason)
  return (reason:gsub("^.*: ", ""))
end

local function remove_old(folder)
  for name in (folder:list(files.OUTGOING) or ""):gmatch "%Z+" do
    local path = files.OUTGOING .. "/" .. name
    local kind, _, mtime = folder:stat(path)
    if kind == "file" and os.time() * 1000000000 - mtime > OLD_NS then folder:remove(path) end
  end
end

local function check_room(folder, size)
  local room = folder:room()
  if not room or room >= size then return true end
  return nil, ("no room: %d bytes are free, and it has %d"):format(room, size), "ENOSPC"
end

local function open(self, size)
  local ok, reason, code = self.folder:make(files.OUTGOING, OWNER_ONLY)
  if not ok and code ~= "EEXIST" then return nil, without_path(reason), code end
  remove_old(self.folder)
  ok, reason, code = check_room(self.folder, size)
  if not ok then return nil, reason, code end
  self.file, reason, code = self.folder:write(self.name, size)
  if not self.file then return nil, without_path(reason), code end
  return true
end

--- Begins.
-- @tparam string path of the folder of files
-- @tparam ?integer size when it is known
-- @treturn outgoing to be closed, which removes it; `path`, `size` (what there is of it); or nil, message,
-- code (ENOSPC)
function outgoing.new(path, size)
  local folder, reason, code = files.open(path)
  if not folder then return nil, without_path(reason), code end
  local name = files.OUTGOING .. "/" .. id.new()
  local self = setmetatable({ folder = folder, name = name, path = path .. "/" .. name, size = 0 }, Outgoing)
  local held <close> = task.hold(self)
  local ok
  ok, reason, code = open(self, size or 0)
  if not ok then return nil, reason, code end
  return held:release()
end

--- Adds bytes. Waits while the disk is slow.
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
  return true
end

--- Removes it. May be called twice.
function Outgoing:close()
  if not self.folder then return end
  if self.file then
    self.file:close()
    self.folder:remove(self.name)
  end
  self.folder:close()
  self.folder = nil
end

Outgoing.__close = Outgoing.close

return outgoing
