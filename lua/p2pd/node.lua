--- The local peer: its interfaces, listeners and signalling; it accepts pipes and dials them.
-- @classmod p2pd.node
local core = require "p2pd.core"
local address = require "p2pd.address"
local clock = require "p2pd.clock"
local config = require "p2pd.config"
local dial = require "p2pd.dial"
local handshake = require "p2pd.handshake"
local interface = require "p2pd.net.interfaces"
local keyring = require "p2pd.keyring"
local expiring_map = require "p2pd.expiring_map"
local message = require "p2pd.signal.message"
local predict = require "p2pd.punch.predict"
local acceptor = require "p2pd.node.acceptor"
local refusals = require "p2pd.limit.refusals"
local signal = require "p2pd.signal"
local strategy = require "p2pd.strategy"
local task = require "p2pd.task"

local node = {}

local ANSWERS_MAX = 32    -- requests of peers that are answered at once
local ANSWERS_STRANGERS_MAX = 24 -- of them those of peers that are no friends (p2pd.signal.admission)
local ANSWERS_PEER_MAX = 16      -- and those of one peer
local MADE_MAX = 1024     -- pipe ids that are remembered
local ANSWER_TIMEOUT = 4  -- seconds for each, unless its strategy takes longer

local methods = {}
local Node = { __name = "p2pd.node" }

function Node:__index(key)
  if key == "address" then return address.format(self:describe()) end
  return methods[key]
end

-- -- start

local function listen_on(route, port)
  local ip = route.nic
  if core.inet.class(ip) == "link-local" then ip = ip .. "%" .. route.name end
  return core.tcp.listen { ip = ip, port = port }
end

-- A listener for each NIC address; a route whose port the kernel chose keeps it for its link-local twin.
local function open_listeners(self, port)
  for _, route in ipairs(self.routes) do
    local listener, reason, code = listen_on(route, port)
    if not listener then return nil, reason, code end
    table.insert(self.listeners, listener)
    local _
    _, route.port = listener:getsockname()
    if route.family == "ipv6" and route.internal ~= route.nic then
      local twin = listen_on({ nic = route.internal, name = route.name }, route.port)
      if twin then table.insert(self.listeners, twin) end
    end
  end
  return true
end

local function discover(self, options)
  local interfaces, left_out, code = interface.list { names = options.interfaces }
  if not interfaces then return nil, left_out, code end
  for _, why in ipairs(left_out or {}) do core.log.write("info", "interface left out: " .. why) end
  local routes, notes = interface.routes(interfaces, self.settings.stun)
  for _, note in ipairs(notes or {}) do core.log.write("warn", note) end
  self.routes = routes
  return open_listeners(self, options.port or 0)
end

local function connect_brokers(self)
  local ok, reasons = self.signal:start()
  if not ok then
    core.log.write("warn", "no broker answers, so nobody can signal this node yet: " .. reasons)
  end
  return true
end

local function check_options(options)
  local port = options.port
  if port ~= nil and (math.type(port) ~= "integer" or port < 0 or port > 65535) then
    error(("node: port %s is not an integer from 0 to 65535"):format(tostring(port)), 3)
  end
  if options.name ~= nil and type(options.name) ~= "string" then error("node: name is not a string", 3) end
  if options.interfaces ~= nil and type(options.interfaces) ~= "table" then
    error("node: interfaces is not a list of names", 3)
  end
  if options.allow ~= nil and type(options.allow) ~= "function" then
    error("node: allow is not a function", 3)
  end
  for _, name in ipairs { "secure", "many_ports" } do
    if options[name] ~= nil and type(options[name]) ~= "boolean" then
      error(("node: %s is not true or false"):format(name), 3)
    end
  end
  if options.policy ~= nil then dial.find_policy(options.policy) end
end

