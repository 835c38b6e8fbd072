--- What specs of commands share: how a child is listened to, and how it has to end.
local assert = require "luassert"

local commands = {}

commands.WAIT = 20 -- seconds for a child to say something, or to end

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

--- A code with a wrong word.
function commands.wrong(code)
  return (code:gsub("%a+$", function(word) return word == "zebra" and "violin" or "zebra" end))
end

return commands
