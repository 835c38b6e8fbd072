--- `help()` at the prompt: what the sources say of a function, a module or an object.
-- @module p2pd.repl.help
local doc = require "p2pd.repl.doc"
local members = require "p2pd.repl.members"
local text = require "p2pd.text"

local help = {}

local PUBLIC = { "p2pd", "p2pd.node", "p2pd.pipe", "p2pd.session", "p2pd.task", "p2pd.clock", "p2pd.address",
  "p2pd.policy", "p2pd.strategy" }

local ABOUT = [[
help(x) tells about a function, an object or a module:
  help(p2pd.node)   help(p2pd.sleep)   help "pipe:read"   help "p2pd.task"
At the prompt calls that wait just wait, and what was started before runs on.
_ is the last value, __ the one before. TAB completes, Ctrl-R searches what was
typed before, Ctrl-C interrupts, Ctrl-D ends.
]]

-- -- where the sources are

local function inside(name)
  local ok, embedded = pcall(require, "p2pd.embedded")
  return ok and embedded.source(name) or nil
end

local core_docs

-- What the C sources say, by module.
local function docs_of_core()
  core_docs = core_docs or load(inside "p2pd.core.docs" or "return {}", "=core docs", "t", {})()
  return core_docs
end

-- The executable carries its sources; a checkout's own come first.
local function source_of_module(name)
  if not name:find "^p2pd%f[.\0]" or name:find "%.$" or name:find "%.%." then return nil end
  local path = package.searchpath(name, package.path)
  local file <close> = path and io.open(path, "rb")
  if file then return file:read "a" end
  return inside(name) or docs_of_core()[name]
end

local function module_of_chunk(chunk)
  local name = chunk:match "^@%[p2pd%]/lua/(.+)%.lua$"
  return name and (name:gsub("/init$", ""):gsub("/", "."))
end

local function source_of_chunk(chunk)
  local module = module_of_chunk(chunk)
  if module then return source_of_module(module) end
  local file <close> = chunk:sub(1, 1) == "@" and io.open(chunk:sub(2), "rb")
  return file and file:read "a" or nil
end

local read = {} -- by module

local function documented(module)
  if read[module] == nil then
    local source = source_of_module(module)
    read[module] = source and doc.read(source) or false
  end
  return read[module] or nil
end

-- -- finding

local function find_item(list, name)
  for _, item in ipairs(list or {}) do
    if item.name == name then return item end
  end
end

local function find_by_line(fn)
  local info = debug.getinfo(fn, "S")
  local source = info.what ~= "C" and source_of_chunk(info.source)
  for _, item in ipairs(source and doc.read(source) or {}) do
    if item.line == info.linedefined then return item end
  end
end

local function loaded_modules()
  local names = {}
  for name in pairs(package.loaded) do
    local is_ours = type(name) == "string" and name:find "^p2pd" and not name:find "^p2pd%.core"
    if is_ours then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

-- A function that is not Lua, or that a module names as its own: by the module that has it.
local function find_by_field(value)
  for _, name in ipairs(loaded_modules()) do
    local module = package.loaded[name]
    for key, field in next, type(module) == "table" and module or {} do
      local item = field == value and type(key) == "string" and find_item(documented(name), key)
      if item and item.is_function then return item end
    end
  end
end

-- "p2pd.task" -> "p2pd.core.task", "p2pd.tcp.listener" -> "p2pd.core.tcp"
local function core_module_of(class)
  local name = class:gsub("^p2pd%.", "p2pd.core.")
  if documented(name) then return name end
  name = name:gsub("%.[^.]*$", "")
  return name ~= "p2pd.core" and documented(name) and name or nil
end

-- A method of an object that C makes: by the class that has it.
local function find_core_method(value)
  for class, meta in next, debug.getregistry() do
    local methods = type(class) == "string" and class:find "^p2pd%." and type(meta) == "table"
      and rawget(meta, "__index")
    for name, method in next, type(methods) == "table" and methods or {} do
      local module = method == value and core_module_of(class)
      local item = module and find_item(documented(module), name)
      if item then return item end
    end
  end
end

-- A function of p2pd.core.
local function find_core_function(value)
  for part, functions in next, package.loaded["p2pd.core"] or {} do
    for name, fn in next, type(functions) == "table" and functions or {} do
      local item = fn == value and find_item(documented("p2pd.core." .. tostring(part)), name)
      if item then return item end
    end
  end
end

local function find_function(fn)
  return find_by_line(fn) or find_by_field(fn) or find_core_method(fn) or find_core_function(fn)
end

