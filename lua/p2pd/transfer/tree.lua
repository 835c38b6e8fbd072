--- Folders and symbolic links that somebody else has sent, made in the folder that receives.
-- @module p2pd.transfer.tree
local names = require "p2pd.transfer.names"

local tree = {}

local MODE, OWNERS, USUAL_UMASK = 511, 448, 18 -- 0777, 0700, 022

--- The process's umask.
-- @treturn integer
function tree.umask()
  local file <close> = io.open "/proc/self/status"
  local found = file and file:read("a"):match "\nUmask:%s*(%d+)"
  return found and tonumber(found, 8) or USUAL_UMASK
end

--- Makes a folder, its user's alone for now.
-- @tparam p2pd.folder folder
-- @tparam table item `path`, a safe one
-- @treturn string "saved"; or nil, message, code
function tree.make_folder(folder, item)
  local ok, reason, code = folder:make(item.path, OWNERS)
  if not ok and (code ~= "EEXIST" or folder:stat(item.path) ~= "folder") then return nil, reason, code end
  return "saved"
end

--- Gives a folder its permissions and time: all is in it.
-- @tparam p2pd.folder folder
-- @tparam string path a safe one
-- @tparam integer mode
-- @tparam integer mtime nanoseconds since 1970
function tree.finish_folder(folder, path, mode, mtime)
  folder:set(path, mode & MODE | OWNERS, mtime)
end

--- Makes a link, unless it leads out of what is sent.
-- @tparam p2pd.folder folder
-- @tparam table item `path`, a safe one; `target`, `mtime`
-- @tparam boolean overwrite whether it may take a file's place
-- @treturn string "saved", or "same": it was there; or nil, message, code
function tree.make_link(folder, item, overwrite)
  if not names.stays_within(item.path, item.target) then
    return nil, "a link that leads out of what is sent", "EINVAL"
  end
  local kind = folder:stat(item.path)
  if kind == "link" and folder:target(item.path) == item.target then return "same" end
  if kind and kind ~= "folder" and overwrite then folder:remove(item.path) end
  local ok, reason, code = folder:link(item.path, item.target)
  if not ok then return nil, reason, code end
  folder:set(item.path, 0, item.mtime)
  return "saved"
end

return tree
