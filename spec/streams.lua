--- Connected TCP streams over loopback.
local core = require "p2pd.core"
local task = require "p2pd.task"

local streams = {}

--- Two ends of one connection: `local _ <close>, near, far = streams.pair()`.
-- @return owns and closes both
-- @treturn p2pd.stream the end that connected
-- @treturn p2pd.stream the end that was accepted
function streams.pair()
  local listener <close> = assert(core.tcp.listen { ip = "127.0.0.1" })
  local port = select(2, listener:getsockname())
  local near = assert(core.tcp.connect("127.0.0.1", port, nil, 5))
  local far = assert(listener:accept(5))
  return task.hold(near, far), near, far
end

--- Writes until nothing more is taken.
-- @treturn integer how many bytes that were
function streams.stuff(stream)
  local taken, chunk = 0, ("x"):rep(50000)
  stream:settimeout(0)
  repeat
    local ok, _, _, some = stream:write(chunk)
    taken = taken + (ok and #chunk or some)
  until not ok
  stream:settimeout(nil)
  return taken
end

--- Reads and forgets.
-- @treturn integer how many bytes came until the end, or nil, message, code
function streams.swallow(stream)
  local count = 0
  while true do
    local data, message, code = stream:recv()
    if message then return nil, message, code end
    if not data then return count end
    count = count + #data
  end
end

return streams
