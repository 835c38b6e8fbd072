--- What an object has for people to see: the names that its class lists, without what is internal.
--
-- A metatable may have `__dir`: a list of names, or a function of the object that returns one. Completion
-- offers just these, and an object is shown with those of them that are no functions. Only what is listed
-- there is ever read through an `__index` function.
-- @module p2pd.repl.members
local members = {}

local DEPTH_MAX = 16 -- of chained __index tables

local function meta_field(value, name)
  local meta = debug.getmetatable(value)
  return type(meta) == "table" and rawget(meta, name) or nil
end

--- The names that an object's class lists.
-- @param value
-- @treturn ?{string,...} nil: it lists none
function members.listed(value)
  local dir = meta_field(value, "__dir")
  if type(dir) == "function" then
    local ok, names = pcall(dir, value)
    dir = ok and names
  end
  return type(dir) == "table" and dir or nil
end

--- Calls visit(table) for the value, if it is a table, and for what its `__index` tables lead to.
-- @param value
-- @tparam function visit
function members.each_table(value, visit)
  for _ = 1, DEPTH_MAX do
    if type(value) == "table" then visit(value) end
    value = meta_field(value, "__index")
    if type(value) ~= "table" then return end
  end
end

local function raw_field(value, key)
  local found
  members.each_table(value, function(t)
    if found == nil then found = rawget(t, key) end
  end)
  return found
end

local function is_listed(value, key)
  for _, name in ipairs(members.listed(value) or {}) do
    if name == key then return true end
  end
  return false
end

--- A field of a value. No `__index` function is called, unless the class lists the name.
-- @param value
-- @tparam string key
-- @return nil: there is none, or it cannot be read
function members.field(value, key)
  local found = raw_field(value, key)
  if found ~= nil or not is_listed(value, key) then return found end
  local ok, read = pcall(function() return value[key] end)
  return ok and read or nil
end

--- The fields that an object's class lists and that are no functions.
-- @param value
-- @treturn ?table by name; nil: it lists none
function members.fields(value)
  local listed = members.listed(value)
  if not listed then return nil end
  local fields = {}
  for _, name in ipairs(listed) do
    local field = members.field(value, name)
    if type(field) ~= "function" then fields[name] = field end
  end
  return fields
end

return members
