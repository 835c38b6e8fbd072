--- Keeps one port of one route mapped: asks the gateway by every protocol at once, renews, asks again when
-- the router has forgotten, and remembers what it has mapped until it is removed.
-- @classmod p2pd.port_mapping.keeper
local core = require "p2pd.core"
local deadline = require "p2pd.deadline"
local igd = require "p2pd.port_mapping.igd"
local ledger = require "p2pd.port_mapping.ledger"
local natpmp = require "p2pd.port_mapping.natpmp"
local pcp = require "p2pd.port_mapping.pcp"
local task = require "p2pd.task"

local keeper = {}

keeper.PROTOCOLS = { pcp, natpmp, igd }
keeper.LIFETIME = 3600 -- seconds that are asked for

local RETRY_S = 900            -- after which routers that refused, or are none, are asked again
local DOUBT_MIN_S, DOUBT_MAX_S = 2, 60 -- between questions to a router that does not answer any more
local LIFETIME_MIN = 20        -- seconds; a shorter lifetime is renewed as if it were so long
local REMOVE_S = 1.5

local Keeper = { __name = "p2pd.port_mapping.keeper" }
Keeper.__index = Keeper

-- -- what is known

local function tell(self, state)
  self.state = state
  self.on_change(self)
end

-- What each protocol's failure was: a gateway that does not speak it has nothing to say.
local SILENCE = { ETIMEDOUT = true, ECONNREFUSED = true, EPROTONOSUPPORT = true }

local function note(self, protocol, reason, code)
  self.reasons[protocol.name] = not SILENCE[code] and reason or nil
end

