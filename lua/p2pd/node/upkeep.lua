--- Keeps what a node knows of its network up to date, for as long as it lives. It looks again when the
-- kernel tells of a change, when the machine has slept, when a broker's connection breaks, when somebody
-- outside sees another address than the one that we tell, and now and then.
--
-- A router whose provider gives it another address tells nobody behind it. So one STUN server is asked every
-- 12 s or so for our address: 20 bytes there and about 32 back, to one server, a different one each time;
-- every 3 s while nobody answers, since the line may be back any moment.
-- @classmod p2pd.node.upkeep
local core = require "p2pd.core"
local expiring_map = require "p2pd.expiring_map"
local nat = require "p2pd.nat"
local merge = require("p2pd.options").merge
local outside = require "p2pd.net.outside"
local rate = require "p2pd.limit.rate"
local task = require "p2pd.task"

local upkeep = {}

upkeep.CHECK_S = 12       -- between two questions to the outside
upkeep.SILENT_CHECK_S = 3 -- the same while nobody answers

local JITTER = 0.15     -- share of it by which nodes drift apart
local RETRY_S = 5       -- until a listener that could not be had is tried again
local SLOW_S = 900      -- after which everything is looked at, whatever happened
local SILENCES = 2      -- questions without an answer that count as a cut
local DISCOVERIES = { 1, 5, 10 } -- so many in so many seconds, so many at once: each is dozens of packets
local TURN_S = 1        -- until one that has to wait for its turn asks again
local NEWS = { 1, 15, 8 }        -- contradictions by an address that nobody has named before
local DOUBTS = { 1, 120, 3 }     -- and by others: some NATs have several, for ever
local SEEN_MAX, SEEN_S = 64, 3600 -- external addresses that are remembered

local Upkeep = { __name = "p2pd.node.upkeep" }
Upkeep.__index = Upkeep

