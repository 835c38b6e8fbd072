--- Chunks of Lua in processes of their own, for specs about signals, limits and standard streams.
local core = require "p2pd.core"

local child = {}

local HEAD = "local core = require 'p2pd.core' local task = require 'p2pd.task' io.stdout:setvbuf 'line'\n"

--- Starts one, with pipes as its standard descriptors unless the options say otherwise.
-- @tparam string code `core`, `task` are there
-- @tparam[opt] table options as for core.process.spawn; `shell`: a command line that is run before
-- @treturn p2pd.process
function child.spawn(code, options)
  local command = { stdin = "pipe", stdout = "pipe", stderr = "pipe",
    "sh", "-c", (options and options.shell or ":") .. '; exec lua5.4 -e "$1"', "sh", HEAD .. code }
  for key, value in pairs(options or {}) do
    if key ~= "shell" then command[key] = value end
  end
  return assert(core.process.spawn(command))
end

--- What a child has to say until it ends.
-- @treturn table how ("exit" or "signal"), status, out, err
function child.finish(process)
  local out, err = process:stdout():read "a", process:stderr():read "a"
  local how, status = process:wait()
  return { how = how, status = status, out = out, err = err }
end

--- Both in one.
function child.run(code, options)
  local process <close> = child.spawn(code, options)
  return child.finish(process)
end

return child
