--- Encrypted streams on loopback, between two nodes whose keys both processes know.
local core = require "p2pd.core"
local nodes = require "spec.nodes"
local pipes = require "spec.bench.peers.pipes"

local tls = {
  client = nodes.new(("c"):rep(32)),
  server = nodes.new(("s"):rep(32)),
}

local HANDSHAKE_S = 30

--- The next connection of a listener, encrypted; without one, the only one there will be.
function tls.accept(listener)
  if not listener then
    local own <close> = pipes.listen()
    return tls.accept(own)
  end
  local stream = assert(listener:accept())
  assert(core.tls.server(stream, tls.server.context, tls.client.id, HANDSHAKE_S))
  return stream
end

--- An encrypted stream to a port.
function tls.connect(port)
  local stream = assert(core.tcp.connect("127.0.0.1", tonumber(port)))
  assert(core.tls.client(stream, tls.client.context, tls.server.id, HANDSHAKE_S))
  return stream
end

return tls
