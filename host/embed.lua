--- Writes the C file that carries Lua sources inside the executable.
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
  text = text:gsub("^#[^\n]*", "") -- the line stays, so that line numbers do
  assert(load(text, "=" .. path, "t"))
  return text
end

local function write_bytes(out, text)
  for from = 1, #text, 24 do
    out:write("    ", table.concat({ text:byte(from, from + 23) }, ","), ",\n")
  end
end

local function write_c(out, entries)
  out:write '#include "host/embed.h"\n\n'
  for i, entry in ipairs(entries) do
    entry.text = contents(entry.path)
    out:write(("static const unsigned char D%d[] = {\n"):format(i))
    write_bytes(out, entry.text)
    out:write "    0};\n"
  end
  out:write "\nconst struct embedded EMBEDDED[] = {\n"
  for i, entry in ipairs(entries) do
    out:write(("    {%q, %q, (const char *)D%d, %d},\n"):format(entry.name, entry.chunk, i, #entry.text))
  end
  out:write "    {0, 0, 0, 0}};\n"
end

local entries = {}
for i = 2, #arg do
  entries[#entries + 1] = parse(arg[i])
end
table.sort(entries, function(a, b) return a.name < b.name end)
local out <close> = assert(io.open(assert(arg[1], "usage: embed.lua OUT.c source..."), "w"))
write_c(out, entries)
