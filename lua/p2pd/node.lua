--- The local peer: its interfaces, listeners and signalling; it accepts pipes and dials them.
-- `node.address` is its present address; `node.id`, `node.name`, `node.settings` and `node.routes` (see
-- @{p2pd.net.routes}) are there to be read.
-- @classmod p2pd.node
local core = require "p2pd.core"
local accepted = require "p2pd.node.accepted"
local address = require "p2pd.address"
local clock = require "p2pd.clock"
local config = require "p2pd.config"
local deadline = require "p2pd.deadline"
local dial = require "p2pd.dial"
local families = require "p2pd.families"
local keyring = require "p2pd.keyring"
local limits = require "p2pd.limit"
local message = require "p2pd.signal.message"
local known = require "p2pd.node.options"
local options = require "p2pd.options"
local peers = require "p2pd.peer"
local services = require "p2pd.node.services"
local start = require "p2pd.node.start"
local strategy = require "p2pd.strategy"
local task = require "p2pd.task"

local node = {}

local ECHO_MAX = 7000 -- bytes

local methods = {}
for name, method in pairs(services) do methods[name] = method end
local Node = { __name = "p2pd.node" }

-- For people at a prompt.
Node.__dir = { "accept", "address", "close", "connect", "describe", "echo", "events", "get_address", "id",
  "is_allowed", "name", "pipes", "ready", "routes", "sessions", "settings", "stats" }

function Node:__index(key)
  if key == "address" then return address.format(self:describe()) end
  if key == "routes" then return self.network.routes end
  return methods[key]
end

-- -- start

local function check_limits(given)
  local fault = given and limits.find_fault(given)
  if fault then error("node: limits: " .. fault, 3) end
end

local function open_key(given)
  if given.key then return given.key end
  return keyring.open(given.name)
end

-- There is one node of a name on a machine. The lock goes with the node.
local function lock_name(self, given)
  if given.key or not given.name then return true end
  local lock, reason, code = keyring.lock(given.name)
  if not lock and not (given.force and code == "EBUSY") then return nil, reason, code end
  self.kept[keyring] = lock
  return true
end

--- Starts a node. It is ready when its external addresses are known and a broker answers; dead servers do
-- not stop it.
-- @tparam[opt] table given name (its key is kept under it, see @{p2pd.keyring}; without one a key is made
-- for this run), force (true: even if a node of that name runs on this machine), key (to be used instead),
-- port (0: any), interfaces (list of names; those that are down, or not there, are waited for), settings
-- (table or path), policy (of its dials: a name or a function), strategies (names and modules, see
-- @{p2pd.strategy}: those that it answers, and that its dials use), protocols (list of names: those that it
-- speaks from the beginning, see @{accept}), secure (false: it also takes, and makes, pipes without TLS),
-- resume (seconds for which a pipe waits for another path when its own has broken, 60), birthday (false:
-- never try many ports to meet a peer whose NAT gives out random ones), port_mapping (false: routers are not
-- asked to let peers in), background (true: do not wait until it is ready; @{ready} does), allow (function
-- of a peer's node id and what it asks for, a table with `type`: ECHO, GET_ADDR, DIRECT, PIPE, P2P_DIRECT,
-- ...: whether it may; it must not wait; or a list of node ids), deny (list of node ids that may nothing),
-- trust (list of node ids that are trusted from the beginning), limits (by name a number, or a table: see
-- @{p2pd.limit.budgets} and docs/security.md)
-- @treturn node the node, to be closed (`<close>`); or nil, message, code
-- @raise for an option that is not known or of a wrong kind, and for what is no strategy
function node.new(given)
  given = given or {}
  options.check(given, known.NODE, "node")
  check_limits(given.limits)
  local strategies = strategy.load(given.strategies or strategy.DEFAULT)
  local messages = strategy.messages(strategies)
  local settings, reason, code = config.resolve(given.settings)
  if not settings then return nil, reason, code end
  if not settings.mqtt[1] then return nil, "the settings name no MQTT broker", "EINVAL" end
  local key
  key, reason, code = open_key(given)
  if not key then return nil, reason, code end
  local tls
  tls, reason, code = core.tls.context(key)
  if not tls then return nil, reason, code end
  local self = start.make(Node, given, settings, key, tls, strategies)
  local held <close> = task.hold(self)
  local ok
  ok, reason, code = lock_name(self, given)
  if not ok then return nil, reason, code end
  self.time = clock.start(settings.ntp)
  start.signalling(self, messages)
  ok, reason, code = start.network(self, given)
  if not ok then return nil, reason, code end
  if not given.background then self:ready() end
  return held:release()
end

