--- What specs of commands share: servers and folders for them, children that run one, how a child is listened
-- to, and how it has to end.
local address = require "p2pd.address"
local assert = require "luassert"
local helper = require "spec.helper"
local loopback = require "spec.loopback"
local nodes = require "spec.nodes"

local commands = {}

commands.WAIT = 20 -- seconds for a child to say something, or to end
commands.CODE = "(%d+%-%a+%-%a+%-%a+)$" -- at the end of a line

local NODELESS = { contacts = true } -- commands that start no node

--- Limits the waiting for a child's streams.
-- @tparam p2pd.process child
-- @treturn p2pd.process
function commands.limit(child)
  for _, name in ipairs { "stdin", "stdout", "stderr" } do child[name](child):settimeout(commands.WAIT) end
  return child
end

--- Waits for a line that matches; what comes before it is skipped.
-- @tparam stream stream
-- @tparam string pattern
-- @treturn string what it captures
function commands.wait_for(stream, pattern)
  local lines = {}
  while true do
    local line, reason = stream:read "l"
    if not line then
      error(("no line like %s; %s; said:\n%s"):format(pattern, reason or "it ended",
        table.concat(lines, "\n")), 0)
    end
    lines[#lines + 1] = line
    local found = line:match(pattern)
    if found then return found end
  end
end

--- Waits for a child's end.
-- @tparam p2pd.process child
-- @treturn integer exit status
-- @treturn string the rest of its standard output
-- @treturn string and of its standard error
function commands.finish(child)
  local out, err = child:stdout():read "a", child:stderr():read "a"
  local how, status = child:wait(commands.WAIT)
  assert.equal("exit", how)
  return status, out, err
end

--- Interrupts a child, which has to end as the shell expects it, and without a traceback.
-- @tparam p2pd.process child
function commands.check_interrupted(child)
  assert(child:kill "INT")
  assert.same({ "exit", 130 }, { child:wait(commands.WAIT) })
  assert.not_matches("traceback", child:stderr():read "a", 1, true)
end

--- A code with a wrong word.
function commands.wrong(code)
  return (code:gsub("%a+$", function(word) return word == "zebra" and "violin" or "zebra" end))
end

--- An address of a node that does not exist: a node's own, with a port that is closed and another id.
-- @tparam node node
-- @treturn string the address
-- @treturn string the id in it
function commands.nobody(node)
  local parsed = address.parse(node.address)
  parsed.ipv4[1].port, parsed.ipv6, parsed.node_id = helper.free_port(), {}, nodes.new_id()
  return address.format(parsed), parsed.node_id
end

local World = setmetatable({}, { __index = loopback })
World.__index = World

--- Prepares a `describe` block: loopback's servers, and for each spec a folder of its own, in which commands
-- have their keys and contacts.
-- @tparam function setup busted's, of that block
-- @tparam function teardown
-- @tparam function before_each
-- @treturn loopback with `folder`
function commands.world(setup, teardown, before_each)
  local world = loopback.new(setup, teardown, { stun = true })
  before_each(function() world.folder = helper.scratch() end)
  return setmetatable(world, World)
end

local function split_options(arguments)
  local options = type(arguments[#arguments]) == "table" and table.remove(arguments) or {}
  return options, arguments
end

--- Starts a command on loopback.
-- @tparam string command
-- @param ... its arguments; at their end maybe a table: `settings`, another file's path; `env`
-- @treturn p2pd.process
function World:spawn(command, ...)
  local options, arguments = split_options { ... }
  local line = { command, env = { XDG_CONFIG_HOME = self.folder, XDG_DATA_HOME = self.folder } }
  for name, value in pairs(options.env or {}) do line.env[name] = value end
  local with_node = { "--settings", options.settings or self.path, "--interface", "lo" }
  if not NODELESS[command] then table.move(with_node, 1, #with_node, #line + 1, line) end
  table.move(arguments, 1, #arguments, #line + 1, line)
  return commands.limit(helper.p2pd(line))
end

--- Runs a command to its end, without standard input.
-- @param ... as for spawn
-- @return as finish
function World:run(...)
  local child <close> = self:spawn(...)
  child:stdin():close()
  return commands.finish(child)
end

--- Starts a node that sends everything back.
-- @treturn p2pd.process
-- @treturn string its address
function World:spawn_echo()
  local child = self:spawn("node", "--echo")
  return child, assert((child:stdout():read "l"):match "^address: (.*)")
end

--- The id of whom commands call by a name.
-- @tparam string name as for `--name`
-- @treturn string
function World:id_of(name)
  local status, out = commands.finish(helper.p2pd { "id", "--name", name,
    env = { XDG_DATA_HOME = self.folder } })
  assert.equal(0, status)
  return (out:gsub("\n", ""))
end

return commands
