--- Two machines of a reliable link and a network between them, in virtual time and without chance: the same
-- numbers from the same seed every time.
local machine = require "spec.reliable_machine"

local lossy = {}

local STEPS_MAX = 2000000
local UDP_HEADERS = 28

-- A generator of its own (xorshift64*), so that nobody else's use of math.random changes a run.
local function generator(seed)
  local state = seed * 2654435761 + 88172645463325252
  return function()
    state = state ~ (state >> 12)
    state = state ~ (state << 25)
    state = state ~ (state >> 27)
    return ((state * 2685821657736338717) >> 11) / 9007199254740992
  end
end

local World = {}
World.__index = World

-- -- the network: one direction of it

local Path = {}
Path.__index = Path

local function before(a, b)
  return a.at < b.at or (a.at == b.at and a.order < b.order)
end

local function sift_up(heap, i)
  while i > 1 and before(heap[i], heap[i // 2]) do
    heap[i], heap[i // 2] = heap[i // 2], heap[i]
    i = i // 2
  end
end

local function sift_down(heap, i)
  while true do
    local least = i
    for child = 2 * i, 2 * i + 1 do
      if heap[child] and before(heap[child], heap[least]) then least = child end
    end
    if least == i then return end
    heap[i], heap[least] = heap[least], heap[i]
    i = least
  end
end

function World:schedule(at, datagram, target)
  self.order = self.order + 1
  local heap = self.heap
  heap[#heap + 1] = { at = at, order = self.order, datagram = datagram, target = target }
  sift_up(heap, #heap)
end

function World:next()
  local heap = self.heap
  local first = heap[1]
  heap[1] = heap[#heap]
  heap[#heap] = nil
  if heap[1] then sift_down(heap, 1) end
  return first
end

-- When a datagram gets through a queue in front of a slow line; nil: there is no room in it.
function Path:queue(now, len)
  if not self.rate then return now end
  local start = math.max(now, self.free_at)
  if (start - now) * self.rate > self.room then return nil end
  self.free_at = start + (len + UDP_HEADERS) / self.rate
  return self.free_at
end

function Path:carry(datagram)
  local world = self.world
  local now, random = world.now, world.random
  self.carried = self.carried + 1
  if #datagram > self.mtu or random() < self.loss or self.is_down(now) then
    self.dropped = self.dropped + 1
    return
  end
  local out = self:queue(now, #datagram)
  if not out then
    self.overrun = self.overrun + 1
    return
  end
  local at = out + self.delay + self.jitter * random()
  if not self.reorders then
    at = math.max(at, self.last_at)
    self.last_at = at
  end
  world:schedule(at, datagram, self.to)
  if random() < self.double then world:schedule(at + self.delay * random(), datagram, self.to) end
end

local function path(world, options, to)
  return setmetatable({
    world = world, to = to, loss = options.loss or 0, double = options.double or 0,
    delay = options.delay or 0.02, jitter = options.jitter or 0, reorders = options.reorders,
    rate = options.rate, room = options.room, mtu = options.mtu or math.huge,
    is_down = options.is_down or function() return false end,
    carried = 0, dropped = 0, overrun = 0, free_at = 0, last_at = 0,
  }, Path)
end

-- -- the world

--- @tparam table options of both paths: `loss`, `double` (chances), `delay`, `jitter` (s), `reorders`, `rate`
--  (bytes/s) and `room` (bytes) of the queue before it, `mtu`, `is_down(now)`; `link`: options of the
--  machines; `seed`; `back`: those of the way back, if they differ
-- @return with `dialer` and `answerer`, the machines; `there` and `back`, the paths; `now`
function lossy.world(options)
  local world = { now = 1000, order = 0, heap = {}, random = generator(options.seed or 1) }
  setmetatable(world, World)
  for _, role in ipairs { "dialer", "answerer" } do
    local link = { id = "link", role = role, now = world.now }
    for key, value in pairs(options.link or {}) do link[key] = value end
    world[role] = machine.new(link)
  end
  world.there = path(world, options, world.answerer)
  world.back = path(world, options.back or options, world.dialer)
  return world
end

function World:__close()
  self.dialer:close()
  self.answerer:close()
end

local function flush(self, side, way)
  for datagram in function() return side:poll(self.now) end do way:carry(datagram) end
end

function World:flush()
  flush(self, self.dialer, self.there)
  flush(self, self.answerer, self.back)
end

-- The instant of what happens next.
function World:due()
  local due = math.min(self.dialer:due(), self.answerer:due())
  if self.heap[1] then due = math.min(due, self.heap[1].at) end
  return due
end

--- Runs until `done()` says true: asked after whatever happens.
-- @tparam function done
-- @tparam[opt=120] number most seconds of virtual time
-- @raise when that does not happen
function World:run(done, most)
  local limit = self.now + (most or 120)
  for _ = 1, STEPS_MAX do
    if done() then return self end
    self:flush()
    local due = self:due()
    if due > limit then error(("not done after %g s"):format(most or 120), 2) end
    self.now = math.max(self.now, due)
    while self.heap[1] and self.heap[1].at <= self.now do
      local event = self:next()
      event.target:feed(event.datagram, self.now)
    end
    self:flush()
  end
  error("the two never come to rest", 2)
end

--- Runs for some time.
function World:wait(seconds)
  local till = self.now + seconds
  self:schedule(till, "", self.dialer)
  return self:run(function() return self.now >= till end, seconds + 1)
end

--- Runs until both know of each other.
function World:open()
  return self:run(function()
    return self.dialer:info().state == "open" and self.answerer:info().state == "open"
  end)
end

--- A writer: gives `data` to a machine bit by bit, then ends its half unless `open`.
function lossy.writer(side, data, open)
  local at = 1
  return function()
    while at <= #data do
      local n = assert(side:write(data:sub(at, at + 65535)))
      if n == 0 then return false end
      at = at + n
    end
    if not open then
      side:shutdown()
      open = true
    end
    return true
  end
end

--- A reader: true at the end; what it has read comes with it.
function lossy.reader(side)
  local parts, ended = {}, false
  return function()
    while not ended do
      local data, _, code = side:read()
      if code == "EAGAIN" then return false end
      if code then error(("%s after %d pieces"):format(code, #parts), 2) end
      if not data then ended = true else parts[#parts + 1] = data end
    end
    return true, table.concat(parts)
  end
end

--- Bytes that differ everywhere.
function lossy.noise(len, seed)
  local random, words = generator(seed or 7), {}
  for i = 1, len // 8 + 1 do words[i] = string.pack("<I8", math.floor(random() * 2 ^ 53)) end
  return table.concat(words):sub(1, len)
end

lossy.generator = generator

return lossy
