--- The brokers of a node: those of its address, and those that it joins to reach a peer.
-- @classmod p2pd.signal.brokers
local core = require "p2pd.core"
local deadline = require "p2pd.deadline"
local fresh = require "p2pd.signal.fresh"
local proxy = require "p2pd.proxy"
local task = require "p2pd.task"

local brokers = {}

brokers.START_WAIT = 1.0 -- seconds for which a node's start waits for a first broker

local WANTED = 3     -- in our address
local RESTART_S = 30 -- a broker that was there so lately may be back soon

local Brokers = { __name = "p2pd.signal.brokers" }
Brokers.__index = Brokers

--- Makes a set of which none is connected yet.
-- @tparam {table,...} servers the settings' `mqtt`
-- @tparam string topic the node's id
-- @tparam function on_message called with each payload and the broker by which it came
-- @tparam[opt] function on_state called with each broker whose state has changed, the new one, the last one
-- and why
function brokers.new(servers, topic, on_message, on_state)
  return setmetatable({
    servers = servers,
    topic = topic,
    on_message = on_message,
    on_state = on_state or function() end,
    joined = {}, -- by offset: { offset, client, name, left_at }
    chosen = {}, -- offsets of our address, best first
    next_offset = 0, -- of the server that is chosen next
    tasks = task.group(),
    changed = task.condition(), -- wakes whenever a broker's state has changed
  }, Brokers)
end

local function name_of(server)
  return ("%s:%d"):format(server.host, server.port)
end

--- How a broker is spoken to.
-- @tparam table server an entry of the settings' `mqtt`
-- @treturn table options of `core.mqtt.open`
function brokers.options(server)
  local options = {}
  for _, name in ipairs { "host", "port", "tls", "ca", "cert", "key", "user", "pass", "websocket" } do
    options[name] = server[name]
  end
  for name, value in pairs(proxy.choose(server) or {}) do options["proxy_" .. name] = value end
  return options
end

local function is_online(broker)
  return broker ~= nil and broker.client:state() == "online"
end

local function read(self, broker, client)
  while true do
    local topic, payload = client:receive()
    if not topic then return end
    self.on_message(payload, broker)
  end
end

-- Whether the broker lets us have our topic: known once it has answered.
local function note_subscription(self, broker, client, state)
  if state == "online" and client:wait_online() and broker.refused then
    broker.refused = nil
    self.changed:broadcast()
  elseif state == "refused" and not broker.refused then
    broker.refused = true
    if broker.is_chosen then self:replace() end
  end
end

-- While nobody answered many were tried; once enough do, the others are let go, unless a peer needs them.
local function is_surplus(self, broker)
  local online = 0
  for _, offset in ipairs(self.chosen) do
    if offset ~= broker.offset and is_online(self.joined[offset]) then online = online + 1 end
  end
  return online >= WANTED and not broker.is_peers
end

local function let_go(self, broker)
  self.joined[broker.offset] = nil
  for i, offset in ipairs(self.chosen) do
    if offset == broker.offset then table.remove(self.chosen, i) end
  end
  broker.client:close()
end

local function watch(self, broker, client)
  local state = client:state()
  while state and state ~= "closed" do
    note_subscription(self, broker, client, state)
    local was = state
    state = client:wait_change(state)
    if client ~= broker.client then return end
    if was == "online" and state ~= "refused" then broker.left_at = core.clock.monotonic() end
    self.changed:broadcast()
    if not state or state == "closed" then return end
    self.on_state(broker, state, was, select(2, client:state()))
    if state == "online" and is_surplus(self, broker) then let_go(self, broker) end
  end
end

--- Opens a client that gets the messages of this node.
-- @tparam table server
-- @treturn p2pd.mqtt; or nil, message, code
-- @local
function Brokers:open(server)
  local client, reason, code = core.mqtt.open(brokers.options(server))
  if not client then return nil, reason, code end
  client:subscribe(self.topic)
  return client
end

--- From now on a broker is spoken to by this client.
-- @tparam table broker
-- @tparam p2pd.mqtt client
-- @local
function Brokers:attend(broker, client)
  broker.client = client
  self.tasks:detach(read, self, broker, client)
  self.tasks:detach(watch, self, broker, client)
end

--- The broker of an offset, joined when it is first asked for.
-- @tparam integer offset into the settings' list
-- @treturn table offset, client, name; or nil and why there is none
function Brokers:join(offset)
  if self.joined[offset] then return self.joined[offset] end
  local server = self.servers[offset + 1]
  if not server then return nil, "not in the settings" end
  local client, reason = self:open(server)
  if not client then return nil, reason end
  local broker = { offset = offset, name = name_of(server), server = server, urges = 0, doubts = 0,
    doubted_at = -math.huge }
  self.joined[offset] = broker
  self:attend(broker, client)
  return broker
end

--- Somebody waits for these brokers, until what is returned is closed: fresh connections are tried beside
-- those that do not get on.
-- @tparam {table,...} list as @{route} gives it
-- @return a value to hold in a `<close>` variable
function Brokers:urge(list)
  return fresh.urge(self, list)
end

--- Something else that went the same way has gone silent: a fresh connection takes the place of each that is
-- online, as soon as it is there. The last one is used until then. A fresh one may be lost in the same way,
-- so one more is tried when there is doubt again a second later.
function Brokers:doubt()
  local now = core.clock.monotonic()
  for _, broker in ipairs(self:online()) do
    if now >= broker.doubted_at + fresh.EVERY_S then
      broker.doubted_at = now
      self.tasks:detach(fresh.check, self, broker)
    end
  end
end

--- The broker of an offset if it has been joined, or nil.
function Brokers:known(offset)
  return self.joined[offset]
end