--- Keeps what a node knows of its network true.
-- @tparam table options network, settings, signal, time (the node's, see p2pd.clock), servers (STUN servers,
-- see @{p2pd.punch.probe}), tasks (a group), on_discovery (called when the servers begin to be asked, with
-- true; and with false and the notes of @{p2pd.node.network:discover} at the end), on_change (called when
-- routes have changed), on_network (called then and when connections are not to be trusted: with a function
-- that tells from a connection's local and remote IP why it is dead, or nil; and whether all are in doubt)
function upkeep.new(options)
  return setmetatable({
    network = options.network,
    settings = options.settings,
    signal = options.signal,
    time = options.time,
    servers = options.servers,
    tasks = options.tasks,
    on_discovery = options.on_discovery,
    on_change = options.on_change,
    on_network = options.on_network or function() end,
    requested = task.condition(),
    check_now = task.condition(),
    discoveries = rate.new(table.unpack(DISCOVERIES)),
    news = rate.new(table.unpack(NEWS)),
    doubts = rate.new(table.unpack(DOUBTS)),
    seen = expiring_map.new(SEEN_MAX, SEEN_S), -- external addresses
    turn = math.random(0, 63), -- which server is asked next
    silences = 0,
  }, Upkeep)
end

local function now()
  return core.clock.monotonic()
end

--- Asks for another look. Waits for nothing.
-- @tparam string why for the log
-- @tparam[opt] table wanted `discover`: true to ask the servers even if nothing has changed here;
-- `reconnect`: true when connections to brokers are not to be trusted
function Upkeep:request(why, wanted)
  core.log.write("debug", "the network is looked at: " .. why)
  self.wanted = merge(self.wanted or {}, wanted)
  self.requested:signal()
end

--- Somebody outside contradicts what our address says.
-- @tparam string why
-- @tparam[opt] string ip the external address that was seen instead
function Upkeep:doubt(why, ip)
  if self.discovery then return end
  local is_known = not ip or self.seen:get(ip)
  if not (is_known and self.doubts or self.news):take("", now()) then return end
  self:request(why, { discover = true })
end

-- -- asking the servers

local function externals_of(network)
  local externals = {}
  for _, route in ipairs(network.routes) do
    if route.external_known then externals[route.family .. route.nic] = route.external end
  end
  return externals
end

local function is_moved(before, after)
  for key, external in pairs(before) do
    if after[key] and after[key] ~= external then return true end
  end
  return false
end

local function discover(self)
  local network = self.network
  while not self.discoveries:take("", now()) do task.sleep(TURN_S) end
  local before = externals_of(network)
  local notes = network:discover(self.settings.stun)
  for _, external in pairs(externals_of(network)) do self.seen:set(external, true, now()) end
  self.silences = network:is_offline() and SILENCES or 0
  self.discovery = nil
  if is_moved(before, externals_of(network)) then
    self.signal:reconnect(function() return "our address outside is another one" end)
    self.on_network(function() end, true)
    network:renew_mapping()
  end
  self.on_discovery(false, notes)
end

local function begin_discovery(self)
  if self.discovery then self.discovery:cancel() end
  self.on_discovery(true)
  self.discovery = self.tasks:detach(discover, self)
end

-- -- looking

-- Why a connection to a broker is dead, or nil: its address is gone, or packets from it now leave elsewhere.
local function find_fault(network, from, to)
  if not network:has(from) then return "its local address is gone" end
  local source, name = core.netif.way(to, from)
  if not source then return "there is no way to it any more" end
  local owner = network:owner(from)
  if name and owner and name ~= owner then return ("the way out is now %s, not %s"):format(name, owner) end
end

local function look(self)
  local changed, reason = self.network:look()
  if changed == nil then
    core.log.write("warn", "the interfaces cannot be looked at: " .. reason)
    return false
  end
  return changed
end

local function act(self, wanted)
  local changed = look(self)
  if wanted.reconnect then
    self.signal:reconnect(function() return "the network was away" end)
    self.network:renew_mapping()
  elseif changed then
    self.signal:reconnect(function(from, to) return find_fault(self.network, from, to) end)
  end
  if changed or wanted.reconnect then
    self.on_network(function(from, to) return find_fault(self.network, from, to) end, wanted.reconnect)
    self.time:retry()
  end
  if changed or wanted.discover then begin_discovery(self) end
  if changed then self.on_change() end
end

local function run(self)
  while true do
    while not self.wanted do
      local ok = self.requested:wait(self.network:is_short() and RETRY_S or SLOW_S)
      if not ok and not self.wanted then
        self.wanted = { discover = not self.network:is_short() }
      end
    end
    local wanted = self.wanted
    self.wanted = nil
    act(self, wanted)
  end
end

-- -- the kernel

local function watch_kernel(self)
  local watch <close>, reason = core.netif.watch()
  if not watch then return core.log.write("warn", "changes of the network are not seen: " .. reason) end
  while true do
    local what = watch:wait()
    if what == "awake" then
      self:request("the machine has slept", { discover = true, reconnect = true })
    elseif what then
      self:request("the kernel tells of a change")
    end
  end
end

-- -- the outside

-- A global IPv6 address is its own external one: its change is the kernel's to tell.
local function is_worth_asking(route)
  return not route.loopback and not (route.family == "ipv6" and route.external == route.nic)
end

local function is_multihomed(found)
  for _, route in ipairs(found) do
    if route.name ~= found[1].name then return true end
  end
  return false
end

local function ask(self, route, several)
  local targets = self.servers:targets(route.family, outside.TIMEOUT)
  return outside.ask(route, targets, self.turn, {
    interface = several and route.name or nil,
    is_tcp = route.external_known and route.nat and route.nat.type == nat.BLOCKED,
  })
end

-- What each route's question brought: whether any was answered, and a contradiction with the address in it.
local function ask_all(self, routes)
  local questions, answered, contradiction, seen = {}, false, nil, nil
  local several = is_multihomed(routes)
  for i, route in ipairs(routes) do
    questions[i] = function()
      local told = route.external_known and route.external
      local ip = ask(self, route, several)
      answered = answered or ip ~= nil
      if ip and ip ~= told then
        contradiction, seen = ("a STUN server sees %s, not %s"):format(ip, told or "nothing"), ip
      end
      return true
    end
  end
  task.all(questions)
  return answered, contradiction, seen
end

local function check(self)
  local routes = {}
  for _, route in ipairs(self.network.routes) do
    if is_worth_asking(route) then routes[#routes + 1] = route end
  end
  if not routes[1] then return end
  self.turn = self.turn + 1
  local answered, contradiction, seen = ask_all(self, routes)
  if self.discovery then return end
  if not answered then
    self.silences = self.silences + 1
  elseif self.silences >= SILENCES then
    self:request("the outside answers again", { discover = true, reconnect = true })
  else
    self.silences = 0
    if contradiction then self:doubt(contradiction, seen) end
  end
end

local function watch_outside(self)
  if not self.settings.stun[1] then return end
  while true do
    local pause = self.silences > 0 and upkeep.SILENT_CHECK_S or upkeep.CHECK_S
    self.check_now:wait(pause * (1 + JITTER * (math.random() - 0.5)))
    if not self.discovery then check(self) end
  end
end

--- A broker's connection has come or gone: the network may be another one.
-- @tparam string state its new one
-- @tparam string was its last one
function Upkeep:on_broker(state, was)
  if was == "online" and state == "offline" then
    self:request "a broker's connection broke"
    self.check_now:signal()
  elseif state == "online" and self.silences >= SILENCES then
    self.check_now:signal()
  end
end

-- -- begin

--- Begins: the servers are asked at once.
function Upkeep:start()
  local tasks = self.tasks
  begin_discovery(self)
  tasks:spawn(run, self)
  tasks:spawn(watch_kernel, self)
  tasks:spawn(watch_outside, self)
end

return upkeep
