--- Other programs: their standard streams are streams of ours.
-- @module p2pd.process
-- @usage
-- local sort <close> = assert(p2pd.process.spawn { "sort", "-n", stdin = "pipe", stdout = "pipe" })
-- sort:stdin():write "3\n1\n2\n"
-- sort:stdin():close()
-- print(sort:stdout():read "a", sort:wait())
local core = require "p2pd.core"
local options = require "p2pd.options"

local process = {}

local function one_of(...)
  local set, names = {}, { ... }
  for _, name in ipairs(names) do set[name] = true end
  return { "one of " .. table.concat(names, ", "), function(value) return set[value] or false end }
end

local OPTIONS = {
  stdin = one_of("null", "pipe", "inherit"),
  stdout = one_of("inherit", "pipe", "null"),
  stderr = one_of("inherit", "pipe", "null", "stdout"),
  env = options.is_a "table",
  cwd = options.is_a "string",
  foreground = options.BOOLEAN,
}

-- The options without the program and its arguments.
local function named(given)
  local found = {}
  for key, value in pairs(given) do
    if math.type(key) ~= "integer" then found[key] = value end
  end
  return found
end

--- Runs a program. It dies with us, has its own process group and default signals.
-- @tparam table given the program, looked up in PATH, and its arguments as a list; `stdin`: "null" (default),
-- "pipe" or "inherit"; `stdout` and `stderr`: "inherit" (default), "pipe" or "null", and "stdout" for a
-- stderr that goes where stdout goes; `env`: variables by name, added to ours; `cwd`: its folder;
-- `foreground`: true for a program that talks to the user
-- @treturn p2pd.process with `:stdin()`, `:stdout()` and `:stderr()` (streams, or nil), `:wait([timeout])`
-- ("exit" and its status, or "signal" and its number), `:kill([signal])`, `:pid()` and `:close()`; or nil,
-- message, code when it cannot be run
-- @raise for an option that is not known or of a wrong kind
function process.spawn(given)
  if type(given) == "table" then
    options.check(named(given), OPTIONS, "process.spawn")
  else
    options.check(given, OPTIONS, "process.spawn")
  end
  return core.process.spawn(given)
end

return process