local function find_module(value)
  for _, name in ipairs(loaded_modules()) do
    if package.loaded[name] == value then return name end
  end
  local meta = debug.getmetatable(value)
  local name = type(meta) == "table" and rawget(meta, "__name")
  if type(name) ~= "string" then return nil end
  return type(value) == "userdata" and core_module_of(name) or documented(name) and name or nil
end

-- "pipe:read", "p2pd.task.race", "node.connect", "p2pd.sleep"
local function find_named(name)
  local owner, last = name:match "^(.-)[.:]([%w_]+)$"
  if not owner then return nil end
  local found
  for _, module in ipairs { owner, "p2pd." .. owner, "p2pd.core." .. owner } do
    local item = find_item(documented(module), last)
    if item and item.is_function then return item end
    found = found or item
  end
  local loaded = package.loaded[owner]
  local value = type(loaded) == "table" and rawget(loaded, last)
  local of_value = type(value) == "function" and find_function(value)
  return of_value or found
end

-- -- telling

local function wrap(out, words, width, first, rest)
  for _, line in ipairs(text.wrap(words, width, first, rest or first)) do out[#out + 1] = line end
end

-- Paragraphs; an item of a list is one.
local function add_text(out, lines, width, indent)
  local paragraph = {}
  local function flush()
    if #paragraph > 0 then wrap(out, table.concat(paragraph, " "), width, indent) end
    paragraph = {}
  end
  for _, line in ipairs(lines) do
    if line:find "^%s*$" or line:find "^%s*%- " then flush() end
    if line:find "%S" then paragraph[#paragraph + 1] = line:match "^%s*(.-)%s*$" end
  end
  flush()
end

local function add_param(out, param, width)
  local notes = param.type
  if param.optional then
    local default = param.default and ": " .. param.default or ""
    notes = notes .. (notes ~= "" and ", " or "") .. "optional" .. default
  end
  local head = notes ~= "" and ("%s (%s)"):format(param.name, notes) or param.name
  wrap(out, ("%s  %s"):format(head, param.text), width, "    ", "      ")
end

local function add_usage(out, usage)
  out[#out + 1] = "  for example"
  for line in usage:gmatch "[^\n]+" do out[#out + 1] = "    " .. line end
end

local function tell_item(item, width)
  local out = { item.is_function and item.call or item.name }
  add_text(out, item.text, width, "  ")
  for _, param in ipairs(item.params) do add_param(out, param, width) end
  for _, what in ipairs(item.returns) do wrap(out, "returns " .. what, width, "  ", "    ") end
  if item.raises then wrap(out, "raises " .. item.raises, width, "  ", "    ") end
  if item.usage then add_usage(out, item.usage) end
  return table.concat(out, "\n") .. "\n"
end

local function first_sentence(lines)
  local all = table.concat(lines, " ")
  return all:match "^(.-%.)%s" or all
end

local function add_summary(out, head, lines, width)
  if #head > 26 then
    out[#out + 1] = "  " .. head
    head = ""
  end
  wrap(out, first_sentence(lines), width, ("  %-26s  "):format(head), (" "):rep(30))
end

local function is_listed(names, name)
  if not names then return true end
  for _, listed in ipairs(names) do
    if listed == name then return true end
  end
  return false
end

-- Of an object just what its class lists.
local function tell_module(name, width, names)
  local list = documented(name)
  local out = { name }
  if list.module then add_text(out, list.module.text, width, "  ") end
  for _, item in ipairs(list) do
    if not item.is_local and is_listed(names, item.name) then
      add_summary(out, item.is_function and item.call or item.name, item.text, width)
    end
  end
  return table.concat(out, "\n") .. "\n"
end

local function overview(width)
  local out = {}
  for line in ABOUT:gmatch "[^\n]+" do out[#out + 1] = line end
  for _, name in ipairs(PUBLIC) do
    local list = documented(name)
    if list and list.module then add_summary(out, name, list.module.text, width) end
  end
  return table.concat(out, "\n") .. "\n"
end

local function tell_named(name, width)
  local item = find_named(name)
  if item then return tell_item(item, width) end
  for _, module in ipairs { name, "p2pd." .. name } do
    if documented(module) then return tell_module(module, width) end
  end
end

--- What there is to say.
-- @tparam integer width columns
-- @param[opt] value a function, an object, a module, or a name: "pipe:read", "p2pd.task"; none: an overview
-- @treturn ?string lines; nil: nothing is known of it
function help.text(width, ...)
  if select("#", ...) == 0 then return overview(width) end
  local value = ...
  if type(value) == "string" then return tell_named(value, width) end
  if type(value) == "function" then
    local item = find_function(value)
    return item and tell_item(item, width)
  end
  local module = find_module(value)
  return module and tell_module(module, width, members.listed(value))
end

return help
