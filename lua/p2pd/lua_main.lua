--- The executable's command line: Lua's own, and p2pd's commands.
-- It all happens in one task, so `-e`, scripts and commands can wait.
-- @module p2pd.lua_main
local core = require "p2pd.core"
local usage = require "p2pd.cli.usage"

local lua_main = {}

-- -- options ------------------------------------------------------------------------------------------------

local FLAGS = { E = true, W = true, i = true, v = true }

local function new_options()
  return { steps = {}, flags = {} }
end

-- One option at argv[i]; returns the next index, or nil and what is wrong.
local function parse_option(options, argv, i)
  local letter, value = argv[i]:match "^%-(.)(.*)$"
  if FLAGS[letter] and value == "" then
    options.flags[letter] = true
    if letter == "W" then
      table.insert(options.steps, { kind = "W" })
    end
    return i + 1
  elseif letter ~= "e" and letter ~= "l" then
    return nil, ("unrecognized option '%s'"):format(argv[i])
  end
  local option = argv[i]
  if value == "" then
    i = i + 1
    value = argv[i]
  end
  if not value or value:sub(1, 1) == "-" and option == "-" .. letter then
    return nil, ("'%s' needs argument"):format(option)
  end
  options.has_code = options.has_code or letter == "e"
  table.insert(options.steps, { kind = letter, value = value })
  return i + 1
end

local LONG = { ["-h"] = "help", ["--help"] = "help", ["--version"] = "version" }

--- Reads a command line as lua does.
-- @tparam table argv arguments from 1 on, the program's name at 0
-- @treturn ?table flags (E W i v), steps (-e, -l and -W in order), script (an index into argv),
--  after_dashes, long ("help" or "version")
-- @treturn ?string what is wrong
function lua_main.parse(argv)
  local options, i = new_options(), 1
  while argv[i] and argv[i]:sub(1, 1) == "-" and argv[i] ~= "-" do
    if LONG[argv[i]] then
      options.long = LONG[argv[i]]
      return options
    elseif argv[i] == "--" then
      options.after_dashes, i = true, i + 1
      break
    end
    local next_index, wrong = parse_option(options, argv, i)
    if not next_index then
      return nil, wrong
    end
    i = next_index
  end
  options.script = argv[i] and i or nil
  return options
end

-- -- running ------------------------------------------------------------------------------------------------

local function complain(message)
  io.stdout:flush()
  io.stderr:write("p2pd: ", message, "\n")
  return 1
end

local function is_interruption(message)
  return type(message) == "string" and message:find "interrupted!$" ~= nil
end

local function describe(err)
  local meta = getmetatable(err)
  if type(err) == "string" or type(err) == "number" or type(meta) == "table" and meta.__tostring then
    return tostring(err)
  end
  return ("(error object is a %s value)"):format(type(err))
end

-- The frames below the chunk are this module's: a reader of the traceback has no use for them.
local function trim(trace)
  local above = trace:match "^(.*)\n\t%[C%]: in function 'xpcall'\n"
  return above and above .. "\n\t[C]: in ?" or trace
end

local function with_traceback(err)
  local meta = getmetatable(err)
  if is_interruption(err) or type(meta) == "table" and meta.__tostring then
    return err
  end
  return trim(debug.traceback(describe(err), 2))
end

-- Calls fn; false when it failed and was reported. An interrupt goes on to the executable.
local function call(fn, ...)
  local ok, err = xpcall(fn, with_traceback, ...)
  if ok then
    return true, err
  elseif is_interruption(err) then
    error(err, 0)
  end
  complain(describe(err))
  return false
end

local function run_chunk(chunk, wrong, ...)
  if not chunk then
    complain(wrong)
    return false
  end
  return call(chunk, ...)
end

-- -l: a suffix after "-" is a version, which is no part of the global's name.
local function require_into(argument)
  local name, module = argument:match "^([^=]*)=(.*)$"
  name, module = name or argument:match "^[^-]*", module or argument
  local ok, value = call(require, module)
  if ok then
    _G[name] = value
  end
  return ok
end

local STEPS = {
  e = function(code) return run_chunk(load(code, "=(command line)")) end,
  l = require_into,
  W = function()
    warn "@on"
    return true
  end,
}

