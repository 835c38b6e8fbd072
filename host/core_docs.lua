--- Writes a Lua module with the documentation of p2pd.core, which is in C comments: by module, as comments
-- that p2pd.repl.doc reads.
--
--    lua5.4 host/core_docs.lua bindings/*.c >OUT.lua

local docs = {} -- by module, a list of comments

local function contents(path)
  local file <close> = assert(io.open(path, "rb"))
  return file:read "a"
end

local function comment_of(block)
  local lines = {}
  for line in block:gmatch "[^\n]+" do
    if not line:find "^@pragma" then lines[#lines + 1] = (#lines == 0 and "--- " or "-- ") .. line end
  end
  return table.concat(lines, "\n")
end

local function read(path)
  local module
  for block in contents(path):gmatch "/%*%*%*\n(.-)%*/" do
    local kind, name = block:match "@(s?u?b?module)%s+(%S+)"
    module = name or module
    docs[module] = docs[module] or {}
    if kind == "module" then
      table.insert(docs[module], 1, comment_of(block))
    elseif not kind then
      table.insert(docs[module], comment_of(block))
    end
  end
end

for _, path in ipairs(arg) do read(path) end
local names = {}
for name in pairs(docs) do names[#names + 1] = name end
table.sort(names)
io.write "return {\n"
for _, name in ipairs(names) do
  io.write(("  [%q] = %q,\n"):format(name, table.concat(docs[name], "\n\n") .. "\n"))
end
io.write "}\n"