local function reasons_of(self)
  local list = {}
  for _, protocol in ipairs(keeper.PROTOCOLS) do
    local reason = self.reasons[protocol.name]
    if reason then list[#list + 1] = ("%s: %s"):format(protocol.name, reason) end
  end
  return list
end

-- -- removing

local function remove_now(target, protocol, record, key)
  if protocol.remove(target, record) then ledger.remove(key) end
end

-- Waits for nothing: a service of the gateway's is asked by TCP, which takes a moment.
local function drop(self)
  local lease = self.lease
  if not lease then return end
  self.lease = nil
  if not lease.protocol.waits then
    return remove_now(self.target, lease.protocol, lease.record, lease.key)
  end
  core.task.spawn(task.timeout, REMOVE_S, remove_now, self.target, lease.protocol, lease.record,
    lease.key):linger()
end

local function find_protocol(name)
  for _, protocol in ipairs(keeper.PROTOCOLS) do
    if protocol.name == name then return protocol end
  end
end

-- What a node that crashed has left at this gateway.
local function remove_orphans(target)
  for _, entry in ipairs(ledger.orphans(target)) do
    local protocol = find_protocol(entry.protocol)
    local ok, removed = pcall(protocol and protocol.remove or error, target, entry.record)
    if not ok or removed then ledger.remove(entry.key) end
  end
end

-- -- obtaining

-- A renewal is the same mapping, and no news for the ledger.
local function note_in_ledger(self, lease, before)
  local is_same = before and before.protocol == lease.protocol
  for name, value in pairs(lease.record) do is_same = is_same and before.record[name] == value end
  if is_same then return before.key end
  local key = ledger.add(lease.protocol.name, self.target, lease.record)
  if before then ledger.remove(before.key) end
  return key
end

local function take(self, protocol, handle, lease)
  local before = self.lease
  lease.protocol, lease.handle = protocol, handle
  lease.key = note_in_ledger(self, lease, before)
  lease.expires = deadline.after(lease.lifetime)
  lease.renewal = deadline.after(math.max(lease.lifetime, math.min(keeper.LIFETIME, LIFETIME_MIN)) / 2)
  self.lease, self.reasons = lease, {}
  local is_new = not before or before.port ~= lease.port or before.ip ~= lease.ip
  if lease.port ~= self.port then lease.is_heard, lease.fault = self.listen(lease.port) end
  if is_new then tell(self, "mapped") end
  return true
end

local function want_of(self)
  local lease = self.lease
  return { port = self.port, external = lease and lease.port or self.port, ip = lease and lease.ip,
    lifetime = keeper.LIFETIME, listen = self.listen }
end

local function map(self, protocol, handle)
  local lease, reason, code = handle:map(want_of(self))
  if lease then return take(self, protocol, handle, lease) end
  note(self, protocol, reason, code)
  return nil, reason, code
end

-- One protocol's part. They look for the gateway side by side, and map one after the other, so that there is
-- never a second mapping to be removed.
local function attempt(self, protocol)
  local handle, reason, code = protocol.find(self.target)
  if not handle then
    note(self, protocol, reason, code)
    return nil, reason, code
  end
  while self.is_mapping do self.mapped:wait() end
  if self.lease then return nil, "mapped already", "EALREADY" end
  self.is_mapping = true
  local _ <close> = setmetatable({}, { __close = function()
    self.is_mapping = false
    self.mapped:signal()
  end })
  return map(self, protocol, handle)
end

local function obtain(self)
  local attempts = {}
  for _, protocol in ipairs(keeper.PROTOCOLS) do
    if protocol.families[self.target.family] then
      attempts[#attempts + 1] = function() return attempt(self, protocol) end
    end
  end
  return task.race(attempts)
end

-- -- keeping

local function check(lease)
  local is_kept, reason, code = lease.handle:check(lease)
  if is_kept ~= nil or not lease.handle.find_again or not lease.handle:find_again() then
    return is_kept, reason, code
  end
  return lease.handle:check(lease)
end

-- Whether the lease is good for now: true; false when the router refuses; nil without an answer.
local function look_after(self, lease)
  if not lease.is_lost and not lease.renewal:has_passed() then
    local is_kept, reason, code = check(lease)
    if is_kept ~= false then return is_kept, reason, code end
    lease.is_lost = true
  end
  local ok, reason, code = map(self, lease.protocol, lease.handle)
  if ok then return true end
  if code == "EACCES" then return false end
  return nil, reason, code
end

-- Waits, unless somebody has wanted it to look since it last did.
local function pause(self, seconds)
  if not self.is_asked then self.news:wait(seconds) end
  self.is_asked = false
end

-- Until the mapping is lost.
local function hold(self)
  local doubt
  while self.lease do
    local lease = self.lease
    local most = doubt or lease.handle.check_every
    pause(self, doubt or lease.renewal:left(most))
    local ok = look_after(self, lease)
    if ok == false or ok == nil and lease.expires:has_passed() then break end
    doubt = ok == nil and math.min(DOUBT_MAX_S, (doubt or DOUBT_MIN_S / 2) * 2) or nil
  end
  ledger.remove(self.lease.key)
  self.lease = nil
end

local function live(self)
  remove_orphans(self.target)
  while true do
    if obtain(self) then hold(self) end
    tell(self, "none")
    pause(self, RETRY_S)
    self.reasons = {}
  end
end

--- Begins; waits for nothing.
-- @tparam table options `target` (see @{p2pd.port_mapping.pcp}), `port` (ours), `listen` (function(port):
-- listens on another one too, true or nil and why not), `on_change` (function of the keeper)
-- @treturn keeper with `state` ("asking", "mapped", "none")
function keeper.start(options)
  local self = setmetatable({ target = options.target, port = options.port, listen = options.listen,
    on_change = options.on_change, state = "asking", reasons = {}, news = core.task.condition(),
    mapped = core.task.condition(), tasks = task.group() }, Keeper)
  self.tasks:spawn(live, self)
  return self
end

--- The network or the router may have changed: looks at the mapping now, or asks for one again.
function Keeper:refresh()
  self.is_asked = self.state ~= "asking"
  self.news:broadcast()
end

--- The router's address may be another one: looks at it now, and maps again where that has to tell it.
function Keeper:renew()
  if self.lease then self.lease.is_doubted = true end
  self:refresh()
end

--- What there is to be told.
-- @treturn table `state`; `protocol`, `ip`, `port`, `is_permanent`, `fault` (why we don't listen on that port
-- too); `reasons`: a sentence for each protocol that the gateway speaks, or would, and that gave none
function Keeper:describe()
  local lease = self.lease
  return { state = self.state, protocol = lease and lease.protocol.name, ip = lease and lease.ip,
    port = lease and lease.port, fault = lease and lease.fault, is_permanent = lease and lease.is_permanent,
    reasons = reasons_of(self) }
end

--- Removes the mapping. May be called twice.
function Keeper:close()
  self.tasks:cancel()
  self.state = "none"
  drop(self)
end

Keeper.__close = Keeper.close

return keeper
