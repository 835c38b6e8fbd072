--- The tests of RFC 5780 over UDP with one server: what a NAT does with datagrams.
-- @module p2pd.nat.behaviour
local core = require "p2pd.core"
local deadline = require "p2pd.deadline"
local exchange = require "p2pd.stun.exchange"
local task = require "p2pd.task"

local behaviour = {}

behaviour.WAITS = { 0, 0.1, 0.3 } -- seconds until a first request, and others that do not wait for its answer
local GIVE_UP = 0.9       -- seconds after the first one

local JITTER = 0.01       -- seconds by which a round trip differs from the last one
local DELAY = 0.06        -- seconds for which an answer may be held up, before its absence means anything
local FILTER_PORT_MIN, FILTER_PORT_MAX = 20000, 32767 -- below those that the kernel gives out
local PORT_TRIES = 4
local MAX_TARGETS = 4     -- addresses of one server's name that are asked
local HAIRPIN = { rto = 0.015, rc = 3 } -- its timer: the way to the NAT and back is short
local UNREACHABLE = { unspecified = true, multicast = true, broadcast = true }
local CHANGES = { both = { ip = true, port = true }, port = { port = true } } -- what a filter is tested with
local ORDERS = { { "both", "port" }, { "port", "both" } } -- by turns: a loss that recurs hits either
local TRIES = 4           -- of such a request
local PLAIN_LEAST = 2     -- plain answers that show that the way is open
local PATIENCE = 0.15     -- seconds more than a round trip, while they do not show it
local TRY_SPACING = 1 / 8 -- of a round trip, between them
local LATE = 0.02         -- seconds, or half a round trip: how much later than a plain one such an answer is

-- The timer when an answer is expected.
local function expecting(rtt)
  return { rto = 1.25 * rtt + JITTER, rc = 3, rm = 1.5 }
end

-- The timer of a request that is sent once.
local function once(rtt)
  return { rto = 1.5 * rtt + PATIENCE, rc = 1, rm = 1 }
end

--- Could that be an address of ours, or a server's?
function behaviour.is_usable(ip, family)
  local class, found = core.inet.class(ip)
  return found == family and not UNREACHABLE[class]
end

--- A server's other address (RFC 5780 section 7.4), when it is one that it may have: of the same kind as its
-- first one, so that nobody is sent into his own network.
-- @tparam ?table other what the server says, `ip` and `port`
-- @tparam table server its first address
-- @tparam string family
-- @treturn ?table
function behaviour.other_address(other, server, family)
  if not other or other.ip == server.ip or other.port == server.port or other.port == 0 then return nil end
  if not behaviour.is_usable(other.ip, family) then return nil end
  return core.inet.class(other.ip) == core.inet.class(server.ip) and other or nil
end

--- Tries something now, and again without waiting for the end of the first try: what a lost packet costs is
-- then known beforehand, and which try an answer belongs to. The first success counts, and so does the
-- first failure but a timeout. Waits.
-- @tparam {number,...} waits seconds from now until each try
-- @tparam function try function(seconds from now): a true value, or nil, message, code
-- @return what the try returned
function behaviour.insist(waits, try)
  local tries = {}
  for i, wait in ipairs(waits) do
    tries[i] = function()
      task.sleep(wait)
      local results = table.pack(try(wait))
      if results[1] or results[3] ~= "ETIMEDOUT" then return results end
      return table.unpack(results, 1, results.n)
    end
  end
  local results, reason, code = task.race(tries)
  if not results then return nil, reason, code end
  return table.unpack(results, 1, results.n)
end

-- Each request is a transaction of its own, so that its round trip is known even when others were lost.
local function greet_one(socket, entry, ip, family)
  local answer, rtt, from, port = behaviour.insist(behaviour.WAITS, function(wait)
    return socket:ask({ ip = ip, port = entry.port }, { rto = GIVE_UP - wait, rc = 1, rm = 1 })
  end)
  if not answer then return nil, rtt, from end
  if not behaviour.is_usable(answer.mapped.ip, family) then
    return nil, "says that our address is " .. answer.mapped.ip, "EBADMSG"
  end
  local server = { name = entry.host .. ":" .. entry.port, ip = from, server_port = port, port = socket.port,
    rtt = rtt, mapped = answer.mapped, filtering = {},
    mapping = { { ip = from, port = port, mapped = answer.mapped } } }
  server.other = behaviour.other_address(answer.other, { ip = from, port = port }, family)
  server.is_capable = server.other ~= nil
  return server
end

