--- Writes the C file that carries Lua sources inside the executable, and compiled, too.
--
--    lua5.4 host/embed.lua OUT.c lua/p2pd/init.lua scripts/chat.lua dkjson x.y=some/path.lua lua/p2pd/a/b.css
--
-- A file under lua/ becomes the module that `require` would find there, a script `p2pd.scripts.NAME`,
-- and a bare word is a module that is installed here and has to travel along. Another file under lua/ is
-- carried as it is, for `embedded.source "p2pd.a/b.css"`.

local INSIDE = "@[p2pd]/" -- no path on disk: nobody can mistake one for the other

local function is_source(path)
  return path:find "%.lua$" ~= nil
end

local function module_of(path)
  local folder, file = path:match "^lua/(.+)/([^/]+)$"
  if folder and not is_source(file) then return folder:gsub("/", ".") .. "/" .. file end
  local name = path:match("^lua/(.+)%.lua$")
  if name then
    return (name:gsub("/init$", ""):gsub("/", "."))
  end
  return path:gsub("^scripts/(.+)%.lua$", "p2pd.scripts.%1")
end

local function installed(module)
  local path = assert(package.searchpath(module, package.path))
  return { name = module, path = path, chunk = INSIDE .. module:gsub("%.", "/") .. ".lua" }
end

local function parse(argument)
  local name, path = argument:match("^([^=]+)=(.+)$")
  if name then
    return { name = name, path = path, chunk = INSIDE .. name }
  elseif argument:find("[/.]") then
    return { name = module_of(argument), path = argument, chunk = INSIDE .. argument }
  end
  return installed(argument)
end

local function contents(path)
  local file <close> = assert(io.open(path, "rb"))
  local text = file:read "a"
  if not is_source(path) then return text end
  return (text:gsub("^#[^\n]*", "")) -- the line stays, so that line numbers do
end

-- With what tracebacks need.
local function compile(entry)
  if not is_source(entry.path) then return nil end
  assert(load(entry.text, "=" .. entry.path, "t"))
  return string.dump(assert(load(entry.text, entry.chunk, "t")))
end

local function write_bytes(out, text)
  for from = 1, #text, 24 do
    out:write("    ", table.concat({ text:byte(from, from + 23) }, ","), ",\n")
  end
end

-- An array of bytes: how C refers to it, and its length.
local function write_array(out, name, text)
  if not text then return "0, 0" end
  out:write(("static const unsigned char %s[] = {\n"):format(name))
  write_bytes(out, text)
  out:write "    0};\n"
  return ("(const char *)%s, %d"):format(name, #text)
end

local function write_c(out, entries)
  local rows = {}
  out:write '#include "host/embed.h"\n\n'
  for i, entry in ipairs(entries) do
    entry.text = contents(entry.path)
    local data = write_array(out, "D" .. i, entry.text)
    rows[i] = ("    {%q, %q, %s, %s},\n"):format(entry.name, entry.chunk, data,
      write_array(out, "C" .. i, compile(entry)))
  end
  out:write("\nconst struct embedded EMBEDDED[] = {\n", table.concat(rows), "    {0, 0, 0, 0, 0, 0}};\n")
end

local entries = {}
for i = 2, #arg do
  entries[#entries + 1] = parse(arg[i])
end
table.sort(entries, function(a, b) return a.name < b.name end)
local out <close> = assert(io.open(assert(arg[1], "usage: embed.lua OUT.c source..."), "w"))
write_c(out, entries)
