--- Fresh connections to brokers: on a bad line one that is begun later is often there sooner.
-- @module p2pd.signal.fresh
local core = require "p2pd.core"
local task = require "p2pd.task"

local fresh = {}

fresh.EVERY_S = 1 -- between those to a broker that does not answer somebody who waits

local MOST_S = 4           -- for each of them
local STALE_S = { 2.5, 7 } -- without an answer, until one that is connected is replaced
local LAST_S = 10          -- for which one that was replaced is read

-- What is still on its way by a connection that is replaced is read for a while.
local function close_later(self, client)
  self.tasks:detach(function()
    local _ <close> = task.hold(client)
    task.sleep(LAST_S)
  end)
end

local function replace_client(self, broker, client)
  local last, was = broker.client, broker.client:state()
  if was == "online" then close_later(self, last) else last:close() end
  self:attend(broker, client)
  self.changed:broadcast()
  if was ~= "online" then self.on_state(broker, "online", was) end
end

-- Whether a broker's connection is the one that it was, and is to be replaced: it is not there, or in doubt.
local function is_to_be_replaced(self, broker, client)
  if broker.client ~= client or self.joined[broker.offset] ~= broker then return false end
  return client:state() ~= "online" or broker.stale == client or broker.doubted == client
end

-- One fresh connection, for a few seconds. It takes the broker's place when it is the first one that is
-- there: an earlier one is not as fresh.
local function try(self, broker)
  local client = self:open(broker.server)
  if not client then return end
  local held <close> = task.hold(client)
  local present = broker.client
  if client:wait_online(MOST_S) and is_to_be_replaced(self, broker, present) then
    replace_client(self, broker, held:release())
  end
end

-- One that is connected may be held up by losses, when nothing is answered for long: it is replaced, a few
-- times. One that is not is tried again and again.
local function wants_one(broker, urged, replaced)
  if broker.client:state() == "refused" then return false end
  if broker.client:state() ~= "online" then return true end
  broker.stale = replaced < #STALE_S and urged >= STALE_S[replaced + 1] and broker.client or nil
  return broker.stale ~= nil
end

local function hasten(self, broker)
  local children <close> = task.group()
  local began, replaced = core.clock.monotonic(), 0
  while true do
    task.sleep(fresh.EVERY_S)
    if broker.urges == 0 or self.joined[broker.offset] ~= broker then break end
    if wants_one(broker, core.clock.monotonic() - began, replaced) then
      replaced = replaced + (broker.client:state() == "online" and 1 or 0)
      children:detach(try, self, broker)
    end
  end
  broker.stale, broker.is_hastened = nil, nil
end

local Urge = { __close = function(self)
  for _, broker in ipairs(self) do broker.urges = broker.urges - 1 end
end }

--- Somebody waits for these brokers, until what is returned is closed: fresh connections are tried beside
-- those that do not get on.
-- @tparam brokers self
-- @tparam {table,...} list of them
-- @return a value to hold in a `<close>` variable
function fresh.urge(self, list)
  for _, broker in ipairs(list) do
    broker.urges = broker.urges + 1
    if not broker.is_hastened then
      broker.is_hastened = true
      self.tasks:detach(hasten, self, broker)
    end
  end
  return setmetatable(table.move(list, 1, #list, 1, {}), Urge)
end

--- Tries a fresh connection, which takes the place of one in doubt as soon as it is there; waits.
-- @tparam brokers self
-- @tparam table broker
function fresh.check(self, broker)
  broker.doubted, broker.doubts = broker.client, broker.doubts + 1
  try(self, broker)
  broker.doubts = broker.doubts - 1
  if broker.doubts == 0 then broker.doubted = nil end
end

return fresh
