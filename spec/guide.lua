--- Runs the examples of a Markdown page: programs in Lua, and what is typed into terminals.
--
-- A block of `lua` that begins with `-- NAME.lua` is that file; any other one is run by `p2pd`, and has to
-- end with status 0 (one that begins with `return {` is settings). A block of `text` behind it is what it
-- prints. A block of `console` has prompts (`$ `, `home$ `): each names a terminal with a home of its own, in
-- which one command runs at a time, beside those of the others. The lines below a command are what it says,
-- before the next one is typed; those that begin with `> ` are typed into it. `...` stands for anything, and
-- numbers, times, bars, ids and codes may be others. Ports are others, too: 8080 is a web server that says
-- hello. `./my-peer` says what it was given. Commands of a block of `console lab` run in a host of the lab,
-- and say its lines in any order.
local config = require "p2pd.config"
local core = require "p2pd.core"
local helper = require "spec.helper"
local lfs = require "lfs"
local p2pd = require "p2pd"

local guide = {}

local WAIT = 15
local WITH_NODE = "chat|connect|expose|forward|listen|nat|node|ping|recv|send|serve"
local ENDLESS = { chat = true, expose = true, forward = true, lab = true, node = true, serve = true }
local KINDS = { lua = true, console = true, text = true, ["console lab"] = true,
  p2pd = true } -- by spec/repl_guide_spec.lua
local CODE, ID = "%d+%-%l+%-%l+%-%l+", ("[1-9A-HJ-NP-Za-km-z]"):rep(40) .. "[1-9A-HJ-NP-Za-km-z]*"

-- Nodes of scripts are on loopback, too.
local PRELUDE = [[
io.stdout:setvbuf "line"
local p2pd = require "p2pd"
local start = p2pd.node
p2pd.node = function(options)
  options = options or {}
  options.interfaces = { "lo" }
  return start(options)
end
]]

local WRAPPER = [[
#!/bin/sh
case "$1" in
%s) command=$1; shift; exec %s "$command" --interface=lo "$@";;
esac
exec %s "$@"
]]

local CURL = [[
#!/bin/sh
LD_PRELOAD= # a sanitizer's library is not for curl
exec /usr/bin/curl "$@"
]]

local World = {}
World.__index = World

-- LUA_PATH and the like with absolute paths.
local function absolute(name)
  local here = lfs.currentdir()
  return (("\0" .. (os.getenv(name) or ";")):gsub("([%z;])([%w.][^;]*)", function(separator, path)
    return separator .. here .. "/" .. path
  end):gsub("%z", "")) .. ";" .. here .. "/?.lua"
end

local function make_folders(...)
  for _, path in ipairs { ... } do lfs.mkdir(path) end
end

-- A terminal's folder, with files to send; its home is inside.
function World:terminal(name)
  local folder = self.folder .. "/" .. name
  if lfs.attributes(folder, "mode") then return folder end
  make_folders(folder, folder .. "/.home", folder .. "/.home/p2pd", folder .. "/photos")
  if name ~= "office" then
    helper.write(folder .. "/photos/1.jpg", "one")
    helper.write(folder .. "/photos/2.jpg", "two")
    helper.write(folder .. "/notes.txt", "a note\n")
  end
  for file, text in pairs(self.files) do helper.write(folder .. "/" .. file, text) end
  lfs.link(lfs.currentdir() .. "/examples", folder .. "/examples", true)
  helper.write(folder .. "/my-peer", "#!/bin/sh\necho my-peer: \"$@\"\n")
  assert(os.execute(("chmod +x '%s/my-peer'"):format(folder)))
  return folder
end

--- Starts a command in a terminal.
-- @treturn p2pd.process whose stdout has its stderr as well
function World:start(name, line)
  local folder = self:terminal(name)
  local home = folder .. "/.home"
  local child = assert(core.process.spawn { "bash", "-c", line, cwd = folder, stdin = "pipe", stdout = "pipe",
    stderr = "stdout", env = { P2PD_SETTINGS = self.settings, XDG_CONFIG_HOME = home, XDG_DATA_HOME = home,
      XDG_STATE_HOME = home, XDG_RUNTIME_DIR = self.folder .. "/run", USER = name,
      LUA_INIT = "@" .. self.folder .. "/prelude.lua", LUA_PATH = absolute "LUA_PATH",
      LUA_CPATH = absolute "LUA_CPATH",
      PATH = self.folder .. "/bin:" .. os.getenv "PATH" } })
  child:stdout():settimeout(WAIT)
  return child