--- Starts a node. It is ready when its external addresses are known and a broker answers; dead servers do
-- not stop it.
-- @tparam[opt] table options name (its key is kept under it, see p2pd.keyring; without one a key is made for
-- this run), key (to be used instead), port (0: any), interfaces (list of names), settings (table or path),
-- policy (of its dials: a name or a function), secure (false: it also takes, and makes, pipes without TLS),
-- many_ports (false: never try many ports to meet a peer whose NAT gives out random ones),
-- allow (function of a peer's node id and what it asks for, a table with `type`: ECHO, GET_ADDR, DIRECT,
-- P2P_DIRECT, ...: whether it may; it must not wait)
-- @treturn node the node, to be closed (`<close>`); or nil, message, code
function node.new(options)
  options = options or {}
  check_options(options)
  local settings, reason, code = config.resolve(options.settings)
  if not settings then return nil, reason, code end
  if not settings.mqtt[1] then return nil, "the settings name no MQTT broker", "EINVAL" end
  local key = options.key
  if not key then key, reason, code = keyring.open(options.name) end
  if not key then return nil, reason, code end
  local tls
  tls, reason, code = core.tls.context(key)
  if not tls then return nil, reason, code end
  local self = setmetatable({
    key = key,
    tls = tls,
    insecure = options.secure == false,
    id = key:id(),
    name = options.name,
    settings = settings,
    policy = options.policy,
    many_ports = options.many_ports ~= false,
    routes = {},
    listeners = {},
    expected = {}, -- dials that wait for the peer's connection, by pipe id
    answering = {}, -- requests that are being answered, by type, pipe id and sender: from, pipe, task
    made = expiring_map.new(MADE_MAX), -- pipe id and peer of pipes that peers have made to us
    accepted = { answers = 0, waiting = task.condition() },
    strangers = {}, -- streams whose first lines are still to come
    unverified = 0, -- how many those are
    counts = { accepted = 0, turned_away = 0 },
    allow = options.allow,
    refusals = refusals.new(),
    tasks = task.group(),
  }, Node)
  local held <close> = task.hold(self)
  self.time = clock.start(settings.ntp)
  self.signal = signal.new {
    key = key,
    insecure = self.insecure,
    allow = function(...) return self:is_allowed(...) end,
    refusals = self.refusals,
    mqtt = settings.mqtt,
    address = function() return self.address end,
    handlers = self:handlers(),
  }
  local ok
  ok, reason, code = task.all(
    function() return discover(self, options) end,
    function() return connect_brokers(self) end)
  if not ok then return nil, reason, code end
  for _, listener in ipairs(self.listeners) do self.tasks:spawn(acceptor.serve, self, listener) end
  return held:release()
end

-- -- what the node is

--- Our present address as a table; `node.address` is its text.
function methods:describe()
  local records = { ipv4 = {}, ipv6 = {} }
  for _, route in ipairs(self.routes) do
    table.insert(records[route.family], {
      interface = route.interface,
      external = route.external,
      internal = route.internal,
      port = route.port,
      nat = predict.advertise(route.nat),
    })
  end
  return { mqtt = self.signal:offsets(), ipv4 = records.ipv4, ipv6 = records.ipv6, node_id = self.id }
end

