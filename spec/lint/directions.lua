--- Which file may know which: `lua5.4 spec/lint/directions.lua [ROOT]` names what goes the wrong way.
--
-- - A room is lua/p2pd/X.lua with lua/p2pd/X/*. The requires between rooms have no circle.
-- - Of this tree, lua/ and scripts/ require what is in lua/ alone; examples/ nothing of spec/ and scripts/.
-- - A unit is X.c with X.h. The includes between units have no circle, and name files from the root.
-- - host/ and netdelay/ include themselves alone, bindings/ itself and host/. A file with main() may include
--   bindings/. Lua's headers are for bindings/, specs and files with main().
local graph = require "spec.lint.graph"
local lfs = require "lfs"

local directions = {}

local FROM_C = { ["p2pd.core"] = true, ["p2pd.embedded"] = true }
local LUA_HEADERS = { ["lua.h"] = true, ["lauxlib.h"] = true, ["lualib.h"] = true, ["luaconf.h"] = true }
local C_MAY = { -- what a folder's files may include
  host = { host = true },
  netdelay = { netdelay = true },
  bindings = { bindings = true, host = true },
}
local LUA_MAY = { -- the folders of this tree that a folder's files may require
  lua = { lua = true },
  scripts = { lua = true },
  docs = { lua = true, docs = true },
  examples = { lua = true, examples = true },
}
local FOLDERS = { "bindings", "docs", "examples", "host", "lua", "netdelay", "scripts", "spec" }

-- -- files

local function read(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

local function mode(path)
  return lfs.attributes(path, "mode")
end

-- The files below a folder, as paths from the root, sorted.
local function add_files(files, root, folder)
  local names = {}
  for name in lfs.dir(root .. "/" .. folder) do
    if not name:find "^%." then names[#names + 1] = name end
  end
  table.sort(names)
  for _, name in ipairs(names) do
    local path = folder .. "/" .. name
    if mode(root .. "/" .. path) == "directory" then
      add_files(files, root, path)
    else
      files[#files + 1] = path
    end
  end
end

local function list_files(root)
  local files = {}
  for _, folder in ipairs(FOLDERS) do
    if mode(root .. "/" .. folder) == "directory" then add_files(files, root, folder) end
  end
  return files
end

local function top(path)
  return path:match "^[^/]+"
end

-- -- Lua

local function skip_long(text, at)
  local level = text:match("^%[(=*)%[", at)
  if not level then return nil end
  local _, last = text:find("]" .. level .. "]", at, true)
  return (last or #text) + 1
end

local function skip_comment(text, at)
  if text:sub(at, at + 1) ~= "--" then return nil end
  return skip_long(text, at + 2) or text:find("\n", at, true) or #text + 1
end

local function skip_string(text, at)
  local quote = text:match("^[\"']", at)
  if not quote then return nil end
  local i = at + 1
  while i <= #text and text:sub(i, i) ~= quote do
    i = i + (text:sub(i, i) == "\\" and 2 or 1)
  end
  return i + 1
end

--- The modules that a Lua text requires, also by `pcall(require, "x")`; of `"x." .. name` the "x.".
-- @tparam string text
-- @treturn {string,...}
function directions.requires(text)
  local found, at = {}, 1
  while at <= #text do
    local word = text:match("^[%a_][%w_]*", at)
    local name = word == "require" and text:match("^[%s%(,]*[\"']([^\"'\n]*)[\"']", at + #word)
    if name then found[#found + 1] = name end
    at = word and at + #word or skip_comment(text, at) or skip_long(text, at) or skip_string(text, at)
      or at + 1
  end
  return found
end

local function room_of_module(name)
  if name == "p2pd" then return "p2pd" end
  return name:match "^p2pd%.([^.]+)"
end

local function room_of_file(path)
  if path == "lua/p2pd/init.lua" then return "p2pd" end
  return path:match "^lua/p2pd/([^/]+)/" or path:match "^lua/p2pd/([^/]+)%.lua$"
end

-- The file of this tree that a module is, or nil. "p2pd.strategy." stands for the whole room.
local function file_of_module(root, name)
  local path = name:gsub("%.$", ""):gsub("%.", "/")
  for _, candidate in ipairs {
    "lua/" .. path .. ".lua", "lua/" .. path .. "/init.lua", path .. ".lua",
    "scripts/" .. (name:match "^p2pd%.scripts%.(.*)$" or "?") .. ".lua",
  } do
    if mode(root .. "/" .. candidate) == "file" then return candidate end
  end
end

local Check = {}
Check.__index = Check

function Check:complain(path, what)
  self.complaints[#self.complaints + 1] = path .. " " .. what
end

local function check_require(self, path, name)
  if FROM_C[name] then return end
  local file = file_of_module(self.root, name)
  if name:find "^p2pd%." and not file then
    return self:complain(path, ("requires %q, which is no file here"):format(name))
  end
  local may = LUA_MAY[top(path)]
  if file and may and not may[top(file)] then self:complain(path, ("requires %q"):format(name)) end
  local from, to = room_of_file(path), room_of_module(name)
  if from and to and from ~= to then self.rooms:add(from, to, path) end
end

-- -- C

-- A text without its comments, as far as includes and main() go.
local function without_comments(text)
  return (text:gsub("/%*.-%*/", " "):gsub("//[^\n]*", ""))
