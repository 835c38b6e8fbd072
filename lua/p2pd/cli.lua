--- Commands: each is a script of the same name in scripts/, and what those scripts share.
-- @module p2pd.cli
local config = require "p2pd.config"
local core = require "p2pd.core"
local endpoint = require "p2pd.endpoint"
local output = require "p2pd.cli.output"
local p2pd = require "p2pd"
local strategy = require "p2pd.strategy"
local task = require "p2pd.task"
local whom = require "p2pd.whom"

local cli = {}

local WIDTH = 80 -- columns
local wrap_line = require("p2pd.text").wrap

local wanted -- a table while a script is asked for its parser alone

local COMMANDS = {
  { name = "chat", summary = "talk to peers, line by line" },
  { name = "connect", summary = "connect to a peer; standard input and output are the pipe" },
  { name = "contacts", summary = "names for peers" },
  { name = "demo", summary = "two peers, on loopback and behind two NATs, connected by every strategy" },
  { name = "expose", summary = "let peers connect to services of this machine" },
  { name = "forward", summary = "a local port that leads to a peer's service" },
  { name = "id", summary = "show the id of a node's key" },
  { name = "lab", summary = "hosts behind NATs of your choice, on this machine" },
  { name = "listen", summary = "accept a pipe; standard input and output, or a program's, are the pipe" },
  { name = "nat", summary = "what this host's network lets peers do" },
  { name = "node", summary = "run a node that accepts pipes" },
  { name = "ping", summary = "round trips to a peer, over signalling and over a pipe" },
  { name = "recv", summary = "receive files and folders" },
  { name = "send", summary = "send files and folders" },
  { name = "serve", summary = "run a node for programs in any language, over HTTP" },
}

local DRAIN_PAUSE, DRAIN_PAUSE_MAX = 0.001, 0.1 -- seconds between two looks at a queue

cli.OK, cli.FAILED, cli.USAGE = 0, 1, 2
cli.NOT_RUN, cli.SIGNALED = 127, 128 -- of a program that was to be run; plus the signal's number

--- The commands there are.
-- @treturn {table,...} name, summary; sorted by name
function cli.commands()
  return COMMANDS
end

-- A checkout keeps its scripts beside lua/; elsewhere they are modules beside p2pd's own.
local function load_script(name)
  local here = debug.getinfo(1, "S").source:match "^@(.*)lua/p2pd/cli%.lua$"
  local chunk = here and loadfile(here .. "scripts/" .. name .. ".lua")
  if chunk then return chunk end
  for _, searcher in ipairs(package.searchers) do
    local loader, where = searcher("p2pd.scripts." .. name)
    if type(loader) == "function" then
      return function(...) return loader(...), where end
    end
  end
  error(('the script of the command "%s" is missing'):format(name), 0)
end

--- Runs a command.
-- @tparam string name
-- @tparam {string,...} args
-- @treturn integer exit status
function cli.main(name, args)
  return load_script(name)(table.unpack(args)) or cli.OK
end

--- What a command takes, without running it: the parser that its script gives to `parse`.
-- @tparam string name
-- @return an argparse parser
function cli.parser_of(name)
  wanted = {}
  local found <close> = setmetatable(wanted, { __close = function() wanted = nil end })
  load_script(name)()
  return assert(found.parser, name .. " has no parser")
end

--- The program that runs commands: the executable itself, or from plain lua5.4 the one in the path.
function cli.program()
  local inside = pcall(require, "p2pd.embedded")
  return inside and "/proc/self/exe" or os.getenv "P2PD_EXE" or "p2pd"
end

--- Runs a command's main function, see @{p2pd.cli.output.run}.
cli.run = output.run

--- The ways of a command to standard output; there is no other.
cli.write = output.write
cli.print = output.print

local INDENT = "      " -- as wide as "p2pd: "

-- For a terminal, at blanks: what has to be copied whole stays whole.
local function fit(line)
  if #line <= WIDTH or line:find(("%S"):rep(WIDTH - #INDENT)) then return line end
  return table.concat(wrap_line(line, WIDTH, "", INDENT), "\n")
end

--- Writes a line for people; a terminal gets it in lines that are no longer than it is wide.
function cli.say(format, ...)
  local line = "p2pd: " .. format:format(...)
  if core.editline.is_terminal(2) then line = line:gsub("[^\n]+", fit) end
  io.stderr:write(line, "\n")
end

--- Says that an address is good for this run alone, when it is.
-- @tparam node made
-- @tparam function say how
function cli.tell_if_once(made, say)
  if not made.name then say "next time the address is another one, unless --name is given" end
end

--- Shows what a command is at, in a terminal: a line that each call replaces, and none takes away.
-- @tparam[opt] string text
function cli.progress(text)
  if not core.editline.is_terminal(2) then return end
  io.stderr:write("\r\27[K", text or "")
  io.stderr:flush()
  core.log.over_progress(text ~= nil)
end