--- Candidate pairs: each of our routes with each of a peer's of the same family.
-- @tparam table peer a parsed address
-- @treturn {table,...} route (ours), remote (a record of the peer's), family
function methods:pairs(peer)
  local list = {}
  for _, route in ipairs(self.routes) do
    for _, remote in ipairs(peer[route.family]) do
      list[#list + 1] = { route = route, remote = remote, family = route.family }
    end
  end
  return list
end

--- The interface that a stream goes by, or nil.
function methods:interface_of(stream)
  local ip = (stream:getsockname() or ""):gsub("%%.*", "")
  for _, route in ipairs(self.routes) do
    if ip == route.nic or ip == route.internal then return route.name end
  end
end

local function copy(from)
  local to = {}
  for key, value in pairs(from) do to[key] = value end
  return to
end

--- Counts and states, for people and tests: accepted and turned_away (streams), unverified (streams that have
-- not proved themselves), waiting (pipes, for accept()), answering (requests), refused (how often, by reason:
-- streams, requests and messages), signalling (see signal.stats).
function methods:stats()
  return {
    accepted = self.counts.accepted,
    turned_away = self.counts.turned_away,
    unverified = self.unverified,
    waiting = #self.accepted,
    answering = self.accepted.answers,
    refused = copy(self.refusals.counts),
    signalling = self.signal:stats(),
  }
end

--- Whether the node's `allow` lets a peer have what it asks for.
-- @tparam string peer_id
-- @tparam table m the request; for a stream to our listener `{ type = "DIRECT", from = peer_id }`
-- @treturn boolean
function methods:is_allowed(peer_id, m)
  if not self.allow then return true end
  local ok, answer = pcall(self.allow, peer_id, m)
  if not ok then core.log.write("error", "allow failed, so nobody is: " .. tostring(answer)) end
  return ok and answer and true or false
end

-- -- accepting

--- Waits for a pipe that a peer has made to us.
-- @tparam[opt] number timeout seconds
-- @treturn pipe; or nil, message, code (EBADF once the node is closed)
function methods:accept(timeout)
  local accepted = self.accepted
  local deadline = timeout and core.clock.monotonic() + timeout
  while #accepted == 0 do
    if self.closed then return nil, "the node is closed", "EBADF" end
    local left = deadline and math.max(0, deadline - core.clock.monotonic())
    local ok, reason, code = accepted.waiting:wait(left)
    if not ok and #accepted == 0 then return nil, reason, code end
  end
  return table.remove(accepted, 1)
end

--- An iterator over @{accept}, until the node is closed.
function methods:pipes()
  return function() return (self:accept()) end
end

--- A pipe of a peer has come about: what else was to make one for the same dial is over.
function methods:settle(peer_id, pipe_id)
  self.made:set(pipe_id .. " " .. peer_id, true, core.clock.monotonic())
  local others = {}
  for _, answering in pairs(self.answering) do
    local is_same = answering.from == peer_id and answering.pipe == pipe_id
    if is_same and answering.task ~= core.task.running() then others[#others + 1] = answering.task end
  end
  for _, other in ipairs(others) do other:cancel() end
end

-- -- signalling

local function refuse(self, m, reason, counted)
  self.refusals:note(counted or reason, m.from, "%s of %s was refused: %s", m.type, m.from, reason)
  self.signal:reply(m, "REFUSED", { pipe = m.pipe, reason = reason:sub(1, 200):gsub("%c", " ") })
end

-- Some places are kept for friends, and nobody takes more than a share.
local function has_room(self, m)
  local accepted = self.accepted
  local places = self.signal.admission:is_trusted(m.from) and ANSWERS_MAX or ANSWERS_STRANGERS_MAX
  local of_peer = 0
  for _, answering in pairs(self.answering) do
    if answering.from == m.from then of_peer = of_peer + 1 end
  end
  return accepted.answers < places and of_peer < ANSWERS_PEER_MAX and #accepted < acceptor.ACCEPTED_MAX
end

-- A peer's request for a stream that a strategy of ours makes.
local function answer_request(self, name, m)
  local accepted, key = self.accepted, table.concat({ m.type, m.pipe, m.from }, " ")
  if self.answering[key] or self.made:get(m.pipe .. " " .. m.from) then return end
  if not has_room(self, m) then return refuse(self, m, "too busy") end
  if m.insecure and not self.insecure then
    return refuse(self, m, "only encrypted pipes here", "not encrypted")
  end
  self.answering[key] = { from = m.from, pipe = m.pipe, task = core.task.running() }
  accepted.answers = accepted.answers + 1
  local _ <close> = setmetatable({}, { __close = function()
    self.answering[key] = nil
    accepted.answers = accepted.answers - 1
  end })
  local module = strategy.find(name)
  local stream, reason, code = task.timeout(module.answer_timeout or ANSWER_TIMEOUT, module.answer, self, m)
  if stream then
    return acceptor.offer(self, stream,
      { strategy = name, peer = m.from, id = m.pipe, secure = not m.insecure })
  end
  if code ~= "ECANCELED" then refuse(self, m, reason, code == "EACCES" and "not allowed" or "failed") end
end

--- The answerer's part on a stream that a strategy connected for a request: waits until the dialer has proved
-- who it is and has chosen this stream.
-- @tparam stream stream taken over: closed when this fails
-- @tparam table m the request
-- @treturn stream a verified stream; or nil, message, code (ECANCELED when the dialer chose another)
function methods:admit(stream, m)
  local held <close> = task.hold(stream)
  local hello, reason, code = handshake.receive(stream)
  if code == "EACCES" or code == "ECONNRESET" then
    return nil, "the dialer does not wait any more", "ECANCELED"
  end
  if not hello then return nil, reason, code end
  if hello.role == "back" then return nil, "an unexpected first line", "EPROTO" end
  local found
  found, reason, code = handshake.answer(stream, hello,
    { to = self.id, from = m.from, pipe = m.pipe, context = self.tls,
      insecure = m.insecure and self.insecure })
  if not found then return nil, reason, code end
  return held:release()
end

--- What the node does about each type of message.
function methods:handlers()
  local handlers = {
    ECHO = function(m) self.signal:reply(m, "ECHO_REPLY", { data = m.data }) end,
    GET_ADDR = function(m) self.signal:reply(m, "RETURN_ADDR") end,
  }
  for _, name in ipairs(strategy.NAMES) do
    local request = strategy.find(name).request
    if request then
      handlers[request] = function(m) self.tasks:detach(answer_request, self, name, m) end
    end
  end
  return handlers
end

-- A node id that is no key can't be proved: it is only talked to by who does not mind (`insecure`).
local function parse_peer(self, text, insecure)
  if self.closed then return nil, "the node is closed", "EBADF" end
  if type(text) ~= "string" then return nil, "the address is not a string", "EINVAL" end
  local peer, reason = address.parse(text, self.settings)
  if not peer then return nil, "not a peer address: " .. reason, "EINVAL" end
  if not insecure and not core.keys.is_id(peer.node_id) then
    return nil, ("the node id %s is no key: only with secure = false"):format(peer.node_id), "EINVAL"
  end
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
  if #data > 7000 then return nil, "more than 7000 bytes do not fit a message", "EMSGSIZE" end
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

--- Connects to a peer.
-- @tparam string peer_address
-- @tparam[opt] table options timeout (seconds, 20), strategies (list of names or modules), policy ("race",
-- "sequence" or a function of the dial), secure (false: without TLS, which the peer must want too; without it
-- as the node's)
-- @treturn pipe; or nil and an error object: its tostring is one sentence, its fields give each strategy's
-- reason
-- @raise for an unknown strategy or policy
function methods:connect(peer_address, options)
  options = options or {}
  local secure = options.secure
  if secure == nil then secure = not self.insecure end
  local peer, reason, code = parse_peer(self, peer_address, not secure)
  if not peer then return nil, dial.failure(reason, code) end
  return dial.new(self, peer, {
    secure = secure,
    timeout = options.timeout,
    strategies = options.strategies,
    policy = options.policy or self.policy,
  }):run()
end

--- Closes the node: its listeners, its signalling, the pipes nobody has accepted. Pipes in use stay.
function methods:close()
  if self.closed then return end
  self.closed = true
  self.tasks:cancel()
  if self.time then self.time:close() end
  if self.signal then self.signal:close() end
  for _, listener in ipairs(self.listeners) do listener:close() end
  for stream in pairs(self.strangers) do stream:close() end
  while #self.accepted > 0 do table.remove(self.accepted):close() end
  self.accepted.waiting:broadcast()
end

Node.__close = methods.close

function Node:__tostring()
  return ("node %s (%s)"):format(self.name or self.id, self.closed and "closed" or "open")
end

return node
