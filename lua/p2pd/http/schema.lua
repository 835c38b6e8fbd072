--- The part of JSON Schema that our descriptions use: what a request's body or query has to be, and what an
-- answer is. Pure.
-- @module p2pd.http.schema
local json = require "dkjson"

local schema = {}

-- What the decoder has said it is; a table of our own that is empty may be either.
local function json_type(value)
  local meta = getmetatable(value)
  return type(meta) == "table" and meta.__jsontype or #value > 0 and "array" or next(value) ~= nil
    and "object"
end

local function is_array(value)
  return json_type(value) == "array"
end

local IS = {
  string = function(value) return type(value) == "string" end,
  boolean = function(value) return type(value) == "boolean" end,
  number = function(value) return type(value) == "number" end,
  integer = function(value) return math.type(value) == "integer" or type(value) == "number"
    and value % 1 == 0 end,
  object = function(value) return type(value) == "table" and value ~= json.null and not is_array(value) end,
  array = function(value)
    return type(value) == "table" and value ~= json.null and json_type(value) ~= "object"
  end,
  null = function(value) return value == nil or value == json.null end,
}

local function has_type(value, kinds)
  if type(kinds) == "string" then return IS[kinds](value) end
  for _, kind in ipairs(kinds) do
    if IS[kind](value) then return true end
  end
  return false
end

local function kinds_of(kinds)
  return type(kinds) == "string" and kinds or table.concat(kinds, " or ")
end

local function contains(list, value)
  for _, one in ipairs(list) do
    if one == value then return true end
  end
  return false
end

local find_fault

local function find_object_fault(value, about, where, known)
  for _, name in ipairs(about.required or {}) do
    if value[name] == nil then return ("%s.%s is missing"):format(where, name) end
  end
  for name, one in pairs(value) do
    local property = about.properties and about.properties[name]
    if property then
      local fault = find_fault(one, property, where .. "." .. name, known)
      if fault then return fault end
    elseif about.additionalProperties == false then
      return ("%s has no property %s"):format(where, tostring(name))
    elseif type(about.additionalProperties) == "table" then
      local fault = find_fault(one, about.additionalProperties, where .. "." .. tostring(name), known)
      if fault then return fault end
    end
  end
end

local function find_range_fault(value, about, where)
  if about.minimum and value < about.minimum or about.maximum and value > about.maximum then
    return ("%s is not from %s to %s"):format(where, about.minimum or "any", about.maximum or "any")
  end
end

local function find_length_fault(value, about, where)
  if about.minLength and #value < about.minLength then return where .. " is too short" end
  if about.maxLength and #value > about.maxLength then return where .. " is too long" end
end

local function find_items_fault(value, about, where, known)
  if about.maxItems and #value > about.maxItems then return where .. " has too many items" end
  for i, one in ipairs(value) do
    local fault = find_fault(one, about.items or {}, ("%s[%d]"):format(where, i - 1), known)
    if fault then return fault end
  end
end

function find_fault(value, about, where, known)
  if about["$ref"] then about = known[about["$ref"]:match "[^/]+$"] end
  if about.type and not has_type(value, about.type) then
    return ("%s is not of type %s"):format(where, kinds_of(about.type))
  end
  if about.enum and not contains(about.enum, value) then
    return ("%s is none of %s"):format(where, table.concat(about.enum, ", "))
  end
  if type(value) == "number" then return find_range_fault(value, about, where) end
  if type(value) == "string" then return find_length_fault(value, about, where) end
  if type(value) ~= "table" or value == json.null then return nil end
  if is_array(value) then return find_items_fault(value, about, where, known) end
  return find_object_fault(value, about, where, known)
end

--- What is wrong with a value, or nil.
-- @param value as dkjson decodes it
-- @tparam table about the schema
-- @tparam string where what errors call the value
-- @tparam[opt] table known schemas by name, for `$ref`
-- @treturn ?string
function schema.find_fault(value, about, where, known)
  return find_fault(value, about, where, known or {})
end

--- A text as a value of the schema's type: parameters are texts.
-- @tparam string value
-- @tparam table about
function schema.from_text(value, about)
  if about.type == "integer" then return math.tointeger(tonumber(value)) or value end
  if about.type == "number" then return tonumber(value) or value end
  if about.type == "boolean" then
    if value == "true" or value == "" then return true end
    return value ~= "false" and value
  end
  return value
end

return schema