--- The offsets of our address: brokers that answer first, then those we wait for. One that refuses us our
-- topic is not among them, unless all do: an address names one at least.
-- @treturn {integer,...} 1 to 3 of them
function Brokers:offsets()
  local list = {}
  for _, want in ipairs { true, false } do
    for _, offset in ipairs(self.chosen) do
      local broker = self.joined[offset]
      local is_refused = broker and broker.refused
      if is_online(broker) == want and not is_refused and #list < WANTED then list[#list + 1] = offset end
    end
  end
  return list[1] and list or { self.chosen[1] }
end

-- The next server of the list, as one of our address.
local function choose_next(self)
  local offset = self.next_offset
  if not self.servers[offset + 1] then return nil end
  self.next_offset = offset + 1
  table.insert(self.chosen, offset)
  return offset
end

-- Stands for one of our brokers: tries servers from the list until one answers. The last one tried is kept
-- even if it is down: it is asked for ever, and may come back.
local function find_one(self, offset)
  local progress = self.progress
  while offset do
    local broker, reason = self:join(offset)
    local ok
    if broker then ok, reason = broker.client:wait_online(brokers.START_WAIT) end
    ok = ok or is_online(broker) -- by a fresh connection
    if broker then broker.is_chosen, broker.refused = true, broker.client:state() == "refused" end
    if ok then
      progress.online = progress.online + 1
      break
    end
    reason = reason:gsub("^mqtt .- port %d+: ", "")
    table.insert(progress.reasons, ("%s: %s"):format(name_of(self.servers[offset + 1]), reason))
    offset = choose_next(self)
  end
  progress.pending = progress.pending - 1
  self.changed:broadcast()
end

--- Takes the next broker of the list for one that refuses us.
function Brokers:replace()
  local progress, offset = self.progress, choose_next(self)
  if not offset then return end
  progress.pending = progress.pending + 1
  self.tasks:spawn(find_one, self, offset)
end

--- Begins to connect to the brokers of our address.
function Brokers:start()
  self.progress = { pending = math.min(WANTED, #self.servers), online = 0, reasons = {} }
  for _ = 1, self.progress.pending do self.tasks:spawn(find_one, self, choose_next(self)) end
end

--- Waits until the first of them answers, or none does (then all are tried on).
-- @treturn boolean whether a broker answers; else false and the first reason
function Brokers:wait()
  local progress, limit = self.progress, deadline.after(brokers.START_WAIT)
  while progress.online == 0 and progress.pending > 0 and not limit:has_passed() do
    self.changed:wait(limit:left())
  end
  if progress.online > 0 then return true end
  local reasons = progress.reasons
  if not reasons[1] then return false, "no answer yet" end
  return false, #reasons == 1 and reasons[1] or ("%s, and %d more"):format(reasons[1], #reasons - 1)
end

--- Whether any of our address answers.
-- @treturn boolean
function Brokers:is_online()
  for _, offset in ipairs(self.chosen) do
    if is_online(self.joined[offset]) then return true end
  end
  return false
end

--- Those that are connected.
-- @treturn {table,...} as @{join} gives them
function Brokers:online()
  local list = {}
  for _, broker in pairs(self.joined) do
    if is_online(broker) then list[#list + 1] = broker end
  end
  return list
end

--- Connects anew where that is needed: what is not connected is tried at once.
-- @tparam function find_fault called with the local and the remote address of each connection; returns why it
-- is not to be trusted any more, or nil
function Brokers:reconnect(find_fault)
  for _, broker in pairs(self.joined) do
    local from = broker.client:getsockname()
    local fault = not from and "the network has changed"
      or find_fault(from, (broker.client:getpeername()))
    if fault and broker.client:state() ~= "refused" then broker.client:reconnect(fault) end
  end
end

--- A peer's brokers, those that we are connected to first. Those that we are not are joined.
-- @tparam table peer a parsed address
-- @treturn {table,...} as @{join} gives them
function Brokers:route(peer)
  local online, others = {}, {}
  for _, offset in ipairs(peer.mqtt) do
    local broker = self:join(offset)
    if broker then
      broker.is_peers = true
      table.insert(is_online(broker) and online or others, broker)
    end
  end
  return table.move(others, 1, #others, #online + 1, online)
end

--- Whether one of some brokers, for which a message is not too large, may come online soon.
-- @tparam {table,...} list as @{route} gives it
function brokers.has_hope(list)
  for _, broker in ipairs(list) do
    if broker.client:state() == "connecting" then return true end
  end
  return false
end

--- Why none of some brokers can be used, when that is so and is not about to change: each has been tried, and
-- none was there lately.
-- @tparam {table,...} list as @{route} gives it
-- @treturn ?string nil while there is hope
function brokers.find_outage(list)
  local reasons, now = {}, core.clock.monotonic()
  for _, broker in ipairs(list) do
    local state, reason = broker.client:state()
    local is_down = state == "offline" or state == "refused"
    if not is_down or now - (broker.left_at or -math.huge) < RESTART_S then return nil end
    reasons[#reasons + 1] = ("%s: %s"):format(broker.name, reason)
  end
  return "no broker of the peer's answers (" .. table.concat(reasons, "; ") .. ")"
end

--- How they stand, for people and for tests.
-- @treturn {table,...} name, offset, state, reason
function Brokers:stats()
  local list = {}
  for _, broker in pairs(self.joined) do
    local state, reason = broker.client:state()
    list[#list + 1] = { name = broker.name, offset = broker.offset, state = state, reason = reason }
  end
  table.sort(list, function(a, b) return a.offset < b.offset end)
  return list
end

--- Leaves every broker.
function Brokers:close()
  self.tasks:cancel()
  for _, broker in pairs(self.joined) do broker.client:close() end
  self.changed:broadcast()
end

Brokers.__close = Brokers.close

return brokers
