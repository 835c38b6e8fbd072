--- Checks of fields in a description. Each fault names its field.
-- @module p2pd.lab.checks
local checks = {}

local Fault = {}

--- Ends the check: something is wrong with a field.
-- @tparam string path the field's
-- @tparam string format
-- @param ... its values
function checks.refuse(path, format, ...)
  error(setmetatable({ text = path .. ": " .. format:format(...) }, Fault), 0)
end

--- A value as an error shows it.
-- @treturn string
function checks.show(value)
  return type(value) == "string" and ("%q"):format(value) or tostring(value)
end

--- The keys of a table in the order of their text.
-- @tparam table t
-- @treturn table
function checks.sorted_keys(t)
  local keys = {}
  for key in pairs(t) do keys[#keys + 1] = key end
  table.sort(keys, function(a, b) return tostring(a) < tostring(b) end)
  return keys
end

--- Refuses what is no table.
-- @tparam string path
-- @param value
function checks.require_table(path, value)
  if type(value) ~= "table" then checks.refuse(path, "%s is not a table", checks.show(value)) end
end

--- Refuses fields that are not known.
-- @tparam string path
-- @param value
-- @tparam table known a set
function checks.require_known(path, value, known)
  checks.require_table(path, value)
  for _, key in ipairs(checks.sorted_keys(value)) do
    if not known[key] then checks.refuse(path, "no field is called %s", checks.show(key)) end
  end
end

--- Refuses what is no list, or too long a one.
-- @tparam string path
-- @param value
-- @tparam integer max entries
function checks.require_list(path, value, max)
  checks.require_table(path, value)
  for key in pairs(value) do
    if math.type(key) ~= "integer" or key < 1 or key > #value then
      checks.refuse(path, "%s is no place in a list", checks.show(key))
    end
  end
  if #value > max then checks.refuse(path, "%d entries are more than %d", #value, max) end
end

--- A field that is true or false.
-- @tparam string path
-- @param value nil: the default
-- @tparam boolean default
function checks.boolean(path, value, default)
  if value == nil then return default end
  if type(value) ~= "boolean" then checks.refuse(path, "%s is not true or false", checks.show(value)) end
  return value
end

--- A field that is a number from 0 on.
-- @tparam string path
-- @param value nil: the default
-- @tparam ?number default
-- @tparam number max
function checks.number(path, value, default, max)
  if value == nil then return default end
  if type(value) ~= "number" or not (value >= 0 and value <= max) then
    checks.refuse(path, "%s is not a number from 0 to %g", checks.show(value), max)
  end
  return value
end

--- A field that is an integer.
-- @tparam string path
-- @param value nil: the default
-- @tparam ?integer default
-- @tparam integer min
-- @tparam integer max
function checks.integer(path, value, default, min, max)
  if value == nil then return default end
  if not (math.type(value) == "integer" and value >= min and value <= max) then
    checks.refuse(path, "%s is not an integer from %d to %d", checks.show(value), min, max)
  end
  return value
end

--- Runs a check.
-- @tparam function fn
-- @param ... its arguments
-- @return what it returned; or nil and the fault, with its field
function checks.protect(fn, ...)
  local ok, result = pcall(fn, ...)
  if ok then return result end
  if getmetatable(result) ~= Fault then error(result, 0) end
  return nil, result.text
end

return checks
