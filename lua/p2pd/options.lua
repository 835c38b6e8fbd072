--- Options that are passed as tables by name: what is misspelt or of a wrong kind is an error at once.
-- @module p2pd.options
local options = {}

--- The option is a value of a Lua type.
-- @tparam string kind
-- @treturn table
function options.is_a(kind)
  return { "a " .. kind, function(value) return type(value) == kind end }
end

--- The option is true or false.
options.BOOLEAN = { "true or false", function(value) return type(value) == "boolean" end }

--- The option is a number of seconds.
options.SECONDS = { "a number of seconds", function(value)
  return type(value) == "number" and value >= 0
end }

--- The option is a port, 0 for any.
options.PORT = { "an integer from 0 to 65535", function(value)
  return math.type(value) == "integer" and value >= 0 and value <= 65535
end }

--- Options of which some are replaced, each as a whole.
-- @tparam table base
-- @tparam[opt] table over
-- @treturn table a new one; neither argument is changed
function options.merge(base, over)
  local merged = {}
  for key, value in pairs(base) do merged[key] = value end
  for key, value in pairs(over or {}) do merged[key] = value end
  return merged
end

--- Checks options.
-- @tparam any given what the caller passed
-- @tparam table known by name: what it has to be, in words, and a function that says whether it is
-- @tparam string who whose options they are
-- @tparam[opt=2] integer level as for `error`
-- @raise for what is not known, or of a wrong kind
function options.check(given, known, who, level)
  level = (level or 2) + 1
  if type(given) ~= "table" then
    error(("%s: options are a table, and not %s"):format(who, tostring(given)), level)
  end
  for name, value in pairs(given) do
    local option = known[name]
    if not option then error(("%s: no option is called %s"):format(who, tostring(name)), level) end
    if not option[2](value) then
      error(("%s: %s is %s, and not %s"):format(who, name, tostring(value), option[1]), level)
    end
  end
end

return options
