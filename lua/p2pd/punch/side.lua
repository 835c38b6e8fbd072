--- One side of a punch attempt, the dialer's or the answerer's: looks at our NAT, says our mappings, fires,
-- and gives the stream that came of it. What it holds open meanwhile is let go when it is closed.
-- @module p2pd.punch.side
local aim = require "p2pd.punch.aim"
local attempt = require "p2pd.punch.attempt"
local birthday = require "p2pd.punch.birthday"
local counter = require "p2pd.punch.counter"
local predict = require "p2pd.punch.predict"
local probe = require "p2pd.punch.probe"
local task = require "p2pd.task"

local side = {}

local RATE = 200  -- SYNs a second, whoever asked for them
local WINDOW_MAX = 10 -- seconds
local RETRANSMITTED_S = { 1, 3, 7 } -- after which the kernel sends a SYN again (RFC 6298 section 2)
local TRIES = 3 -- of a mapping, to an address that has not proved itself
local GAP = 0.001 -- seconds until a SYN that was refused is sent again, on average

local Side = { __name = "p2pd.punch.side" }
Side.__index = Side

-- Its device is named only where there are several, since to choose one may need a privilege.
local function with_device(node, route)
  local names = {}
  for _, other in ipairs(node.routes) do names[other.name] = true end
  local is_one = next(names) == nil or next(names, next(names)) == nil
  return setmetatable({ device = not (is_one or route.loopback) and route.name or nil }, { __index = route })
end

--- Makes a side; it is to be closed (`<close>`).
-- @tparam node node ours
-- @tparam table fields `pair`, `meeting` and `purpose` (see p2pd.punch.pairing), `attempt` (from 1),
-- `is_dialer`, `for_peer` (who has asked for it), `delay` (seconds one way over signalling, as far as it is
-- known)
-- @treturn side
function side.new(node, fields)
  local self = setmetatable(fields, Side)
  self.node = node
  self.route = with_device(node, fields.pair.route)
  self.needs = predict.needs(fields.pair.route.nat, fields.meeting, fields.purpose, fields.attempt)
  return self
end

--- Finds `mappings` of ours. Waits for about two round trips to a STUN server where that has to be asked, and
-- before that for our turn where a counter gives out the ports.
-- @tparam number patience seconds to wait for a turn at most
-- @tparam[opt] table avoid set of local ports not to be taken
-- @treturn boolean true; or nil, message, code
function Side:observe(patience, avoid)
  local node, needs, nat = self.node, self.needs, self.pair.route.nat
  if needs.rule == "counter" then self.turn = counter.take(node, self.pair, patience) end
  local servers = node:keep("punch.servers", function() return probe.servers(node.settings.stun) end)
  local observation, reason, code = probe.observe(self.route, needs, servers, avoid)
  if code == "ESTALE" then node:doubt_address(reason) end
  if not observation then return nil, reason, code end
  self.observation = observation -- it holds the mappings open
  self.mappings, reason = predict.mappings(nat, needs, observation)
  if not self.mappings then return nil, reason, "EHOSTUNREACH" end
  return true
end

--- Says when to fire.
-- @tparam number at the instant, on the monotonic clock
-- @tparam number window seconds for which to go on
function Side:set_instant(at, window)
  self.at, self.window = at, window
end

-- What leaves in a wave.
local function plan_wave(self, remote_mappings, wave)
  local fire
  if birthday.is(self.meeting) then
    local hold = self.meeting == "birthday remote" and birthday.pace(self.delay) or nil
    fire = birthday.fire(self.at, wave, self.at + self.window, hold)
  else
    fire = { at = self.at, deadline = self.at + self.window, gap = GAP, rate = RATE,
      syns_max = self.syns_max }
  end
  fire.mappings = aim.syns(self, remote_mappings, wave)
  return fire
end

-- How many SYNs the kernel makes of one in so many seconds.
local function copies_in(seconds)
  local copies = 1
  for _, at in ipairs(RETRANSMITTED_S) do
    if seconds > at then copies = copies + 1 end
  end
  return copies
end

-- How many SYNs may leave for a peer who has asked for them, those that the kernel sends again included. To
-- an address that has not proved itself each mapping has a few.
local function limit_syns(self, remote_mappings)
  if not self.for_peer or birthday.is(self.meeting) then return true end
  local window = math.min(self.window, WINDOW_MAX)
  local copies = copies_in(window)
  local who = { peer = self.for_peer, target = self.pair.remote.external }
  local limits, most = self.node.limits, math.ceil(RATE * window)
  if limits.trust:step(who.peer) == "stranger" and not limits.trust:is_proven(who.target) then
    most = math.min(most, TRIES * #aim.syns(self, remote_mappings, 1))
  end
  local granted = limits:draw("syns", who, copies * most)
  self.syns_max = granted // copies
  if self.syns_max >= 1 then return true end
  return nil, "too busy", "EBUSY"
end

--- Fires at the instant and waits for the stream that `verify` takes.
-- @tparam {table,...} remote_mappings the peer's
-- @tparam function verify see p2pd.punch.attempt
-- @treturn stream a verified one; or nil, message, code
function Side:fire(remote_mappings, verify)
  local ok, reason, code = limit_syns(self, remote_mappings)
  if not ok then return nil, reason, code end
  local children <close> = task.group()
  if self.turn then children:spawn(self.turn.close_after, self.turn, self.at, self.delay) end
  local remote = self.pair.remote
  return attempt.open {
    waves = birthday.is(self.meeting) and birthday.waves(self.window) or 1,
    fire = function(wave) return plan_wave(self, remote_mappings, wave) end,
    deadline = self.at + self.window,
    ip = self.route.nic,
    listen = aim.listening_ports(self),
    peers = { [remote.external] = true, [remote.internal] = true },
    verify = verify,
    choose = self.is_dialer,
  }
end

--- Lets the mappings go, and the turn.
function Side:close()
  if self.observation then self.observation:close() end
  if self.turn then self.turn:close() end
end

Side.__close = Side.close

return side