--- Waits until the external addresses are known as far as they can be, and a broker answers or none does.
-- @tparam[opt] number timeout seconds
-- @treturn boolean true; or nil, message, code
function methods:ready(timeout)
  local limit = deadline.after(timeout)
  while self.discovering or self.connecting do
    if self.closed then return nil, "the node is closed", "EBADF" end
    if limit:has_passed() then return nil, "timed out", "ETIMEDOUT" end
    self.changed:wait(limit:left())
  end
  return true
end

-- -- what the node is

--- Our present address as a table; `node.address` is its text.
function methods:describe()
  local records = self.network:records()
  return { mqtt = self.signal:offsets(), ipv4 = records.ipv4, ipv6 = records.ipv6, node_id = self.id }
end

local function count_of(set)
  local n = 0
  for _ in pairs(set) do n = n + 1 end
  return n
end

--- Counts and states, for people and tests: accepted and turned_away (streams), unverified (streams that have
-- not proved themselves), waiting (pipes, for accept()), answering (requests), refused (how often, by reason:
-- streams, requests and messages), limits (by name: number, used, refused), signalling (see signal.stats).
function methods:stats()
  return {
    accepted = self.counts.accepted,
    turned_away = self.counts.turned_away,
    unverified = count_of(self.unverified),
    waiting = self.accepted:count(),
    answering = self.responder:count(),
    refused = options.merge(self.refusals.counts),
    limits = self.limits:stats(),
    signalling = self.signal:stats(),
  }
end

--- Whether the node's `allow` and `deny` let a peer have what it asks for.
-- @tparam string peer_id
-- @tparam table m the request; for a stream to our listener `{ type = "DIRECT", from = peer_id }`
-- @treturn boolean
function methods:is_allowed(peer_id, m)
  if self.denied[peer_id] then return false end
  if not self.allow then return true end
  local ok, answer = pcall(self.allow, peer_id, m)
  if not ok then core.log.write("error", "allow failed, so nobody is: " .. tostring(answer)) end
  return ok and answer and true or false
end

-- -- accepting

--- Waits for a pipe that a peer has made to us. Without a protocol: for one that was made without one. From
-- the first call on the node speaks a protocol; what a peer wants by another one is refused.
-- @tparam[opt] string protocol such as "chat/1"
-- @tparam[opt] number timeout seconds
-- @treturn pipe; or nil, message, code (EBADF once the node is closed)
-- @raise for what is no name of a protocol
function methods:accept(protocol, timeout)
  if protocol == nil or type(protocol) == "number" then
    return self.accepted:take(nil, protocol or timeout)
  end
  if not accepted.is_protocol(protocol) then
    error(("accept: %s is no protocol's name"):format(tostring(protocol)), 2)
  end
  return self.accepted:take(protocol, timeout)
end

--- An iterator over @{accept}, until the node is closed.
-- @tparam[opt] string protocol
function methods:pipes(protocol)
  return function() return (self:accept(protocol)) end
end

-- -- what happens

--- What happens to the node, as it happens; the present state comes first. Each event is a table with a
-- `type`:
--
-- - "address": `address`, the present one, and `was`
-- - "interface": `name`, `number` (in the address), `ipv4` and `ipv6` (lists of our addresses), `gone`
-- - "nat": `interface`, `family`, `nic`, `external` (nil: not known), `nat` (see @{p2pd.nat.evidence.judge})
-- - "broker": `name`, `offset`, `state`, `reason`
-- - "mapping": a port on a router: `interface`, `family`, `nic`, `state` ("asking", "mapped", "none"),
--   `protocol`, `ip` and `port` (external), `verified` (peers are told), `reason` (why not), `gone`
-- - "pipe": `peer`, `strategy`, `id`, `interface`, `protocol`, `accepted` (whether the peer has made it)
-- - "path": `peer`, `why`, `from` and `to` (strategies), `pause` (seconds): a session goes by another path
-- - "refusal": `reason`, `from`
--
-- A listener that is too slow loses the oldest ones, and the next event's `missed` says how many.
-- @treturn listener an iterator, until the node is closed; also an object with `next([timeout])` and
-- `close()`
-- @usage for event in node:events() do print(event.type) end
function methods:events()
  start.tell_changes(self)
  self.changes:take()
  local listener = self.hub:listen()
  return listener, nil, nil, listener
end

--- Tells listeners of a pipe.
-- @local
function methods:tell_pipe(pipe, is_accepted)
  if not self.hub:is_heard() then return end
  self.hub:emit("pipe", { peer = pipe.peer, strategy = pipe.strategy, id = pipe.id,
    interface = pipe.interface, protocol = pipe.protocol, accepted = is_accepted })
end

-- -- dialing

-- The addresses that our user has named; and where a peer that we trust from now on may come from.
local function note_typed(self, peer)
  peer.typed = peers.named(peer)
  for _, family in ipairs(families.ALL) do
    for _, record in ipairs(peer[family]) do self.limits.trust:note_source(record.external) end
  end
end

