--- What could follow what is typed at the prompt: names of globals and, after `.` or `:`, of fields.
-- Looking calls nothing: tables are read raw and only through `__index` tables. Classes may say more, see
-- @{p2pd.repl.members}.
-- @module p2pd.repl.completion
local keywords = require "p2pd.repl.keywords"
local members = require "p2pd.repl.members"

local completion = {}

-- "a.b:c" -> the value of a.b, "c"
local function resolve(env, path)
  local value, rest = env, path
  while true do
    local name, after = rest:match "^([%a_][%w_]*)[.:](.*)$"
    if not name then
      return value, rest
    end
    value, rest = members.field(value, name), after
    if value == nil then
      return nil, rest
    end
  end
end

local function add(names, key, prefix)
  if type(key) == "string" and key:find "^[%a_][%w_]*$" and key:sub(1, #prefix) == prefix then
    names[key] = true
  end
end

local function collect(names, t, prefix)
  for key in next, t do
    add(names, key, prefix)
  end
end

-- After `:` come functions only.
local function collect_listed(names, value, listed, prefix, is_call)
  for _, key in ipairs(listed) do
    if not is_call or type(members.field(value, key)) == "function" then
      add(names, key, prefix)
    end
  end
end

local function sorted(set)
  local list = {}
  for name in next, set do
    list[#list + 1] = name
  end
  table.sort(list)
  return list
end

local function common_prefix(list)
  local first, last = list[1], list[#list]
  local n = 0
  while n < #first and first:byte(n + 1) == last:byte(n + 1) do
    n = n + 1
  end
  return first:sub(1, n)
end

--- Completes the name that ends a text.
-- @tparam table env where globals are looked up
-- @tparam string text what stands before the cursor
-- @treturn string what all candidates have in common beyond the text, perhaps ""
-- @treturn {string,...} the candidates' last names, sorted
function completion.complete(env, text)
  local path = text:match "[%w_.:]*$"
  if path:find "^[%d.:]" then
    return "", {}
  end
  local value, prefix = resolve(env, path)
  local names = {}
  local listed = members.listed(value)
  if listed then
    collect_listed(names, value, listed, prefix, path:find ":[^.:]*$" ~= nil)
  else
    members.each_table(value, function(t) collect(names, t, prefix) end)
  end
  if value == env then
    collect(names, keywords, prefix)
  end
  local list = sorted(names)
  if #list == 0 then
    return "", list
  end
  return common_prefix(list):sub(#prefix + 1), list
end

--- Lays names out in columns, as `ls` does.
-- @tparam {string,...} names
-- @tparam int width of the terminal
-- @treturn string lines, each ended
function completion.columns(names, width)
  local widest = 0
  for _, name in ipairs(names) do
    widest = math.max(widest, #name + 2)
  end
  local columns = math.max(1, width // widest)
  local rows = (#names + columns - 1) // columns
  local lines = {}
  for row = 1, rows do
    local cells = {}
    for i = row, #names, rows do
      cells[#cells + 1] = names[i] .. (" "):rep(widest - #names[i])
    end
    lines[row] = table.concat(cells):gsub("%s+$", "") .. "\n"
  end
  return table.concat(lines)
end

return completion