-- argparse wraps what it says of options, and nothing else.
local function wrap(paragraphs)
  local lines = {}
  for paragraph in (paragraphs .. "\n"):gmatch "([^\n]*)\n" do
    for _, line in ipairs(wrap_line(paragraph, WIDTH)) do lines[#lines + 1] = line end
  end
  return table.concat(lines, "\n")
end

local asked_for_help = setmetatable({}, { __mode = "k" }) -- parsers

--- Makes an argparse parser for a command.
function cli.parser(name, description)
  local argparse = require "argparse"
  local parser = argparse("p2pd " .. name, wrap(description)):usage_max_width(WIDTH):help_max_width(WIDTH)
  return parser:add_help { "-h --help", action = function()
    asked_for_help[parser] = true
    error "help" -- argparse would print it, whether that succeeds or not, and exit
  end }
end

local function show_help(parser)
  return cli.run(function()
    cli.print(parser:get_help())
    return cli.OK
  end)
end

--- The options of every command that looks at the network.
function cli.add_network_options(parser)
  parser:option("--settings", "A Lua file that replaces keys of the settings (else $P2PD_SETTINGS).")
    :argname "FILE"
  parser:option("--interface", "Use this interface, from when it is up; may be given again.")
    :argname "NAME":count "*"
  return parser
end

--- Those, and what every command that starts a node takes: whose key it has.
function cli.add_node_options(parser)
  cli.add_network_options(parser)
  parser:option("--name", "A name for the node, under which its key is kept: its id stays the same. Without "
    .. "it the id is another one each time."):argname "NAME"
  parser:flag("--force", "Run even if a node of that name runs on this machine.")
  return parser
end

--- What commands take besides to whose node peers connect.
function cli.add_acceptor_options(parser)
  parser:option("--port", "The port that peers connect to (0: any free one)."):argname "P":convert(cli.port)
  parser:flag("--no-port-mapping", "Do not ask routers to let peers in.")
  return parser
end

--- Parses the arguments of a command.
-- @tparam parser parser
-- @param ... the arguments
-- @treturn table; or nil and the exit status, when what is wrong has been said
function cli.parse(parser, ...)
  if wanted then
    wanted.parser = parser
    return nil, cli.OK
  end
  local ran, ok, result = pcall(parser.pparse, parser, { ... })
  if asked_for_help[parser] then return nil, show_help(parser) end
  if not ran then error(ok, 0) end
  if ok then return result end
  io.stderr:write(parser:get_usage(), "\n\n")
  cli.say("%s", result)
  return nil, cli.USAGE
end

-- argparse's converters.

--- A port, 0 for any free one.
-- @tparam string text
-- @treturn integer; or nil and what is wrong
function cli.port(text)
  local port = math.tointeger(tonumber(text))
  if port and port >= 0 and port <= 65535 then return port end
  return nil, ("%s is not a port from 0 to 65535"):format(text)
end

--- An address and a port.
-- @tparam string text
-- @treturn table `ip`, `port`; or nil and what is wrong
function cli.place(text)
  local ip, port = endpoint.parse(text, 0)
  if ip then return { ip = ip, port = port } end
  return nil, text .. " is no IP:PORT"
end

--- A duration.
-- @tparam string text
-- @treturn number more than 0; or nil and what is wrong
function cli.seconds(text)
  local seconds = tonumber(text)
  if seconds and seconds > 0 and seconds < math.huge then return seconds end
  return nil, ("%s is not a number of seconds"):format(text)
end

--- A count.
-- @tparam string text
-- @treturn integer 1 or more; or nil and what is wrong
function cli.count(text)
  local count = math.tointeger(tonumber(text))
  if count and count > 0 then return count end
  return nil, ("%s is not a count"):format(text)
end

--- An amount.
-- @tparam string text
-- @treturn number 0 or more; or nil and what is wrong
function cli.amount(text)
  local amount = tonumber(text)
  if amount and amount >= 0 and amount < math.huge then return amount end
  return nil, ("%s is not a number from 0 on"):format(text)
end

--- A whole number.
-- @tparam string text
-- @treturn integer 0 or more; or nil and what is wrong
function cli.whole(text)
  local whole = math.tointeger(tonumber(text))
  if whole and whole >= 0 then return whole end
  return nil, ("%s is not a whole number from 0 on"):format(text)
end

--- Names of strategies, with commas between them.
-- @tparam string text
-- @treturn {string,...}; or nil and what is wrong
function cli.strategies(text)
  local list = {}
  for name in text:gmatch "[^,]+" do
    if not strategy.exists(name) then return nil, ('no strategy "%s"'):format(name) end
    list[#list + 1] = name
  end
  if #list == 0 then return nil, "no strategy is named" end
  return list
end

--- The option of commands whose pipe should outlive its path.
function cli.add_resume_option(parser)
  parser:option("--resume", "Seconds to look for another path when the last one breaks (60)."):argname "S"
    :convert(cli.amount)
  return parser
end

--- Options for p2pd.node from what was parsed.
-- @tparam table args
-- @tparam[opt] table more options
-- @treturn table
function cli.node_options(args, more)
  local options = {
    name = args.name,
    force = args.force,
    port = args.port,
    settings = args.settings,
    resume = args.resume,
    interfaces = #args.interface > 0 and args.interface or nil,
  }
  if args.no_port_mapping then options.port_mapping = false end
  for name, value in pairs(more or {}) do options[name] = value end
  return options
end

local function look_for(find, args)
  local settings, reason = config.resolve(args.settings)
  local found, service
  if settings then
    found, service = find(args.peer, { settings = settings })
    if found then return found, settings, service end
  end
  cli.say("%s", reason or service)
end

--- Whom a command was told to talk to, before a node is started for it; what is wrong is said.
-- @tparam table args `peer`, what the person gave; `settings`
-- @treturn ?table see @{p2pd.whom.find}
-- @treturn ?table the settings, so that they are read once
function cli.find_peer(args)
  return look_for(whom.find, args)
end

--- Like @{find_peer}, perhaps with the name of a service behind it.
-- @tparam table args
-- @treturn ?table
-- @treturn ?table the settings
-- @treturn ?string the service, "" when none is named
function cli.find_service(args)
  return look_for(whom.find_service, args)
end

--- The address of whom @{find_peer} has found; what is wrong is said.
-- @tparam table found
-- @tparam node made
-- @treturn ?string the address
-- @treturn ?string what to call the peer
function cli.reach(found, made)
  local address, reason = found:reach(made)
  if address then return address, found:called() end
  cli.say("%s", reason)
end

--- Starts the node of a command; what is wrong is said.
-- @tparam table args
-- @tparam[opt] table more options
-- @treturn ?node
function cli.start_node(args, more)
  local made, reason, code = p2pd.node(cli.node_options(args, more))
  if not made then cli.say("%s%s", reason, code == "EBUSY" and " (--force runs another)" or "") end
  return made
end

--- A number as reports have it: with six digits at most.
-- @tparam ?number value
-- @treturn ?number
function cli.digits(value)
  return value and tonumber(("%.6g"):format(value))
end

--- Parts a command line at the first `--`.
-- @param ... the arguments
-- @treturn {string,...} those before it
-- @treturn table|nil those after it, when there is one: a program for core.process.spawn that talks to the
-- user
function cli.split_command(...)
  local before, command = {}, nil
  for _, argument in ipairs { ... } do
    if command then
      command[#command + 1] = argument
    elseif argument == "--" then
      command = { stdin = "inherit", foreground = true }
    else
      before[#before + 1] = argument
    end
  end
  return before, command
end

--- Waits for a program to end, and passes its exit status on as a shell does.
-- @tparam p2pd.process|nil child or nil, when it could not be started
-- @tparam[opt] string reason why not, which is said
-- @treturn integer exit status
function cli.finish(child, reason)
  if not child then
    cli.say("%s", reason)
    return cli.NOT_RUN
  end
  local held <close> = child
  local how, status = held:wait()
  return how == "exit" and status or cli.SIGNALED + status
end

--- A new stream over standard input or output, whose end leaves the descriptor as it was.
-- @tparam integer fd 0 or 1; when it is closed: a stream of nothing
function cli.standard_stream(fd)
  return core.stream.fd(fd, false) or core.stream.null()
end

local VANISHED = { ECONNRESET = true, ETIMEDOUT = true, EHOSTUNREACH = true, ENETUNREACH = true }

--- A reason in a few words: of a peer that has vanished, without what was tried to find it again.
-- @tparam string reason
-- @treturn string
function cli.shorten(reason)
  if reason:find "reset the stream" then return "the peer broke off" end
  return reason:match "(the peer vanished.-) %(no connection" or reason:match "the peer vanished.*" or reason
end

--- Why a pipe has ended that its peer did not end.
-- @tparam string reason what reading it gave
-- @tparam string code
-- @treturn string
function cli.describe_end(reason, code)
  local short = cli.shorten(reason)
  if short:find "the peer" then return short end
  return VANISHED[code] and ("the peer vanished (%s)"):format(reason) or reason
end

--- Whether a descriptor is a directory, which nobody can read.
-- @tparam integer fd
-- @treturn boolean
function cli.is_directory(fd)
  local folder = io.open(("/proc/self/fd/%d/."):format(fd)) -- of anything else it is no path
  return folder ~= nil and folder:close()
end

--- Waits until the kernel has all that was written, however slow the reader is: what is merely closed, or
-- left behind by a process that ends, has a few seconds only.
-- @tparam stream|pipe stream
function cli.drain(stream)
  local ask, pause = stream.info or stream.stats, DRAIN_PAUSE
  local stats = ask(stream)
  while stats and stats.queued > 0 do
    task.sleep(pause)
    pause = math.min(pause * 2, DRAIN_PAUSE_MAX)
    stats = ask(stream)
  end
end

return cli
