--- What there is to send: files, folders and links below the paths that somebody has named, one after the
-- other, so that a tree of any size takes the memory of one folder's names.
-- @classmod p2pd.transfer.walk
local core = require "p2pd.core"
local names = require "p2pd.transfer.names"
local task = require "p2pd.task"

local walk = {}

local Walk = { __name = "p2pd.transfer.walk" }
Walk.__index = Walk

-- -- the beginning

local function list(root, inner)
  local all, reason, code = root.folder:list(inner)
  if not all then return nil, reason, code end
  local found = {}
  for name in all:gmatch "%Z+" do found[#found + 1] = name end
  table.sort(found)
  return found
end

-- A path that somebody has typed; a link there is followed.
local function open_root(path, name)
  local real, reason, code = core.folder.resolve(path)
  if not real then return nil, reason, code end
  name = name or names.split((path:gsub("/+$", "")))
  if name == "" or name == "." or name == ".." then name = names.split(real) end
  if name == "" then return nil, path .. ": the root has no name under which it could be sent", "EINVAL" end
  local inner, outer = names.split(real)
  local folder
  folder, reason, code = core.folder.open(outer == "" and "/" or outer)
  if not folder then return nil, reason, code end
  local kind = folder:stat(inner)
  if kind == "folder" then
    folder:close()
    folder, reason, code = core.folder.open(real)
    if not folder then return nil, reason, code end
    inner = ""
  elseif kind ~= "file" then
    folder:close()
    return nil, path .. ": neither a file nor a folder", "EINVAL"
  end
  return { name = name, folder = folder, inner = inner }
end

-- What is in a folder, each thing by its own name.
local function open_inside(path)
  local folder, reason, code = core.folder.open(path)
  if not folder then return nil, reason, code end
  local held <close> = task.hold(folder)
  local roots, why, errcode = list({ folder = folder }, "")
  if not roots then return nil, why, errcode end
  for i, name in ipairs(roots) do roots[i] = { name = name, folder = folder, inner = name } end
  if #roots > 0 then held:release() end
  return roots
end

local function open_roots(about)
  if type(about) == "string" then about = { path = about } end
  if about.inside then return open_inside(about.inside) end
  local root, reason, code = open_root(about.path, about.name)
  if not root then return nil, reason, code end
  return { root }
end

local function close_all(roots)
  for _, root in ipairs(roots) do root.folder:close() end
end

-- Those that are added are closed with the others, also when they can't be sent.
local function add_roots(roots, seen, about)
  local found, reason, code = open_roots(about)
  if not found then return nil, reason, code end
  local twice
  for _, root in ipairs(found) do
    twice = twice or seen[root.name] and root.name
    seen[root.name] = true
    roots[#roots + 1] = root
  end
  if twice then return nil, ('two of them are called "%s"'):format(twice), "EINVAL" end
  return true
end

--- Begins.
-- @tparam {string,...} paths or, instead of one, a table: `path`, and `name` by which it is sent; or
-- `inside`, a folder in which everything is sent by its own name
-- @treturn walk to be closed; or nil, message, code: one is not there, or two have one name
function walk.new(paths)
  local roots, seen = {}, {}
  for _, about in ipairs(paths) do
    local ok, reason, code = add_roots(roots, seen, about)
    if not ok then
      close_all(roots)
      return nil, reason, code
    end
  end
  return setmetatable({ roots = roots, at = 0, stack = {} }, Walk)
end

-- -- one after the other

local function below(inner, name)
  return inner == "" and name or inner .. "/" .. name
end

local function failure(path, reason)
  return { kind = "failure", path = path, reason = (reason:gsub("^.*: ", "")) }
end

local function entry_of(root, inner, path)
  local kind, size, mtime, mode = root.folder:stat(inner)
  if not kind then return failure(path, size) end
  local entry = { kind = kind, path = path, root = root, inner = inner, size = size, mode = mode,
    mtime = math.max(0, mtime) }
  if kind == "link" then
    entry.target = root.folder:target(inner)
    if not entry.target or not names.stays_within(path, entry.target) then
      return failure(path, "a link that leads out of what is sent")
    end
  elseif kind == "other" then
    return failure(path, "neither a file, nor a folder, nor a link")
  end
  return entry
end

local function enter(self, entry)
  local found, reason = list(entry.root, entry.inner)
  if not found then return failure(entry.path, reason) end
  table.insert(self.stack, { entry = entry, names = found, at = 0 })
  return entry
end

local function visit(self, root, inner, path)
  local entry = entry_of(root, inner, path)
  return entry.kind == "folder" and enter(self, entry) or entry
end

-- The end of a folder comes after all that is in it: its time is set then.
local function leave(self)
  local entry = table.remove(self.stack).entry
  return { kind = "end", path = entry.path, mtime = entry.mtime, mode = entry.mode }
end

--- The next one.
-- @treturn table `kind` ("file", "folder", "end" of a folder, "link", "failure"), `path` (as the receiver is
-- told it), `size`, `mtime`, `mode`, `target`, `reason`; nil at the end
function Walk:next()
  local top = self.stack[#self.stack]
  if top then
    top.at = top.at + 1
    local name = top.names[top.at]
    if not name then return leave(self) end
    return visit(self, top.entry.root, below(top.entry.inner, name), top.entry.path .. "/" .. name)
  end
  self.at = self.at + 1
  local root = self.roots[self.at]
  return root and visit(self, root, root.inner, root.name)
end

--- How much there is: walks through all of it, as a walk of its own.
-- @tparam {string,...} paths
-- @treturn table `files`, `bytes`; or nil, message, code
function walk.count(paths)
  local self <close>, reason, code = walk.new(paths)
  if not self then return nil, reason, code end
  local total = { files = 0, bytes = 0 }
  for entry in self.next, self do
    if entry.kind == "file" then
      total.files, total.bytes = total.files + 1, total.bytes + entry.size
      if total.files % 1000 == 0 then core.task.sleep(0) end
    end
  end
  return total
end

--- Ends it.
function Walk:close()
  close_all(self.roots)
end

Walk.__close = Walk.close

return walk
