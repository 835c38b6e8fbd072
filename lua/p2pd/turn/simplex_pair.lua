--- Two TCP connections through a TURN server (RFC 6062), which together are a stream: a half for each
-- direction. core.simplex_pair tells why, docs/protocol.md how.
-- @module p2pd.turn.simplex_pair
local core = require "p2pd.core"
local preamble = require "p2pd.preamble"
local task = require "p2pd.task"

local simplex_pair = {}

local ACCEPTORS = 4     -- connections to a relayed address that are taken at once
local STRANGERS_MAX = 8 -- of them, those that have not said which half they are
local HALF_S = 5        -- seconds that one may take to say so

-- Which half a connection is: who connects sends on "up", and receives on "down".
local HALVES = { up = true, down = true }

local function write_half(stream, direction, pipe_id)
  return preamble.write(stream, direction, pipe_id)
end

local function read_half(stream)
  local words, message, code = preamble.read(stream)
  if not words then return nil, message, code end
  if #words ~= 2 or not words.is_clean or not HALVES[words[1]] then
    return nil, preamble.MALFORMED, "EPROTO"
  end
  return words[1], words[2]
end

-- The allocation ends with the stream, and the stream with the allocation.
local function tie(allocation, ending)
  task.spawn(function()
    ending:wait()
    allocation:close()
  end)
  task.spawn(function()
    local reason, code = allocation:wait()
    if code ~= "EBADF" then core.log.write("warn", reason) end
    ending:fail()
  end)
end

-- What comes to a relayed address of ours: halves, until two make a stream that `verify` lets through.
local Acceptor = {}
Acceptor.__index = Acceptor

function Acceptor:__close()
  self.children:cancel()
  for _, stream in pairs(self.halves) do stream:close() end
  if self.stream then self.stream:close() end
end

local function try(self, halves)
  local ending, reason, code = core.simplex_pair.join(halves.up, halves.down)
  if ending then
    local verified
    verified, reason, code = self.verify(halves.up)
    if verified and not self.stream then
      self.stream, self.ending = verified, ending
      return self.changed:signal()
    end
    if verified then return verified:close() end
  end
  if code == "ECANCELED" then
    self.failure = { reason, code }
    return self.changed:signal()
  end
  core.log.write("info", "a connection to the relayed address was turned away: " .. tostring(reason))
end

-- Two halves of ours are a stream.
local function take_half(self, stream)
  local held <close> = task.hold(stream)
  stream:settimeout(HALF_S)
  local direction, pipe_id = read_half(stream)
  if not direction or pipe_id ~= self.pipe_id then return end
  stream:settimeout()
  if self.halves[direction] then self.halves[direction]:close() end
  self.halves[direction] = held:release()
  local pair = self.halves
  if not (pair.up and pair.down) then return end
  self.halves = {}
  local both <close> = task.hold(pair.up, pair.down)
  try(self, pair)
  if self.stream == pair.up then both:release() end
end

local function accept_halves(self, allocation)
  while true do
    local stream, reason, code = allocation:accept()
    if stream and self.busy < STRANGERS_MAX then
      self.busy = self.busy + 1
      self.children:detach(function()
        take_half(self, stream)
        self.busy = self.busy - 1
      end)
    elseif stream then
      stream:abort()
    elseif allocation.failure then
      self.failure = { reason, code }
      return self.changed:signal()
    end
  end
end

--- Waits for the peer at the relayed address of a TCP allocation, which ends with the stream.
-- @tparam allocation allocation
-- @tparam string pipe_id
-- @tparam function verify gets a stream; returns it, or nil, message, code (ECANCELED ends the wait)
-- @treturn stream a verified one; or nil, message, code
function simplex_pair.receive(allocation, pipe_id, verify)
  local self <close> = setmetatable({ pipe_id = pipe_id, verify = verify, halves = {}, busy = 0,
    children = task.group(), changed = task.condition() }, Acceptor)
  for _ = 1, ACCEPTORS do self.children:spawn(accept_halves, self, allocation) end
  while not self.stream and not self.failure do self.changed:wait() end
  if not self.stream then return nil, self.failure[1], self.failure[2] end
  tie(allocation, self.ending)
  local stream = self.stream
  self.stream = nil
  return stream
end

--- Connects to the relayed address that a peer has.
-- @tparam string ip
-- @tparam integer port
-- @tparam ?table from options of core.tcp.connect
-- @tparam string pipe_id
-- @tparam number timeout seconds
-- @treturn stream one on which nothing has been said; or nil, message, code
function simplex_pair.connect(ip, port, from, pipe_id, timeout)
  local function connect() return core.tcp.connect(ip, port, from, timeout) end
  local up, down, code = task.all(connect, connect)
  if not up then return nil, down, code end
  local held <close> = task.hold(up, down)
  local ok, reason
  ok, reason, code = write_half(up, "up", pipe_id)
  if ok then ok, reason, code = write_half(down, "down", pipe_id) end
  if ok then ok, reason, code = core.simplex_pair.join(down, up) end
  if not ok then return nil, reason, code end
  held:release()
  return down
end

return simplex_pair