end

local function escape(text)
  return (text:gsub("%p", "%%%0"))
end

-- What a line of the page says, as a pattern; `seen` gets what stands for its ids and codes.
local function pattern_of(line)
  local names = {}
  local pattern = escape(line):gsub("%%|[#x.%% ]+%%|", "\5"):gsub("%%%.%%%.%%%.", "\1"):gsub("%s+", "%%s+")
  local function token(text)
    names[#names + 1] = text
    return "\2"
  end
  pattern = pattern:gsub("%d+%%%-%l+%%%-%l+%%%-%l+", function(text)
    token((text:gsub("%%", "")))
    return "\3"
  end):gsub("%d+%%s%+m?s%f[%A]", "\4"):gsub(ID, token):gsub("%d+", "%%d+")
    :gsub("%%%(direct%%%)", "%%(%%a+%%)") -- who is there came by whichever was first
    :gsub("\4", "[%%d.]+%%s+m?s"):gsub("\5", "|[#x. ]+|")
    :gsub("\1", ".-"):gsub("\2", "(%%w+)"):gsub("\3", function() return "(" .. CODE .. ")" end)
  return "^" .. pattern .. "$", names
end

-- Reads until a line says what it should.
local function expect(child, line, seen, command)
  local pattern, names = pattern_of(line)
  local said = {}
  while true do
    local got, reason = child:stdout():read "l"
    if not got then
      error(("%s\nwas to say: %s\nsaid: %s\n%s"):format(command, line, table.concat(said, "\n"),
        reason or ""), 0)
    end
    said[#said + 1] = got
    local found = table.pack(got:match(pattern))
    if found[1] then
      for i, name in ipairs(names) do seen[name] = found[i] end
      return
    end
  end
end

-- Waits for the end of what runs in a terminal, in which nothing more is typed.
local function finish(one)
  one.child:stdin():close()
  local rest, reason = one.child:stdout():read "a"
  if not rest then error(one.command .. "\ndoes not end: " .. reason, 0) end
  local how, status = one.child:wait(WAIT)
  one.child:close()
  if how ~= "exit" or status ~= 0 then
    error(("%s\n%s %s\n%s"):format(one.command, how, status, rest), 0)
  end
end

local function stop_all(running)
  for _, one in pairs(running) do
    one.child:kill "INT"
    one.child:wait(WAIT)
    one.child:close()
  end
end

local function is_endless(command)
  if command:find " %-%- " then return false end -- another program, in the lab
  return ENDLESS[command:match "^p2pd (%l+)"] or command:find " --keep" or command:find "^p2pd %l+%.lua$"
    or command:find "^p2pd examples/"
end

-- What ends by itself has to; one may wait for the other.
local function finish_all(running)
  local ending = {}
  for name, one in pairs(running) do
    if not is_endless(one.command) then
      ending[#ending + 1], running[name] = one, nil
      one.child:stdin():close()
    end
  end
  for _, one in ipairs(ending) do finish(one) end
end

-- The block's commands: terminal, command, lines.
local function typed(block)
  local list = {}
  for line in block:gsub("\\\n%s*", ""):gmatch "([^\n]*)\n" do
    local name, command = line:match "^(%l*)%$ (.+)$"
    if command then
      list[#list + 1] = { name = name == "" and "here" or name, lines = {},
        command = command:gsub("%s%s+# .*$", "") }
    elseif line ~= "" then
      table.insert(list[#list].lines, line)
    end
  end
  return list
end

-- The page's ports are other ones here.
function World:with_ports(text)
  return (text:gsub("%f[%d]%d%d%d%d%d?%f[%D]", self.ports))
end

--- What is typed in a block of `console`.
function World:type(block)
  local running, seen = {}, self.seen
  local guard <close> = setmetatable({}, { __close = function() stop_all(running) end })
  for _, one in ipairs(typed(block)) do
    if running[one.name] then
      finish(running[one.name])
      running[one.name] = nil
    end
    local command = self:with_ports(one.command:gsub(CODE, seen):gsub(ID, seen))
    one.child = self:start(one.name, command)
    running[one.name] = one
    for _, line in ipairs(one.lines) do
      local typed_in = line:match "^> (.*)$"
      if typed_in then
        one.child:stdin():write(typed_in, "\n")
      else
        expect(one.child, line, seen, command)
      end
    end
  end
  finish_all(running)
  return guard
end

local function name_of(block)
  return block:match "^%-%- (%w+%.lua)"
end

-- Writes a program that has a name where all terminals have it.
function World:save(block)
  local name, text = name_of(block), self:with_ports(block)
  if not name then return end
  self.files[name] = text
  for folder in lfs.dir(self.folder) do
    if lfs.attributes(self.folder .. "/" .. folder .. "/.home", "mode") then
      helper.write(self.folder .. "/" .. folder .. "/" .. name, text)
    end
  end
end

--- A block of `lua`, and what it prints. One that is a file was saved before, and is run where it is named.
function World:run(block, output)
  if name_of(block) then return end
  block = self:with_ports(block)
  local path = helper.write(self.folder .. "/example.lua", block)
  if block:find "^return {" then return assert(config.resolve(path)) end
  local one = { child = self:start("here", "exec p2pd " .. path), command = block }
  local _ <close> = one.child
  for line in (output or ""):gmatch "[^\n]+" do expect(one.child, line, self.seen, block) end
  finish(one)
end

--- Runs a page.
-- @tparam string path
-- @treturn integer how many blocks there were
function World:page(path)
  local count, program, last = 0, nil, nil
  local function run(output)
    if program then
      count = count + 1
      self:run(program, output)
    end
    program = nil
  end
  local text = helper.read(path) .. "\n"
  for block in text:gmatch "\n```lua\n(.-\n)```" do self:save(block) end
  for kind, block in text:gmatch "\n```([^\n]*)\n(.-\n)```" do
    if not KINDS[kind] then error(('%s: nothing runs a block of "%s"'):format(path, kind), 0) end
    run(kind == "text" and last == "lua" and block or nil)
    if kind == "lua" then program = block end
    if kind == "console" then
      count = count + 1
      self:type(block)
    end
    last = kind
  end
  run()
  return count
end

-- A web server that says hello to everybody.
local function serve_web(listener)
  for stream in listener:streams() do
    local _ <close> = stream
    repeat local line = stream:read "l" until not line or line == "\r"
    stream:write "HTTP/1.0 200 OK\r\n\r\nhello\n"
  end
end

World.__close = function(self)
  self.web:cancel()
  self.listener:close()
end

local function id_in(address)
  return (address:match(ID))
end

--- The commands of a page's blocks of `console lab`, which are run in a host behind a NAT, and what they say.
-- @tparam string path
-- @treturn {table,...} each with `command` and `lines`
function guide.lab_commands(path)
  local list = {}
  for block in helper.read(path):gmatch "\n```console lab\n(.-\n)```" do
    table.move(typed(block), 1, #typed(block), #list + 1, list)
  end
  return list
end

--- Which of the lines of a page is not in what a command says, in whatever order.
-- @tparam {string,...} lines
-- @tparam string said
-- @treturn ?string
function guide.find_missing(lines, said)
  local function is_said(line)
    local pattern = pattern_of(line)
    for got in said:gmatch "[^\n]+" do
      if got:find(pattern) then return true end
    end
  end
  for _, line in ipairs(lines) do
    if not is_said(line) then return line end
  end
end

--- A command with the ids of its page replaced.
function guide.with_id(command, id)
  return (command:gsub(ID, id))
end

--- Makes a world: a peer called bob who echoes, and terminals that have him among their contacts.
-- @tparam string settings a file's path
-- @tparam string bob his address
-- @treturn table the world, to be closed
function guide.new(settings, bob)
  local executable = os.getenv "P2PD_EXE"
  local self = setmetatable({ settings = settings, folder = helper.scratch(), files = {}, seen = {} }, World)
  self.listener = assert(p2pd.tcp.listen "127.0.0.1:0")
  self.web = p2pd.spawn(serve_web, self.listener)
  local _, port = self.listener:getsockname()
  self.ports = { ["8080"] = port, ["2222"] = helper.free_port(), ["1080"] = helper.free_port(),
    ["12333"] = helper.free_port() }
  make_folders(self.folder .. "/bin")
  helper.write(self.folder .. "/prelude.lua", PRELUDE)
  helper.write(self.folder .. "/bin/p2pd", WRAPPER:format(WITH_NODE, executable, executable))
  helper.write(self.folder .. "/bin/curl", CURL)
  assert(os.execute(("chmod +x %s/bin/*"):format(self.folder)))
  assert(id_in(bob))
  for _, name in ipairs { "here", "home", "office" } do
    finish { child = self:start(name, "p2pd contacts add bob '" .. bob .. "'"), command = "contacts" }
  end
  return self
end

return guide
