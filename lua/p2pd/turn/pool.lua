--- The TURN servers of somebody's settings, and what is known of them: the nearest one that grants an
-- allocation is taken.
-- @classmod p2pd.turn.pool
local deadline = require "p2pd.deadline"
local task = require "p2pd.task"
local turn = require "p2pd.turn"

local pool = {}

local KNOWN_S = 600       -- for which something that a server has shown counts
local NEXT_SERVER_S = 0.1 -- head start of the best server, and three of its round trips

local Pool = { __name = "p2pd.turn.pool" }
Pool.__index = Pool

--- Makes one.
-- @tparam {table,...} servers entries of the settings' `turn` list
-- @treturn pool
function pool.new(servers)
  return setmetatable({ servers = servers, rtts = {}, refusals = { udp = {}, tcp = {} } }, Pool)
end

local function remember(known, server, value)
  known[server] = value and { value = value, limit = deadline.after(KNOWN_S) }
end

local function recall(known, server)
  local entry = known[server]
  return entry and not entry.limit:has_passed() and entry.value or nil
end

-- Those whose round trip is known, the nearest first; the others may be nearer.
local function by_distance(self)
  local list, order = { table.unpack(self.servers) }, {}
  for i, server in ipairs(list) do order[server] = { recall(self.rtts, server) or 0, i } end
  table.sort(list, function(a, b)
    local x, y = order[a], order[b]
    return x[1] < y[1] or x[1] == y[1] and x[2] < y[2]
  end)
  return list
end

-- What has come of an attempt is kept for the next one.
local function learn(self, server, relay, made, reason, code)
  if code == "EPROTONOSUPPORT" then
    remember(self.refusals[relay], server, reason)
  else
    remember(self.rtts, server, made and made.rtt)
  end
end

local function attempt(self, server, relay, options, reasons)
  local made, reason, code = turn.allocate(server, options)
  learn(self, server, relay, made, reason, code)
  reasons[#reasons + 1] = reason
  return made, reason, code
end

-- One for each server that may grant it, with their delays.
local function plan(self, relay, options, reasons)
  local attempts, wait = {}, 0
  for _, server in ipairs(by_distance(self)) do
    local refusal, rtt, delay = recall(self.refusals[relay], server), recall(self.rtts, server), wait
    if refusal then
      reasons[#reasons + 1] = refusal
    else
      if rtt then wait = wait + NEXT_SERVER_S + 3 * rtt end
      attempts[#attempts + 1] = function()
        task.sleep(delay)
        return attempt(self, server, relay, options, reasons)
      end
    end
  end
  return attempts
end

--- Allocates on the nearest server: the first one that grants it, where those whose round trip is not known
-- are asked at once, and the others one after the other, the nearest first. Who has refused this kind of
-- relay lately is not asked.
-- @tparam[opt] table options as for `turn.allocate`
-- @treturn allocation; or nil, every server's reason, the code of the last one that failed
function Pool:allocate(options)
  if not self.servers[1] then return nil, "no TURN server is configured", "ENOENT" end
  local reasons = {}
  local attempts = plan(self, options and options.relay or "udp", options, reasons)
  if not attempts[1] then return nil, table.concat(reasons, "; "), "EPROTONOSUPPORT" end
  local made, _, code = task.race(attempts)
  return made, table.concat(reasons, "; "), code
end

return pool