end

local function check_lua_header(self, path, header, has_main)
  local folder = top(path)
  if not LUA_HEADERS[header] or has_main or folder == "bindings" or folder == "spec" then return end
  self:complain(path, ("includes <%s>"):format(header))
end

local function check_include(self, path, header, has_main)
  if not header:find "/" or header:find "%.%./" or mode(self.root .. "/" .. header) ~= "file" then
    return self:complain(path, ("includes %q, which is no file from the root"):format(header))
  end
  local may = C_MAY[top(path)]
  if may and not may[top(header)] and not (has_main and top(header) == "bindings") then
    self:complain(path, ("includes %q"):format(header))
  end
  local from, to = path:gsub("%.[ch]$", ""), header:gsub("%.[ch]$", "")
  if from ~= to then self.units:add(from, to, path) end
end

local function check_c(self, path, text)
  text = without_comments(text)
  local has_main = text:find "%f[%w_]int%s+main%s*%(" ~= nil
  for open, header in text:gmatch '#%s*include%s*([<"])([^>"\n]+)[>"]' do
    check_lua_header(self, path, header, has_main)
    if open == '"' and not LUA_HEADERS[header] then check_include(self, path, header, has_main) end
  end
end

-- -- all of it

local function complain_of_circles(self, one, noun)
  for _, circle in ipairs(one:circles()) do
    local lines = {}
    for _, edge in ipairs(circle.edges) do
      lines[#lines + 1] = ("  %s -> %s: %s"):format(edge.from, edge.to, table.concat(edge.because, ", "))
    end
    self.complaints[#self.complaints + 1] = ("a circle of %s: %s\n%s"):format(noun,
      table.concat(circle.nodes, ", "), table.concat(lines, "\n"))
  end
end

--- Checks a tree.
-- @tparam string root its folder
-- @treturn {string,...} what is wrong
function directions.check(root)
  local self = setmetatable({ root = root, complaints = {}, rooms = graph.new(), units = graph.new() }, Check)
  for _, path in ipairs(list_files(root)) do
    if path:find "%.[ch]$" then
      check_c(self, path, read(root .. "/" .. path))
    elseif path:find "%.lua$" then
      for _, name in ipairs(directions.requires(read(root .. "/" .. path))) do
        check_require(self, path, name)
      end
    end
  end
  complain_of_circles(self, self.rooms, "rooms")
  complain_of_circles(self, self.units, "units")
  return self.complaints
end

if arg and arg[0] and arg[0]:find "directions%.lua$" then
  local complaints = directions.check(arg[1] or ".")
  for _, complaint in ipairs(complaints) do print(complaint) end
  os.exit(#complaints == 0)
end

return directions
