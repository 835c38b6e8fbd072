--- Standard input and output as streams that wait without stopping the loop, whatever they are: terminals,
-- pipes, files, closed. Others who share the descriptors notice nothing.
-- @module p2pd.standard
local core = require "p2pd.core"
require "p2pd.stream"

local standard = {}

local opened = {} -- by descriptor

local function open(fd)
  if not opened[fd] then opened[fd] = assert(core.stream.fd(fd) or core.stream.null()) end
  return opened[fd]
end

--- Standard input; one that is closed is at its end. What Lua's io library has read ahead is lost to it.
-- @treturn stream always the same
function standard.input()
  return open(0)
end

--- Standard output. A write is over when the system has it. What print and io.write have said goes first.
-- @treturn stream always the same
function standard.output()
  io.stdout:flush()
  return open(1)
end

-- -- Lua's own input, which stops every task

local warned = false

local function warn_once(what)
  if warned or not core.task.running() or core.task.count() < 2 then return end
  warned = true
  core.log.write("warn", what .. " stops every task while it waits; p2pd.stdin:read() does not")
end

--- Has io.read and io.lines warn, once, when they are called in a task while there are others.
-- @local
function standard.watch_input()
  for _, name in ipairs { "read", "lines" } do
    local plain = io[name]
    rawset(io, name, function(...)
      local of_input = name == "read" or (...) == nil
      if of_input and io.input() == io.stdin then warn_once("io." .. name) end
      return plain(...)
    end)
  end
end

return standard
