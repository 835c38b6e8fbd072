-- Peers reduced to their keys and listeners: `crowd BROKER_PORT COUNT`. Says their ports and ids, a line
-- each; answers every request over signalling, and takes every pipe.
local core = require "p2pd.core"
local handshake = require "p2pd.handshake"
local id = require "p2pd.id"
local message = require "p2pd.signal.message"
local nodes = require "spec.nodes"
local task = require "p2pd.task"

local broker_port, count = tonumber((...)), tonumber((select(2, ...)))

local function serve(peer, accepted)
  local stream <close> = accepted
  if not core.tls.server(stream, peer.context, nil, 5) then return end
  stream:settimeout(5)
  if stream:read "l" and handshake.accept(stream) then stream:read "a" end
end

local function listen(peer)
  while true do
    local stream = peer.listener:accept()
    if stream then task.spawn(serve, peer, stream) end
  end
end

local function reply(client, peer, m)
  client:publish(m.from, nodes.seal(peer, m.from, { type = "RETURN_ADDR", id = id.new(), from = peer.id,
    to = m.from, re = m.id, address = ("0-[0,127.0.0.1,127.0.0.1,%d,1,1,0]-0-%s"):format(peer.port, peer.id),
    time = core.clock.realtime(), ttl = 60, token = message.to_hex(core.random.bytes(24)) },
    message.from_hex(m.token)))
end

core.task.run(function()
  local client = core.mqtt.open { host = "127.0.0.1", port = broker_port }
  assert(client:wait_online(5))
  local peers = {}
  for _ = 1, count do
    local peer = nodes.new()
    peer.listener = assert(core.tcp.listen { ip = "127.0.0.1" })
    peer.port = select(2, peer.listener:getsockname())
    peers[peer.id] = peer
    client:subscribe(peer.id)
    task.spawn(listen, peer)
    print(("%d %s"):format(peer.port, peer.id))
  end
  io.stdout:flush()
  while true do
    local topic, payload = client:receive()
    local m = topic and nodes.open(peers[topic], payload)
    if m then reply(client, peers[topic], m) end
  end
end)
