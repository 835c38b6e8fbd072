--- An oracle of what hole punching can do, written from RFC 4787's words and nothing of p2pd.punch.predict's.
-- A router is simulated with all of its secrets: its counter, its distance, its dice. Somebody who has seen
-- one probe lives in many worlds that look the same to him; a port is knowable when it is the same distance
-- from the probe's in all of them. Two hosts can meet when each knows where the other comes from, or when
-- one of them is at a known place that lets in whoever comes.
local oracle = {}

oracle.STUN = { ip = "stun", port = 3478 }

local WORLDS = 24

-- -- a router

local Router = {}
Router.__index = Router

local function by_words(one)
  return {
    translates = one.type > 2,
    cone = one.type >= 3 and one.type <= 5,
    admits = ({ "anybody", nil, "anybody", "acquaintances" })[one.type] or "partners",
    dead = one.type == 7 and one.delta == 1,
  }
end

--- A router with secrets of its own.
-- @tparam table one type, delta, value
-- @tparam integer seed
function oracle.router(one, seed)
  local self = by_words(one)
  local secret = seed * 7919 + 12345
  self.dice = function(n)
    secret = (secret * 1103515245 + 12345) % 2147483648
    return secret // 65536 % n
  end
  self.one, self.mappings, self.known = one, {}, {}
  self.counter = 30000 + self.dice(5000)
  self.distance = 100 + self.dice(3000)
  return setmetatable(self, Router)
end

--- Somebody else behind it opens so many connections.
function Router:disturb(n)
  if self.one.delta == 4 then self.counter = self.counter + n * self.one.value end
end

function Router:allot(port)
  local delta, value = self.one.delta, self.one.value
  if delta == 2 then return port end
  if delta == 3 then return port + self.distance end
  if delta == 4 and value ~= 0 then
    self.counter = self.counter + value
    return self.counter
  end
  if delta == 5 and value ~= 0 and self.last_port == port - 1 then return self.last_outside + value end
  return 1024 + self.dice(32768) + self.dice(31000)
end

--- A SYN leaves: as which port, or nil.
function Router:leave(port, ip, remote)
  if self.dead then return nil end
  local outside = port
  if self.translates then
    local key = self.cone and port or ("%d %s %d"):format(port, ip, remote)
    outside = self.mappings[key] or self:allot(port)
    self.last_port, self.last_outside = port, outside
    self.mappings[key] = outside
  end
  local known = self.known[outside] or { inside = port, ips = {}, endpoints = {} }
  self.known[outside] = known
  known.ips[ip], known.endpoints[ip .. " " .. remote] = true, true
  return outside
end

--- A SYN comes: to which inside port it gets, or nil.
function Router:enter(outside, ip, remote)
  local known = self.known[outside]
  if not known then return not self.translates and self.admits == "anybody" and outside or nil end
  local admitted = self.admits == "anybody" or self.admits == "acquaintances" and known.ips[ip]
    or known.endpoints[ip .. " " .. remote]
  return admitted and known.inside or nil
end

-- -- what can be known

-- Distances from a probe's outside port to those of the next connections, in one world.
local function look(one, seed)
  local router = oracle.router(one, seed)
  local probe = router:leave(20100, "stun", 3478)
  if not probe then return nil end
  local again, other = router:leave(20100, "peer", 4001), router:leave(20100, "peer", 4002)
  local fresh = oracle.router(one, seed)
  local next_one = fresh:leave(20100, "stun", 3478) and fresh:leave(20101, "peer", 4001)
  return { again = again - probe, other = other - probe, neighbour = next_one - probe }
end

local function is_certain(one, what)
  local first = look(one, 1)
  if not first then return false end
  for seed = 2, WORLDS do
    if look(one, seed)[what] ~= first[what] then return false end
  end
  return true, first[what]
end

local function is_knowable(one)
  return (is_certain(one, "again")) or (is_certain(one, "neighbour"))
end

-- The same known outside port for whomever it speaks to.
local function is_at_one_place(one)
  local again, first = is_certain(one, "again")
  local other, second = is_certain(one, "other")
  return again and other and first == second
end

local function lets_in_strangers_ports(one)
  local router = oracle.router(one, 1)
  local outside = router:leave(20100, "peer", 4001)
  return outside and router:enter(outside, "peer", 5005) == 20100
end

local function is_alive(one)
  return oracle.router(one, 1):leave(20100, "peer", 1) ~= nil
end

local learnt = {}

-- What the worlds tell of one side, found once.
local function learn(one)
  local key = ("%d %d %d"):format(one.type, one.delta, one.value)
  if not learnt[key] then
    local place = is_alive(one) and is_at_one_place(one)
    learnt[key] = { alive = is_alive(one), place = place, knowable = is_alive(one) and is_knowable(one),
      waits = place and lets_in_strangers_ports(one) or false }
  end
  return learnt[key]
end

--- Whether two hosts can meet.
-- @tparam table a NAT
-- @tparam table b NAT
-- @treturn boolean surely
-- @treturn boolean by luck: by a birthday attack
function oracle.feasible(a, b)
  local one, other = learn(a), learn(b)
  if not (one.alive and other.alive) then return false, false end
  local surely = one.knowable and other.knowable or one.waits or other.waits
  return surely, surely or one.place or other.place
end

-- -- two hosts that try

-- Every SYN of a side leaves; who is bound where, and whence and whither the SYNs go.
local function send_all(side, peer_ip)
  local flying = {}
  for _, plan in ipairs(side.plans) do
    local outside = side.router:leave(plan.port, peer_ip, plan.remote)
    flying[#flying + 1] = { inside = plan.port, outside = outside, remote = plan.remote }
  end
  return flying
end

local function is_answered(side, inside, remote)
  if side.listens then return true end
  for _, plan in ipairs(side.plans) do
    if plan.port == inside and plan.remote == remote then return true end
  end
  return false
end

--- Both sides' SYNs cross. A side: `router`, `plans` (each `{ port = local, remote = the peer's external port
-- }`), `listens`.
-- @treturn boolean whether a connection comes of it
function oracle.meet(a, b)
  local from_a, from_b = send_all(a, "b"), send_all(b, "a")
  for _, way in ipairs { { from_a, b, "a" }, { from_b, a, "b" } } do
    local flying, receiver, ip = table.unpack(way)
    for _, syn in ipairs(flying) do
      local inside = syn.outside and receiver.router:enter(syn.remote, ip, syn.outside)
      if inside and is_answered(receiver, inside, syn.outside) then return true end
    end
  end
  return false
end

return oracle
