--- Two machines of a session and paths between them in virtual time.
-- `local world <close> = courses.world {}`.
-- What a path carries arrives after its delay, in order; a path may be cut, be silent, or stand still.
local machine = require "spec.session_machine"

local courses = {}

local World = {}
World.__index = World

local FIRST, SECOND = 1, 2

--- Another path, attached at both ends.
-- @tparam[opt] table options `delay`: seconds one way (0.01); `rate`: bytes a second each way (no limit)
-- @treturn table the path: `silent` loses what is sent, `filter(bytes, to)` changes it, `held` keeps it
function World:path(options)
  options = options or {}
  local path = { delay = options.delay or 0.01, rate = options.rate or math.huge, free_at = { 0, 0 },
    mail = { {}, {} }, numbers = {} }
  for side = FIRST, SECOND do path.numbers[side] = assert(self[side]:attach(self.now)) end
  self.paths[#self.paths + 1] = path
  return path
end

--- Breaks a path: the sides learn it now, or only one of them does.
function World:cut(path, only)
  path.silent, path.mail = true, { {}, {} }
  for side = FIRST, SECOND do
    if not only or only == side then self[side]:fail(path.numbers[side], "cut", self.now) end
  end
end

local function send(world, path, side, bytes)
  local to = SECOND + FIRST - side
  bytes = path.filter and path.filter(bytes, to) or bytes
  if path.silent then return end
  path.free_at[to] = math.max(path.free_at[to], world.now) + (bytes and #bytes or 0) / path.rate
  table.insert(path.mail[to], { at = path.free_at[to] + path.delay, bytes = bytes })
end

-- What a side has to send; a path that is over at one end ends at the other.
function World:flush()
  for side = FIRST, SECOND do
    for _, path in ipairs(self.paths) do
      local number = path.numbers[side]
      local function poll() return self[side]:poll(number, self.now) end
      for bytes in poll do send(self, path, side, bytes) end
      if self[side]:path_state(number) ~= "live" and not (path.over or {})[side] then
        path.over = path.over or {}
        path.over[side] = true
        send(self, path, side, false)
      end
    end
  end
end

local function deliver(world, path, side)
  local mail = path.mail[side]
  while mail[1] and not path.held and mail[1].at <= world.now do
    local bytes = table.remove(mail, 1).bytes
    if bytes then
      world[side]:feed(path.numbers[side], bytes, world.now)
    else
      world[side]:fail(path.numbers[side], nil, world.now)
    end
  end
end

local function next_instant(world)
  local at = math.min(world[FIRST]:due(), world[SECOND]:due())
  for _, path in ipairs(world.paths) do
    for side = FIRST, SECOND do
      local mail = not path.held and path.mail[side][1]
      if mail then at = math.min(at, mail.at) end
    end
  end
  return at
end

--- Lets time pass, one instant after the other, until `done(world)` or for `seconds`.
-- @treturn boolean whether it was done
function World:run(done, seconds)
  local last = self.now + (seconds or 30)
  while true do
    self:flush()
    if done and done(self) then return true end
    self:flush()
    local at = next_instant(self)
    if at > last then
      self.now = last
      return false
    end
    self.now = math.max(self.now, at)
    for _, path in ipairs(self.paths) do
      deliver(self, path, FIRST)
      deliver(self, path, SECOND)
    end
    for side = FIRST, SECOND do self[side]:tick(self.now) end
  end
end

--- What a side reads until nothing is there, and whether the end was reached.
function World:read(side)
  local parts = {}
  while true do
    local data, message, code = self[side]:read()
    if not data then return table.concat(parts), message == nil, message, code end
    parts[#parts + 1] = data
  end
end

--- Reads both sides, and tells whether the session has ended for them: for run.
function courses.both_ended(world)
  world:read(FIRST)
  world:read(SECOND)
  return world[FIRST]:info().state == "ended" and world[SECOND]:info().state == "ended"
end

--- Writes `data` from one side while the other reads, until all has come.
function World:carry(data, from, seconds)
  from = from or FIRST
  local to, at, got = SECOND + FIRST - from, 1, {}
  local size = 0
  local done = self:run(function()
    if at <= #data then at = at + assert(self[from]:write(data:sub(at, at + 65535))) end
    local part = self:read(to)
    got[#got + 1], size = part, size + #part
    return size >= #data
  end, seconds)
  assert(done, ("%d of %d bytes have come"):format(size, #data))
  assert(table.concat(got) == data, "what came is not what was sent")
end

--- The events of a machine since the last time.
-- @treturn string their types
-- @treturn table the reason of the last one of each type
function courses.events(side)
  local types, reasons = {}, {}
  while true do
    local type, _, reason = side:event()
    if not type then return table.concat(types, " "), reasons end
    types[#types + 1], reasons[type] = type, reason
  end
end

function World:events(side)
  return courses.events(self[side])
end

function World:__close()
  self[FIRST]:close()
  self[SECOND]:close()
end

--- Two machines: world[1], the initiator, and world[2].
-- @tparam[opt] table options silence, keep_max; paths: how many (1)
function courses.world(options)
  options = options or {}
  local function new(initiator)
    return machine.new { initiator = initiator, silence = options.silence, keep_max = options.keep_max }
  end
  local world = setmetatable({ new(true), new(false), paths = {}, now = 1000 }, World)
  for _ = 1, options.paths or 1 do world:path() end
  return world
end

return courses
