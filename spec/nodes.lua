--- Nodes reduced to their keys, and encrypted streams between them.
local core = require "p2pd.core"
local task = require "p2pd.task"

local nodes = {}

local HANDSHAKE_S = 5

--- A key with what belongs to it: `key`, `id`, `context`, and `seed` when it was made of one.
-- @tparam[opt] string seed 32 bytes
function nodes.new(seed)
  local key = assert(seed and core.keys.from_seed(seed) or core.keys.generate())
  return { key = key, id = key:id(), context = assert(core.tls.context(key)), seed = seed }
end

--- The id of a node that nobody has seen.
function nodes.new_id()
  local key <close> = assert(core.keys.generate())
  return key:id()
end

--- Both handshakes at once; what they return, in two tables.
-- @tparam table client stream, node, and peer: whose id it expects
-- @tparam table server the same
function nodes.shake(client, server)
  local other <close> = task.spawn(core.tls.server, server.stream, server.node.context,
    server.peer, HANDSHAKE_S)
  local result = table.pack(core.tls.client(client.stream, client.node.context, client.peer,
    HANDSHAKE_S))
  return result, table.pack(other:join())
end

--- Encrypts two ends of a connection.
function nodes.encrypt(client, alice, server, bob)
  local mine, theirs = nodes.shake({ stream = client, node = alice, peer = bob.id },
    { stream = server, node = bob, peer = alice.id })
  assert(table.unpack(mine, 1, mine.n))
  assert(table.unpack(theirs, 1, theirs.n))
end

return nodes
