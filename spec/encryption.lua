--- What specs of core.tls share: three nodes, encrypted streams, and handshakes against somebody else.
local core = require "p2pd.core"
local helper = require "spec.helper"
local nodes = require "spec.nodes"
local relays = require "spec.relays"
local streams = require "spec.streams"
local task = require "p2pd.task"

local encryption = {}

encryption.MEGABYTE = 1024 * 1024

--- What such specs use besides.
-- @return core, helper.task, nodes, relays, streams, p2pd.task
function encryption.tools()
  return core, helper.task, nodes, relays, streams, task
end

local alice, bob, eve = nodes.new(("a"):rep(32)), nodes.new(("b"):rep(32)), nodes.new()
encryption.alice, encryption.bob, encryption.eve = alice, bob, eve

--- An encrypted pair; the client is the end that connected.
function encryption.encrypted()
  local owner, near, far = streams.pair()
  nodes.encrypt(near, alice, far, bob)
  return owner, near, far
end

function encryption.random(count)
  local parts = {}
  for i = 1, count // 256 + 1 do parts[i] = core.random.bytes(256) end
  return table.concat(parts):sub(1, count)
end

--- The server's handshake alone, with whatever `peer` does on the other end.
function encryption.serve_against(peer, timeout)
  local _ <close>, near, far = streams.pair()
  local _ <close> = task.spawn(peer, near)
  return core.tls.server(far, bob.context, alice.id, timeout or 5)
end

function encryption.dial_against(peer, timeout)
  local _ <close>, near, far = streams.pair()
  local _ <close> = task.spawn(peer, far)
  return core.tls.client(near, alice.context, bob.id, timeout or 5)
end

return encryption
