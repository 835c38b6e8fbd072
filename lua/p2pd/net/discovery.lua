--- One look at the outside: all lookups of names and all questions to STUN servers run side by side until one
-- deadline, and what could not be learnt is noted.
-- @classmod p2pd.net.discovery
local behaviour = require "p2pd.nat.behaviour"
local core = require "p2pd.core"
local deadline = require "p2pd.deadline"
local families = require "p2pd.families"
local stun = require "p2pd.stun"
local task = require "p2pd.task"

local discovery = {}

local TARGETS_MAX = 4   -- addresses of one server's name that are asked

local Discovery = { __name = "p2pd.net.discovery" }
Discovery.__index = Discovery

--- Begins one; to be closed.
-- @tparam table options `servers` (each `{ host, port, behaviour }`), `timeout` (seconds), `is_multihomed`
-- (there is more than one interface: sockets are bound to theirs), `resolved` (function(ip), called with each
-- server's address)
-- @treturn discovery with `servers`, `limit` (a deadline) and `notes` (sentences for people)
function discovery.open(options)
  return setmetatable({
    servers = options.servers,
    is_multihomed = options.is_multihomed,
    limit = deadline.after(options.timeout),
    children = task.group(),
    lookups = {},
    notes = {},
    resolved = options.resolved or function() end,
  }, Discovery)
end

local function resolve(self, host, family)
  local ips, reason, code = core.inet.resolve(host, family, self.limit:left())
  for _, ip in ipairs(ips or {}) do self.resolved(ip) end
  return ips, reason, code
end

--- Resolves a name, once per family: whoever needs it waits for that one lookup.
-- @tparam string host
-- @tparam string family
-- @treturn {string,...} addresses; or nil, message, code
function Discovery:lookup(host, family)
  local key = family .. " " .. host
  if not self.lookups[key] then
    self.lookups[key] = self.children:spawn(resolve, self, host, family)
  end
  return self.lookups[key]:join(self.limit:left())
end

--- What a socket of a route is bound to.
-- @tparam table route
-- @treturn table `ip`, `interface`
function Discovery:binding(route)
  return { ip = route.nic, interface = self.is_multihomed and route.name or nil }
end

--- Notes why the external address of a route is not known.
function Discovery:note(route, reasons)
  table.insert(self.notes, ("the external %s address of %s (%s) is unknown: %s"):format(
    families.TITLES[route.family], route.name, route.nic, reasons))
end

local function targets_of(self, route, server)
  local ips, reason, code = self:lookup(server.host, route.family)
  if code == "ENOENT" then reason = "no " .. families.TITLES[route.family] .. " address" end
  if not ips then return nil, reason, code end
  local targets = {}
  for i = 1, math.min(#ips, TARGETS_MAX) do targets[i] = { ip = ips[i], port = server.port } end
  return targets
end

local function ask(self, route, server)
  local targets, reason, code = targets_of(self, route, server)
  if not targets then return nil, reason, code end
  local socket <close>, fault, errno = core.udp.bind(self:binding(route))
  if not socket then return nil, fault, errno end
  local answer
  answer, reason, code = stun.query(socket, targets, { timeout = self.limit:left() })
  if not answer then return nil, reason, code end
  if not behaviour.is_usable(answer.ip, route.family) then
    return nil, ("%s says that our address is %s"):format(server.host, answer.ip), "EBADMSG"
  end
  return answer.ip
end

--- Asks all servers for the external address of a route; the first good answer counts. Waits.
-- @tparam table route
-- @treturn[1] string the address
-- @treturn[2] nil
-- @treturn[2] string each server's reason
-- @treturn[2] boolean whether any was asked: one without an address of the route's family is not, and no
-- cause for concern
function Discovery:find_external(route)
  local reasons, questions, asked = {}, {}, false
  for i, server in ipairs(self.servers) do
    questions[i] = function()
      local ip, reason, code = ask(self, route, server)
      if not ip then reasons[#reasons + 1] = ("%s: %s"):format(server.host, reason) end
      asked = asked or code ~= "ENOENT"
      return ip, reason, code
    end
  end
  if not questions[1] then return nil, "no STUN server to ask", not route.loopback end
  local ip = task.race(questions)
  if ip then return ip end
  return nil, table.concat(reasons, "; "), asked
end

--- Ends lookups under way.
function Discovery:close()
  self.children:cancel()
end

Discovery.__close = Discovery.close

return discovery
