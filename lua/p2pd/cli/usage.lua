--- What there is to say about the program itself: its help, its man page and its completion are made of this,
-- and of the parsers of its commands.
-- @module p2pd.cli.usage
local text = require "p2pd.text"

local usage = {}

usage.PURPOSE = "one pipe between two programs, wherever they sit"

usage.SYNOPSIS = { "[options] [script [args]]", "COMMAND [args]" }

usage.DESCRIPTION = [[
Without arguments, p2pd reads Lua from a terminal, line by line, and from anything else as a script. With the
name of a file it runs that script, as lua does; all of it happens in a task, so that scripts may wait for
peers. With the name of a command it does what that command is for. What a command finds goes to standard
output, what it has to say to people goes to standard error.]]

--- The options, as lua has them: flag, argument, text.
usage.OPTIONS = {
  { "-e", "stat", "execute string 'stat'" },
  { "-i", nil, "enter interactive mode after executing 'script'" },
  { "-l", "mod", "require library 'mod' into global 'mod'" },
  { "-l", "g=mod", "require library 'mod' into global 'g'" },
  { "-v", nil, "show version information" },
  { "-E", nil, "ignore environment variables" },
  { "-W", nil, "turn warnings on" },
  { "--", nil, "stop handling options: what follows is a script, never a command" },
  { "-", nil, "stop handling options and execute stdin" },
  { "-h", nil, "the same as --help" },
  { "--help", nil, "show this text; p2pd COMMAND --help tells more about a command" },
  { "--version", nil, "show the version" },
}

--- The environment variables: name, text.
usage.ENVIRONMENT = {
  { "P2PD_SETTINGS", "a Lua file that replaces keys of the settings" },
  { "P2PD_LOG", "what is said on stderr: debug, info, warn or error" },
  { "P2PD_SKEW", "seconds that the system's clock is taken to be ahead, to try a wrong one" },
  { "LUA_INIT", "Lua code, or @ and a file, that is run first; LUA_PATH, LUA_CPATH as lua has them" },
  { "XDG_CONFIG_HOME", "where p2pd/ with contacts.lua and the settings.lua of this user is (~/.config)" },
  { "XDG_DATA_HOME", "where p2pd/ with the nodes' keys is (~/.local/share)" },
}

local WIDTH = 80
local FIRST = "  %-15s "

local function add_rows(lines, title, rows)
  lines[#lines + 1] = title .. "\n"
  for _, row in ipairs(rows) do
    local first = FIRST:format(row[1])
    for _, line in ipairs(text.wrap(row[2], WIDTH, first, (" "):rep(#first))) do
      lines[#lines + 1] = line .. "\n"
    end
  end
end

--- How to call p2pd, and its options.
-- @treturn string
function usage.short()
  local lines, rows = {}, {}
  for i, form in ipairs(usage.SYNOPSIS) do
    lines[i] = ("%s p2pd %s\n"):format(i == 1 and "usage:" or "      ", form)
  end
  for i, option in ipairs(usage.OPTIONS) do
    rows[i] = { option[1] .. (option[2] and " " .. option[2] or ""), option[3] }
  end
  add_rows(lines, "Available options are:", rows)
  return table.concat(lines)
end

--- All of `p2pd --help`.
-- @tparam {table,...} commands name, summary
-- @treturn string
function usage.long(commands)
  local lines, rows = { usage.short() }, {}
  for i, command in ipairs(commands) do rows[i] = { command.name, command.summary } end
  add_rows(lines, "Commands (p2pd COMMAND --help tells more):", rows)
  add_rows(lines, "Environment:", usage.ENVIRONMENT)
  return table.concat(lines)
end

return usage
