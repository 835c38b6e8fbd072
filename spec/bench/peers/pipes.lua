--- Pipes on loopback without a node: what stays when the handshake is over.
local core = require "p2pd.core"
local pipe = require "p2pd.pipe"

local pipes = {}

--- A listener on a free port, which is printed for whoever started us.
function pipes.listen(backlog)
  local listener = assert(core.tcp.listen { ip = "127.0.0.1", backlog = backlog })
  local _, port = listener:getsockname()
  io.stdout:write(port, "\n")
  io.stdout:flush()
  return listener
end

--- A pipe from the next connection; without a listener, from the only one there will be.
function pipes.accept(listener)
  if listener then return pipe.new(assert(listener:accept()), { strategy = "direct" }) end
  local own <close> = pipes.listen()
  return pipes.accept(own)
end

--- A pipe to a port.
function pipes.connect(port)
  return pipe.new(assert(core.tcp.connect("127.0.0.1", tonumber(port))), { strategy = "direct" })
end

return pipes