--- The first test: which of a server's addresses answers first, and what does it see? Waits.
-- @tparam exchange socket
-- @tparam table entry `host` and `port`, as in the settings
-- @tparam {string,...} ips of the host
-- @tparam string family
-- @treturn[1] table `name`, `ip`, `server_port`, `port` (ours), `rtt`, `mapped`, `other` (its other
-- address, or nil), `is_capable` (has one), `mapping` and `filtering`, to be filled in by @{examine}
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string code
function behaviour.greet(socket, entry, ips, family)
  local questions = {}
  for i = 1, math.min(#ips, MAX_TARGETS) do
    questions[i] = function() return greet_one(socket, entry, ips[i], family) end
  end
  return task.race(questions)
end

-- One request for an answer from elsewhere. True when it came; false when the server does not do that, so
-- that silence proves nothing; nil for silence.
local function try_filter(socket, server, change)
  local from = { ip = change.ip and server.other.ip or server.ip, port = server.other.port }
  local options = once(server.rtt)
  options.change = change
  function options.accept(ip, port)
    if ip == from.ip and port == from.port then return true end
    if ip == server.ip and port == server.server_port then
      return false, "the server ignores CHANGE-REQUEST", "ENOTSUP"
    end
  end
  local answer, _, code = socket:ask({ ip = server.ip, port = server.server_port }, options)
  if answer then return true end
  if code ~= "ETIMEDOUT" then return false end
end

-- A socket whose port no other of our tests has used lately: a NAT remembers whom it was used with.
local function open_apart(options)
  for _ = 1, PORT_TRIES do
    local port = math.random(FILTER_PORT_MIN, FILTER_PORT_MAX)
    local socket = exchange.open { ip = options.ip, interface = options.interface, port = port }
    if socket then return socket end
  end
  return exchange.open(options)
end

local function is_known(brought)
  return brought.both ~= nil and brought.port ~= nil
end

-- One try: both requests, and after them one for a plain answer.
local function try_once(self, order)
  local server = self.server
  for _, name in ipairs(order) do
    self.children:spawn(function()
      local came = try_filter(self.socket, server, CHANGES[name])
      if came ~= nil and not self.brought[name] then self.brought[name] = came end
      self.changed:signal()
    end)
  end
  self.children:spawn(function()
    local answer = self.socket:ask({ ip = server.ip, port = server.server_port }, once(server.rtt))
    if answer then self.plain = self.plain + 1 end
    self.pending = self.pending - 1
    self.changed:signal()
  end)
end

-- Sends each request several times, and each time one for a plain answer: once those are there, the others
-- would be there too. What each of CHANGES brought, and how many plain answers came.
local function send_tries(socket, server)
  local children <close> = task.group()
  local self = { socket = socket, server = server, children = children, changed = task.condition(),
    brought = {}, pending = TRIES, plain = 0 }
  local spacing, late = server.rtt * TRY_SPACING, math.max(LATE, server.rtt / 2)
  for i = 1, TRIES do
    children:spawn(function()
      task.sleep((i - 1) * spacing)
      try_once(self, ORDERS[i % #ORDERS + 1])
    end)
  end
  local expected = deadline.after((TRIES - 1) * spacing + server.rtt + late)
  while self.pending > 0 and not is_known(self.brought) do
    local is_alive = self.plain >= PLAIN_LEAST
    if is_alive and expected:has_passed() then break end
    self.changed:wait(is_alive and expected:left() or nil)
  end
  local tail = deadline.after(self.pending == 0 and late or 0)
  while self.plain > 0 and not tail:has_passed() and not is_known(self.brought) do
    self.changed:wait(tail:left())
  end
  return self.brought, self.plain
end

-- From a socket that sends to nobody else, so that no other packet of ours opens the filter.
local function test_filters(server, options)
  local socket <close> = open_apart(options)
  if not socket then return end
  local brought, plain = send_tries(socket, server)
  for name in pairs(CHANGES) do
    if brought[name] then
      server.filtering[name] = true
    elseif brought[name] == nil and plain > 0 then
      server.filtering[name] = false
    end
  end
end

local function test_mapping(socket, server)
  local other, tests = server.other, {}
  for i, target in ipairs {
    { ip = other.ip, port = server.server_port }, { ip = server.ip, port = other.port }, other,
  } do
    tests[i] = function()
      local answer = socket:ask(target, expecting(server.rtt))
      local seen = answer and { ip = target.ip, port = target.port, mapped = answer.mapped }
      if seen then table.insert(server.mapping, seen) end
      return true
    end
  end
  task.all(tests)
end

local function test_again(socket, server)
  local answer = socket:ask({ ip = server.ip, port = server.server_port }, expecting(server.rtt))
  server.again = answer and answer.mapped
end

--- The other tests, with a server that has answered: mapping and filtering, when it can tell, and then the
-- first test again. Waits about two round trips.
-- @tparam exchange socket the one that @{greet} used
-- @tparam table server what it returned; gets `mapping`, `filtering` (`both`, `port`) and `again` (our
-- address as it saw it the second time)
-- @tparam table options for further sockets, as for @{p2pd.stun.exchange.open}
function behaviour.examine(socket, server, options)
  if not server.is_capable then return test_again(socket, server) end
  task.all(
    function() test_filters(server, options) return true end,
    function()
      test_mapping(socket, server)
      return true
    end,
    function()
      test_again(socket, server)
      return true
    end)
end

--- Does the NAT bring a packet back to its own inside (RFC 4787 section 6)? Waits.
-- @tparam exchange socket
-- @tparam table mapped its external address
-- @tparam number rtt seconds to the outside and back, at most
-- @tparam table binding of another socket, which asks, as for @{p2pd.stun.exchange.open}
-- @treturn boolean
function behaviour.hairpin(socket, mapped, rtt, binding)
  local asking <close> = exchange.open(binding)
  if not asking then return false end
  local arrived, heard = task.condition(), false
  local options = { rto = HAIRPIN.rto, rc = HAIRPIN.rc, rm = (rtt + DELAY) / HAIRPIN.rto }
  function options.accept() return false end
  function options.on_id(id)
    socket:expect(id, function()
      heard = true
      arrived:signal()
    end)
  end
  local child <close> = task.spawn(function()
    asking:ask(mapped, options)
    arrived:signal()
  end)
  arrived:wait()
  child:cancel()
  return heard
end

return behaviour
