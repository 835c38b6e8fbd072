--- Nodes reduced to their keys, and encrypted streams between them.
local address = require "p2pd.address"
local core = require "p2pd.core"
local message = require "p2pd.signal.message"
local task = require "p2pd.task"
local token = require "p2pd.signal.token"

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

--- The port at which a node listens.
function nodes.port_of(node) return address.parse(node.address).ipv4[1].port end

--- A stranger's connection to a node's listener.
-- @tparam node node
-- @tparam[opt] string text what he sends
-- @treturn stream
function nodes.call(node, text)
  local stream = assert(core.tcp.connect("127.0.0.1", nodes.port_of(node)))
  if text then assert(stream:write(text)) end
  stream:settimeout(HANDSHAKE_S)
  return stream
end

--- The payload of a message from such a node, by the bytes of docs/protocol.md.
-- @tparam table node
-- @tparam string to whose key it is sealed for
-- @tparam table|string m the message, or its text
-- @tparam[opt] string tag 16 bytes, or a token of the receiver's
function nodes.seal(node, to, m, tag)
  tag = tag or core.random.bytes(16)
  local text = type(m) == "string" and m or message.encode(m)
  local sealed = assert(node.key:seal_hidden(to, "p2pd signalling 2", "\2" .. tag:sub(1, 8), text))
  if #tag == token.BYTES then tag = token.tag(tag, sealed) end
  return "\2" .. tag .. sealed
end

--- The message in a payload for such a node; or nil and why it is none.
function nodes.open(node, payload)
  local text = node.key:open_hidden("p2pd signalling 2", payload:sub(1, 9), payload:sub(18))
  if not text then return nil, "forged" end
  return message.decode(text, node.id, core.clock.realtime())
end

--- The arguments with which openssl's programs prove that they know a node's id (docs/protocol.md).
function nodes.proof_options(node)
  local psk = core.keys.mac("p2pd node id 1", node.key:public())
  return "-psk", (psk:gsub(".", function(c) return ("%02x"):format(c:byte()) end)), "-psk_identity", "p2pd"
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
