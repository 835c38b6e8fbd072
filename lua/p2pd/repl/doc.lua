--- The documentation in Lua sources, as LDoc reads it, for @{p2pd.repl.help}. Pure.
-- @module p2pd.repl.doc
local doc = {}

-- "tparam[opt=20] number timeout seconds" -> an entry of the item
local function add_tag(item, tag, rest)
  local name, modifier = tag:match "^(%w+)(.*)$"
  if name == "tparam" or name == "param" then
    local kind, word, text = "", rest:match "^(%S+)%s*(.*)$"
    if name == "tparam" then kind, word, text = rest:match "^(%S+)%s+(%S+)%s*(.*)$" end
    local default = modifier:match "=([^%]]*)"
    table.insert(item.params, { name = word or rest, type = kind or "", text = text or "",
      optional = modifier:find "opt" ~= nil, default = default })
  elseif name == "treturn" or name == "return" then
    table.insert(item.returns, rest)
  elseif name == "raise" then
    item.raises = rest
  elseif name == "usage" then
    item.usage = rest
  elseif name == "module" or name == "classmod" then
    item.module = rest
  elseif name == "function" then
    item.name, item.is_function = rest, true
  elseif name == "local" then
    item.is_local = true
  end
end

-- `@{p2pd.node}` is p2pd.node.
local function without_links(text)
  return (text:gsub("@{([^}|]*)[^}]*}", "%1"))
end

local function new_item()
  return { params = {}, returns = {}, text = {} }
end

-- The lines of a comment, without their dashes.
local function parse_block(lines)
  local item, tag, rest = new_item(), nil, nil
  local function finish()
    if tag then add_tag(item, tag, rest) end
  end
  for _, line in ipairs(lines) do
    local found, after = line:match "^%s*@([%a]+%b[])%s*(.*)$"
    if not found then found, after = line:match "^%s*@(%a+)%s*(.*)$" end
    if found then
      finish()
      tag, rest = found, without_links(after)
    elseif tag then
      local is_code = tag == "usage"
      rest = rest .. (is_code and (rest == "" and "" or "\n") or " ") ..
        (is_code and line or without_links(line):match "^%s*(.-)%s*$")
    else
      table.insert(item.text, without_links(line))
    end
  end
  finish()
  return item
end

-- What the code below a comment defines: a name, "" or "." or ":" with the table's name, the parameters.
local function parse_definition(line)
  local path, arguments = line:match "function%s+([%w_.:]+)%s*(%b())"
  if not path then
    path = line:match "^%s*([%w_.]+)%s*=[^=]"
    arguments = line:match "=%s*function%s*(%b())"
  end
  if not path then return {} end
  local owner, mark, name = path:match "^([%w_.]-)([.:])([%w_]+)$"
  return { owner = owner, mark = mark, name = name or path, arguments = arguments }
end

-- `node:connect(address)` for methods of the class; `task.race(fns)` for a module's functions.
local function call_of(item, module)
  local short = (module or ""):match "[^.]*$"
  local name, owner = item.name, item.owner
  if not owner and short ~= "" then return short .. "." .. name .. item.arguments end
  if not owner then return name .. item.arguments end
  if item.mark == ":" and (owner == "methods" or owner:lower() == short) then owner = short end
  if name == "new" and module == "p2pd.node" then return "p2pd.node" .. item.arguments end
  return owner:lower() .. item.mark .. name .. item.arguments
end

local function arguments_of(item, defined)
  if defined.arguments then return defined.arguments end
  local names = {}
  for i, param in ipairs(item.params) do names[i] = param.name end
  return "(" .. table.concat(names, ", ") .. ")"
end

local function define(item, line, number, module)
  local defined = parse_definition(line)
  if item.name and item.name:find "[.:]" then defined = parse_definition("function " .. item.name .. "()") end
  if defined.arguments == "()" and item.name then defined.arguments = nil end
  item.name, item.line = defined.name or item.name, number
  if not item.name then return end
  item.owner, item.mark = defined.owner, defined.mark
  item.is_function = item.is_function or defined.arguments ~= nil or #item.params + #item.returns > 0
  item.arguments = arguments_of(item, defined)
  item.call = call_of(item, module)
end

local function lines_of(source)
  local lines = {}
  for line in (source .. "\n"):gmatch "(.-)\n" do lines[#lines + 1] = line end
  return lines
end

-- The comment that begins at a line, and the number of the line below it.
local function take_block(lines, at)
  local block = { (lines[at]:gsub("^%s*%-%-%-+ ?", "")) }
  at = at + 1
  while lines[at] and lines[at]:find "^%s*%-%-" and not lines[at]:find "^%s*%-%-%-" do
    block[#block + 1] = lines[at]:gsub("^%s*%-%- ?", "")
    at = at + 1
  end
  return block, at
end

--- Reads a source.
-- @tparam string source
-- @treturn table `module` (the item of the file, or nil) and, in order, the documented items: name, line (of
-- the definition), call (as one writes it), text (list of lines), params (name, type, text, optional,
-- default), returns (list), raises, usage, is_local, is_function
function doc.read(source)
  local result, lines, at = {}, lines_of(source), 1
  while at <= #lines do
    if lines[at]:find "^%s*%-%-%-%s" then
      local block, below = take_block(lines, at)
      local item = parse_block(block)
      if item.module and not result.module then
        result.module = item
      else
        define(item, lines[below] or "", below, result.module and result.module.module)
        if item.name then result[#result + 1] = item end
      end
      at = below
    else
      at = at + 1
    end
  end
  return result
end

return doc
