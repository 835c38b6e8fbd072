--- How a node begins: what it is made of, its signalling and its network, and what each tells the others.
-- @module p2pd.node.start
local accepted = require "p2pd.node.accepted"
local acceptor = require "p2pd.node.acceptor"
local changes = require "p2pd.node.changes"
local events = require "p2pd.node.events"
local limits = require "p2pd.limit"
local message = require "p2pd.signal.message"
local network = require "p2pd.node.network"
local probe = require "p2pd.punch.probe"
local responder = require "p2pd.node.responder"
local sessions = require "p2pd.node.sessions"
local signal = require "p2pd.signal"
local task = require "p2pd.task"
local trouble = require "p2pd.node.trouble"
local upkeep = require "p2pd.node.upkeep"

local start = {}

-- -- its parts

local function set_of(ids)
  local set = {}
  for _, one in ipairs(ids or {}) do set[one] = true end
  return set
end

-- `allow` as a function, whatever it was given as; nil: everybody may.
local function allow_of(given)
  if type(given) ~= "table" then return given end
  local allowed = set_of(given)
  return function(peer_id) return allowed[peer_id] or false end
end

--- A node of which nothing runs yet.
-- @tparam table class its metatable
-- @tparam table given the options of `p2pd.node`
-- @tparam table settings
-- @tparam key key
-- @tparam tls_context tls of that key
-- @tparam {strategy,...} strategies
-- @treturn node
function start.make(class, given, settings, key, tls, strategies)
  local budget = limits.new { limits = given.limits, trusted = given.trust }
  local self = setmetatable({
    key = key,
    tls = tls,
    insecure = given.secure == false,
    id = key:id(),
    name = given.name,
    settings = settings,
    policy = given.policy,
    strategies = strategies,
    birthday = given.birthday ~= false,
    resume = given.resume or sessions.RESUME,
    network = { routes = {} },
    discovering = true, -- our routes' external addresses and NATs
    connecting = true,  -- our brokers
    changed = task.condition(),
    dials = setmetatable({}, { __mode = "k" }),
    expected = {}, -- dials that wait for the peer's connection, by pipe id
    accepted = accepted.new(given.protocols), -- pipes, for accept()
    unverified = {}, -- streams that have not proved themselves
    counts = { accepted = 0, turned_away = 0 },
    kept = {}, -- what strategies keep, by key
    allow = allow_of(given.allow),
    denied = set_of(given.deny),
    limits = budget,
    refusals = budget.refusals,
    tasks = task.group(),
  }, class)
  self.responder = responder.new(self)
  self.open_sessions = sessions.new(self)
  self.changes = changes.new(self)
  self.hub = events.new(function() return self.changes:present() end)
  self.refusals.on_news = function(reason, who) self.hub:emit("refusal", { reason = reason, from = who }) end
  self.trouble = trouble.new {
    is_online = function() return self.signal:is_online() end,
    is_offline = function() return self.network:is_offline() end,
  }
  return self
end

-- -- what runs

-- What the node does about each type of message: signalling's own, and its strategies'.
local function make_messages(self, messages)
  local all = {}
  for kind, entry in pairs(message.TYPES) do
    all[kind] = { fields = entry.fields, reply = entry.reply }
  end
  all.ECHO.handler = function(m) self.signal:reply(m, "ECHO_REPLY", { data = m.data }) end
  all.GET_ADDR.handler = function(m) self.signal:reply(m, "RETURN_ADDR") end
  for kind, entry in pairs(messages) do
    all[kind] = { fields = entry.fields, reply = entry.reply }
    if entry.receive then
      all[kind].handler = function(m) self.responder:receive(entry, m) end
    elseif entry.answer then
      all[kind].handler = function(m) self.tasks:detach(self.responder.answer, self.responder, entry, m) end
    end
  end
  return all
end

--- Tells who listens to the node's events what has changed. Before somebody does nothing is compared, since
-- he is told all there is.
-- @tparam node self
function start.tell_changes(self)
  if self.closed or not self.hub:is_heard() then return end
  for _, event in ipairs(self.changes:take()) do self.hub:emit(event.type, event) end
end

-- More is known of our routes, or of brokers: dials may have waited for it.
local function on_change(self)
  for under_way in pairs(self.dials) do under_way:wake() end
  self.open_sessions:wake()
  self.changed:broadcast()
  start.tell_changes(self)
end

-- What is wrong is known when both the outside and the brokers have been asked.
local function tell_trouble(self, notes, reason)
  if self.discovering or self.connecting then
    self.trouble:note(notes, reason)
  else
    self.trouble:tell(notes, reason)
  end
end

local function open_network(self, given)
  local found, reason, code = network.open {
    interfaces = given.interfaces,
    port = given.port,
    servers = self.settings.stun,
    port_mapping = given.port_mapping,
    on_listener = function(listener) self.tasks:detach(acceptor.serve, self, listener) end,
    on_change = function() on_change(self) end,
  }
  if not found then return nil, reason, code end
  self.network = found
  return true
end

local function keep_up(self)
  self.upkeep = upkeep.new {
    network = self.network,
    settings = self.settings,
    signal = self.signal,
    time = self.time,
    servers = self:keep("punch.servers", function() return probe.servers(self.settings.stun) end),
    tasks = self.tasks,
    on_discovery = function(begins, notes)
      self.discovering = begins
      if not begins then tell_trouble(self, notes) end
      on_change(self)
    end,
    on_change = function() on_change(self) end,
    on_network = function(...) self.open_sessions:on_network(...) end,
  }
  self.upkeep:start()
end

local function connect_brokers(self)
  local _, reason = self.signal:wait()
  self.connecting = false
  tell_trouble(self, nil, reason)
  on_change(self)
end

local function on_broker(self, broker, state, was, reason)
  if self.upkeep then self.upkeep:on_broker(state, was) end
  if state ~= "connecting" then tell_trouble(self, nil, reason and broker.name .. ": " .. reason) end
  on_change(self)
end

--- Its signalling; it connects meanwhile.
-- @tparam node self
-- @tparam table messages of its strategies, by type
function start.signalling(self, messages)
  self.signal = signal.new {
    key = self.key,
    insecure = self.insecure,
    allow = function(...) return self:is_allowed(...) end,
    limits = self.limits,
    mqtt = self.settings.mqtt,
    address = function() return self.address end,
    messages = make_messages(self, messages),
    on_broker = function(...) on_broker(self, ...) end,
  }
  self.signal:start()
  self.tasks:spawn(connect_brokers, self)
end

--- Its network, which is looked at whenever it may have changed.
-- @tparam node self
-- @tparam table given the options of `p2pd.node`
-- @treturn boolean true; or nil, message, code
function start.network(self, given)
  local found, reason, code = open_network(self, given)
  if not found then return nil, reason, code end
  keep_up(self)
  return true
end

return start
