--- A server as a child process: how it is started, waited for and stopped. Which servers there are is in
-- p2pd.lab.servers and p2pd.lab.gateways.
-- @module p2pd.lab.server
local core = require "p2pd.core"
local deadline = require "p2pd.deadline"
local scratch = require "p2pd.lab.scratch"

local READY_S, STOP_S, ATTEMPTS = 10, 2, 5
local SILENT_S = 0.005 -- between two looks into a log
local LOG_TO_FILE = 'log=$1; shift; exec "$@" >>"$log" 2>&1'
local running = setmetatable({}, { __mode = "k" })

local server = {}

local Server = { __name = "p2pd.lab.server" }
Server.__index = Server

function Server.__tostring(self)
  return ("%s on port %d (%s)"):format(self.name, self.port, self.child and "running" or "stopped")
end

--- What it has written since it was last started.
function Server:log()
  return scratch.read(self.log_path)
end

local function wait_until_ready(self)
  local limit = deadline.after(READY_S)
  while not self:is_ready(self:log()) do
    local how, status = self.child:wait(limit:left(SILENT_S))
    if how then return nil, ("%s ended: %s %s"):format(self.name, how, status) end
    if limit:has_passed() then return nil, self.name .. " is not ready in time" end
  end
  return true
end

local function command_of(self)
  local command = {
    stdout = "null", stderr = "null", cwd = self.folder,
    env = { LD_PRELOAD = "", PATH = os.getenv "PATH" .. ":/usr/sbin:/sbin" },
    "sh", "-c", LOG_TO_FILE, "sh", self.log_path,
  }
  for _, part in ipairs { self.within or {}, self.command } do
    table.move(part, 1, #part, #command + 1, command)
  end
  return command
end

local function launch(self)
  scratch.write(self.log_path, "")
  self.child = assert(core.process.spawn(command_of(self)))
  running[self] = true
  local ok, reason = wait_until_ready(self)
  if ok then return true end
  self:stop()
  return nil, ("%s\n%s"):format(reason, self:log())
end

--- Starts it again, on the same port and with the same configuration.
function Server:start()
  if self.child then return self end
  assert(core.task.run(launch, self))
  return self
end

local function halt(self)
  local child = self.child
  self.child, running[self] = nil, nil
  child:kill "TERM"
  if not child:wait(STOP_S) then
    child:kill "KILL"
    child:wait()
  end
  child:close()
end

--- Stops it and waits for its end; what it had open is closed then.
function Server:stop()
  if self.child then core.task.run(halt, self) end
end

Server.close = Server.stop

--- Ends it without waiting: a task that is cancelled can't.
function Server:__close()
  local child = self.child
  self.child, running[self] = nil, nil
  if child then child:close() end
end

--- Sends it a signal: "STOP" makes it silent without closing anything, "CONT" wakes it.
function Server:signal(name)
  return self.child:kill(name)
end

--- Starts a new server, on another port when somebody was faster.
-- @tparam table class name, configure(self) and is_ready(self, log)
-- @tparam table options its fields become the server's: `host` (127.0.0.1), `port`, `folder` for its files,
-- `within` (a command that it is started with, such as one that enters a network namespace)
-- @treturn server `host`, `port`; `:stop()`, `:start()`, `:close()`, `:log()`, `:signal()`
function server.start(class, options)
  local reason
  for _ = 1, options.port and 1 or ATTEMPTS do
    local self = setmetatable({ host = "127.0.0.1" }, Server)
    for key, value in pairs(class) do self[key] = value end
    for key, value in pairs(options) do self[key] = value end
    self.port = self.port or scratch.free_port()
    self.folder = self.folder or scratch.folder()
    self.log_path = self.folder .. "/log"
    self:configure()
    local ok
    ok, reason = core.task.run(launch, self)
    if ok then return self end
  end
  error(reason, 3)
end

--- Stops every server that runs.
function server.close_all()
  for self in pairs(running) do self:stop() end
end

return server