-- A node id that is no key can't be proved: it is only talked to by who does not mind (`insecure`).
local function parse_peer(self, text, insecure)
  if self.closed then return nil, "the node is closed", "EBADF" end
  if type(text) ~= "string" then return nil, "the address is not a string", "EINVAL" end
  local peer, reason = peers.parse(text, self.settings, { insecure = insecure })
  if not peer then return nil, reason, "EINVAL" end
  note_typed(self, peer)
  return peer
end

--- Sends data over signalling and back.
-- @tparam string peer_address
-- @tparam string data up to 7,000 bytes
-- @tparam[opt=10] number timeout seconds
-- @treturn string data, and the round trip in seconds; or nil, message, code
function methods:echo(peer_address, data, timeout)
  local peer, reason, code = parse_peer(self, peer_address, self.insecure)
  if not peer then return nil, reason, code end
  if #data > ECHO_MAX then
    return nil, ("more than %d bytes do not fit a message"):format(ECHO_MAX), "EMSGSIZE"
  end
  local started = core.clock.monotonic()
  local answer
  answer, reason, code =
    self.signal:request(peer, "ECHO", { data = message.to_hex(data) }, timeout)
  if not answer then return nil, reason, code end
  return message.from_hex(answer.data), core.clock.monotonic() - started
end

--- Asks a peer for its present address.
-- @tparam string peer_address one that may be stale; its brokers and node id count
-- @tparam[opt=10] number timeout seconds
-- @treturn string; or nil, message, code
function methods:get_address(peer_address, timeout)
  local peer, reason, code = parse_peer(self, peer_address, self.insecure)
  if not peer then return nil, reason, code end
  local answer
  answer, reason, code = self.signal:request(peer, "GET_ADDR", nil, timeout)
  return answer and answer.address, reason, code
end

--- Connects to a peer. The node need not be ready: what can begin does.
-- @tparam string peer_address
-- @tparam[opt] table given timeout (seconds, 20), strategies (list of names or modules: else the node's),
-- policy ("race", "sequence" or a function of the dial), protocol (the name of what is to be spoken, such as
-- "chat/1": the peer refuses what it does not speak), exclusive (true: the pipe is a path of its own, and not
-- a stream of the session with the peer: it ends with the path, and can be detached), secure (false: without
-- TLS, which the peer must want too; without it as the node's)
-- @treturn pipe; or nil and an error object: its tostring is one sentence, its fields give each strategy's
-- reason
-- @raise for an option that is not known or of a wrong kind, and for what is no strategy or policy
function methods:connect(peer_address, given)
  local made, failure = self:prepare_dial(peer_address, given)
  if not made then return nil, failure end
  return made:connect()
end

--- The first step of @{connect}: what it tries can be looked at while the second one, `connect()`, waits.
-- @tparam string peer_address
-- @tparam[opt] table given as for @{connect}
-- @treturn p2pd.dial with `attempts`, as they are made; or nil and an error object
-- @raise as @{connect}
-- @local
function methods:prepare_dial(peer_address, given)
  given = given or {}
  options.check(given, known.CONNECT, "connect")
  local secure = given.secure
  if secure == nil then secure = not self.insecure end
  local peer, reason, code = parse_peer(self, peer_address, not secure)
  if not peer then return nil, dial.failure(reason, code) end
  local chosen = {
    secure = secure,
    timeout = given.timeout,
    strategies = given.strategies,
    policy = given.policy or self.policy,
    own_policy = given.policy ~= nil,
    protocol = given.protocol,
  }
  local is_alone = given.exclusive or peer.node_id == self.id
  local made = dial.new(self, peer, chosen)
  made.connect = function()
    local pipe, failure
    if is_alone then
      pipe, failure = made:run()
    else
      pipe, failure = self.open_sessions:connect(made, chosen)
    end
    if pipe then self:tell_pipe(pipe, false) end
    return pipe, failure
  end
  return made
end

--- The sessions with peers: what carries the pipes that are not exclusive.
-- @treturn {session,...} the oldest first; see @{p2pd.session}
function methods:sessions()
  return self.open_sessions:list()
end

-- -- the end

local function close_value(value)
  local meta = getmetatable(value)
  if type(meta) == "table" and meta.__close then meta.__close(value) end
end

--- Closes the node: its listeners, its signalling, the pipes nobody has accepted. Pipes in use stay.
function methods:close()
  if self.closed then return end
  self.closed = true
  self.tasks:cancel()
  if self.time then self.time:close() end
  if self.signal then self.signal:close() end
  if self.network.close then self.network:close() end
  for stream in pairs(self.unverified) do stream:abort() end
  self.open_sessions:close()
  for _, value in pairs(self.kept) do close_value(value) end
  self.accepted:close()
  self.changed:broadcast()
  self.hub:close()
end

Node.__close = methods.close

function Node:__tostring()
  return ("node %s (%s)"):format(self.name or self.id, self.closed and "closed" or "open")
end

return node
