--- What the commands' parsers tell, for the manual and the completion.
local cli = require "p2pd.cli"

local commands = {}

-- argparse offers its help as text only; this is the one place that looks at what it is made of.
local function describe_option(option)
  return {
    names = option._public_aliases,
    argument = option._maxargs ~= 0 and option:_get_argname(1) or nil,
    choices = option._choices,
    text = option._description,
    default = option._maxargs ~= 0 and option._default or nil,
  }
end

local function describe_argument(argument)
  return { name = argument:_get_argname(1), text = argument._description }
end

local function map(list, fn)
  local result = {}
  for i, value in ipairs(list) do result[i] = fn(value) end
  return result
end

local function describe(command)
  local parser = cli.parser_of(command.name)
  return {
    name = command.name,
    summary = command.summary,
    usage = parser:get_usage():gsub("^Usage: ", ""):gsub("%s+", " "),
    description = parser._description,
    epilog = parser._epilog,
    options = map(parser._options, describe_option),
    arguments = map(parser._arguments, describe_argument),
  }
end

--- All commands, sorted by name.
-- @treturn {table,...} name, summary, usage, description, epilog (or nil), arguments (name, text) and options
-- (names, argument, choices, text, default)
function commands.all()
  return map(cli.commands(), describe)
end

return commands
