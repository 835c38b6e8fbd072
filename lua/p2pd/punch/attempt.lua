--- One punch attempt: SYNs that leave at an instant, in one wave or several, listeners beside them, and the
-- first stream that proves to be the peer's. Nothing is left open and no SYN leaves once it has ended.
-- @module p2pd.punch.attempt
local core = require "p2pd.core"
local deadline = require "p2pd.deadline"
local task = require "p2pd.task"

local attempt = {}

local HANDSHAKE_S = 5   -- for a stream to prove itself
local HEDGE_S = 0.5     -- after which the next stream is tried beside one that does not get on
local STREAMS_MAX = 16  -- that prove themselves at once
local ERROR_PAUSE_S = 0.05 -- after an error of a listener, such as no descriptor left

-- -- streams

-- One stream after the other speaks, for the side that chooses.
local function take_turn(self)
  while self.turn and not self.turn:has_passed() do self.changed:wait(self.turn:left()) end
  self.turn = deadline.after(HEDGE_S)
end

local function prove(self, stream)
  local held <close> = task.hold(stream)
  local _ <close> = setmetatable({}, { __close = function()
    self.proving = self.proving - 1
    self.changed:broadcast()
  end })
  if self.plan.choose then take_turn(self) end
  local ok, reason, code = task.timeout(HANDSHAKE_S, self.plan.verify, stream)
  self.turn = nil
  if ok and self.winner.n == 0 then
    self.winner[1], self.winner.n = held:release(), 1
  elseif not ok then
    self.reason, self.code = reason, code
    self.left = self.left or code == "ECANCELED"
  end
end

local function consider(self, stream)
  if self.proving >= STREAMS_MAX then return stream:close() end
  self.proving = self.proving + 1
  self.children:spawn(prove, self, stream)
end

local function accept(self, listener)
  while true do
    local stream, ip, code = listener:accept()
    if stream and self.plan.peers[ip] then
      consider(self, stream)
    elseif stream then
      stream:abort()
    elseif code == "EBADF" then
      return
    else
      task.sleep(ERROR_PAUSE_S)
    end
  end
end

-- Until no further one can come.
local function collect(self, punch)
  while true do
    local stream, reason, code = punch:wait()
    if not stream then
      self.reason, self.code = self.reason or reason, self.code or code
      return
    end
    consider(self, stream)
  end
end

-- -- opening

local function listen(self, listeners)
  for _, port in ipairs(self.plan.listen) do
    local listener, reason, code = core.tcp.listen { ip = self.plan.ip, port = port, reuse_port = true }
    if not listener then return nil, reason, code end
    table.insert(listeners, listener)
    self.children:spawn(accept, self, listener)
  end
  return true
end

-- The device only where it may be chosen: else the addresses have to do.
local function start(fire)
  if not fire.mappings[1] then return nil, "no endpoint of the peer's to connect to", "EHOSTUNREACH" end
  local punch, reason, code = core.punch.start(fire)
  if punch or code ~= "EPERM" then return punch, reason, code end
  for _, mapping in ipairs(fire.mappings) do mapping.device = nil end
  return core.punch.start(fire)
end

-- A wave whose time is over is left out, when another one follows: we may be late.
local function fire_wave(self, wave)
  local fire = self.plan.fire(wave)
  if wave < self.plan.waves and deadline.at(fire.deadline):has_passed() then return true end
  local punch <close>, reason, code = start(fire)
  if not punch then
    self.reason, self.code, self.failed = self.reason or reason, self.code or code, true
    return false
  end
  collect(self, punch)
  return true
end

-- One right after the other. What has connected in a wave stays when the next one begins.
local function fire_waves(self)
  for wave = 1, self.plan.waves do
    if not fire_wave(self, wave) then break end
  end
  self.over = true
  self.changed:broadcast()
end

local Listeners = { __close = function(self)
  for _, listener in ipairs(self) do listener:close() end
end }

local function is_over(self)
  if self.winner.n > 0 then return true end
  if self.proving > 0 then return false end
  return self.left or self.failed or self.over and #self.plan.listen == 0 or self.deadline:has_passed()
end

--- Fires, and waits for a stream.
-- @tparam table plan `fire`: function(wave), what `core.punch.start` takes; `waves`: how many, one after the
-- other; `deadline`: the instant at which all ends that has not connected; `ip`: ours; `listen`: local ports
-- to accept on too; `peers`: set of addresses from which to accept; `verify`: function(stream), returns the
-- verified stream, or nil, reason, code (ECANCELED: the peer has no use for it, or for others); `choose`: one
-- stream after the other is verified, else all at once
-- @treturn[1] stream a verified one
-- @treturn[2] nil
-- @treturn[2] string why there is none
-- @treturn[2] string code
function attempt.open(plan)
  local winner <close> = task.hold()
  local self = { plan = plan, winner = winner, proving = 0, changed = task.condition(),
    deadline = deadline.at(plan.deadline) }
  local listeners <close> = setmetatable({}, Listeners)
  local children <close> = task.group()
  self.children = children
  local ok, reason, code = listen(self, listeners)
  if not ok then return nil, reason, code end
  children:spawn(fire_waves, self)
  while not is_over(self) do
    self.changed:wait(not self.deadline:has_passed() and self.deadline:left() or nil)
  end
  if winner.n > 0 then return winner:release() end
  return nil, self.reason or "nobody came", self.code or "ETIMEDOUT"
end

return attempt