local function run_steps(steps)
  for _, step in ipairs(steps) do
    if not STEPS[step.kind](step.value) then
      return false
    end
  end
  return true
end

local function run_init()
  for _, name in ipairs { "LUA_INIT_5_4", "LUA_INIT" } do
    local code = os.getenv(name)
    if code and code:sub(1, 1) == "@" then
      return run_chunk(loadfile(code:sub(2)))
    elseif code then
      return run_chunk(load(code, "=" .. name))
    end
  end
  return true
end

-- p2pd is a global of scripts and of -e; it takes time to load, so only who uses it waits for it.
local function provide_p2pd()
  setmetatable(_G, { __index = function(globals, name)
    if name ~= "p2pd" then return nil end
    setmetatable(globals, nil)
    globals.p2pd = require "p2pd"
    return globals.p2pd
  end })
end

local function make_arg(argv, first)
  local t = {}
  for i = 0, #argv do
    t[i - (first or 0)] = argv[i]
  end
  return t
end

-- -- scripts and commands -------------------------------------------------------------------------------

local function is_command(name)
  if not name:find "^[%w_-]+$" then
    return false
  end
  for _, command in ipairs(require("p2pd.cli").commands()) do
    if command.name == name then
      return true
    end
  end
  return false
end

local function exists(path)
  local file = io.open(path)
  return file ~= nil and file:close()
end

local function refuse(name)
  return complain(('no such command or file "%s"; `p2pd help` lists the commands'):format(name))
end

local function run_command(name, arguments)
  local ok, status = call(require("p2pd.cli").main, name, arguments)
  return ok and (status or 0) or 1
end

-- No path: stdin.
local function run_script(path, arguments)
  local chunk, wrong = loadfile(path)
  return run_chunk(chunk, wrong, table.unpack(arguments)) and 0 or 1
end

local function help_on(name)
  if not name then
    return lua_main.help()
  end
  return is_command(name) and run_command(name, { "--help" }) or refuse(name)
end

-- The first word that is no option: a command, or else a file.
local function run_word(options, argv)
  local word = argv[options.script]
  local arguments = { table.unpack(argv, options.script + 1) }
  if options.after_dashes then
    return run_script(word, arguments)
  elseif word == "-" then
    return run_script(nil, arguments)
  elseif is_command(word) then
    return run_command(word, arguments)
  elseif word == "help" then
    return help_on(arguments[1])
  end
  return exists(word) and run_script(word, arguments) or refuse(word)
end

--- Shows how to call p2pd, on stdout.
-- @treturn int the exit status
function lua_main.help()
  local ok, cli = pcall(require, "p2pd.cli")
  io.stdout:write(ok and usage.long(cli.commands()) or usage.short())
  return ok and 0 or complain(cli)
end

local function show_version()
  io.stdout:write(("p2pd %s (%s)\n"):format(require "p2pd.version", _VERSION))
  return 0
end

local function run_repl(options)
  local repl = require "p2pd.repl"
  if core.editline.is_terminal() then
    if not options.flags.v then
      show_version()
    end
    io.stdout:write(repl.BANNER)
  end
  repl.run()
  return 0
end

-- When no word is given and nothing else was to do: the REPL on a terminal, else stdin as a script.
local function run_stdin(options)
  if options.has_code or options.flags.v then
    return 0
  end
  return core.editline.is_terminal() and run_repl(options) or run_script(nil, {})
end

--- Does what a command line says; in a task.
-- @tparam table argv arguments from 1 on, the program's name at 0
-- @treturn int the exit status
function lua_main.main(argv)
  local options, wrong = lua_main.parse(argv)
  if not options then
    complain(wrong)
    io.stderr:write(usage.short())
    return 1
  elseif options.long then
    return options.long == "help" and lua_main.help() or show_version()
  end
  if options.flags.v then
    show_version()
  end
  _G.arg = make_arg(argv, options.script)
  provide_p2pd()
  if not options.flags.E and not run_init() or not run_steps(options.steps) then
    return 1
  end
  local status = options.script and run_word(options, argv) or 0
  if options.flags.i and status == 0 then
    return run_repl(options)
  end
  return options.script and status or run_stdin(options)
end

return lua_main
