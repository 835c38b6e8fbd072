--- Frames on a pipe: a byte for the kind, four for the length, and the body. What is put is gathered, and
-- leaves with `flush` or when it is much; so small files do not cost a write each.
-- @classmod p2pd.transfer.wire
local deadline = require "p2pd.deadline"
local task = require "p2pd.task"

local wire = {}

local HEADER = 5
local BODY_MAX = 128 * 1024
local BULK_MAX = 1024 * 1024
local GATHER = 32 * 1024 -- bytes
local SILENCE_S = 60
local ALIVE = "P"

wire.ALIVE_S = 10 -- from one sign of life to the next

local Wire = { __name = "p2pd.transfer.wire" }
Wire.__index = Wire

-- So that silence means that the peer is gone, however long it hashes. In the middle of a frame bytes flow.
local function keep_alive(self)
  while true do
    task.sleep(wire.ALIVE_S)
    if not self.in_frame and not (self:put(ALIVE, "") and self:flush()) then return end
  end
end

--- Takes over reading and writing of a pipe.
-- @tparam pipe pipe
-- @tparam boolean flushes whether what was put leaves before a read waits: not when another task writes
-- @treturn wire to be closed; the pipe is not closed with it
function wire.new(pipe, flushes)
  local self = setmetatable({ pipe = pipe, flushes = flushes, out = {}, out_size = 0, data = "", at = 1,
    tasks = task.group() }, Wire)
  pipe:settimeout(SILENCE_S)
  self.tasks:spawn(keep_alive, self)
  return self
end

-- -- writing

--- Puts a frame.
-- @tparam string kind a character
-- @tparam string body
-- @treturn boolean true; or nil, message, code
function Wire:put(kind, body)
  return self:add((">BI4"):pack(kind:byte(), #body) .. body)
end

local function write_now(self, bytes)
  local ok, reason, code = self:flush()
  if ok then ok, reason, code = self.pipe:write(bytes) end
  if not ok then return nil, reason, code end
  return true
end

--- Puts bytes of frames that were made elsewhere.
-- @tparam string bytes
-- @tparam[opt] boolean in_frame whether they end in the middle of one
-- @treturn boolean true; or nil, message, code
function Wire:add(bytes, in_frame)
  self.in_frame = in_frame
  if #bytes >= GATHER then return write_now(self, bytes) end
  self.out[#self.out + 1] = bytes
  self.out_size = self.out_size + #bytes
  if self.out_size < GATHER then return true end
  return self:flush()
end

--- Lets what was put leave.
-- @treturn boolean true; or nil, message, code
function Wire:flush()
  if self.out_size == 0 then return true end
  local out = table.concat(self.out)
  self.out, self.out_size = {}, 0
  local ok, reason, code = self.pipe:write(out)
  if not ok then return nil, reason, code end
  return true
end

-- -- reading

local function receive(self)
  local ok, reason, code = true, nil, nil
  if self.flushes then ok, reason, code = self:flush() end
  local data
  if ok then data, reason, code = self.pipe:recv() end
  if data then return data end
  if code == "ETIMEDOUT" then return nil, "the other side is silent", code end
  return nil, reason or "the other side has gone", code or "ECONNRESET"
end

local function need(self, count)
  while #self.data - self.at + 1 < count do
    local more, reason, code = receive(self)
    if not more then return nil, reason, code end
    self.data, self.at = self.data:sub(self.at) .. more, 1
  end
  return true
end

local function peek_header(self, bulk)
  local ok, reason, code = need(self, HEADER)
  if not ok then return nil, reason, code end
  local kind, length = (">BI4"):unpack(self.data, self.at)
  kind = string.char(kind)
  if length > (kind == bulk and BULK_MAX or BODY_MAX) then return nil, "not what p2pd sends", "EPROTO" end
  return kind, length
end

-- A frame is taken as a whole, or not at all when the task is canceled.
local function next_frame(self, bulk)
  local kind, length, code = peek_header(self, bulk)
  if not kind then return nil, length, code end
  if kind == bulk then
    self.at = self.at + HEADER
    return kind, length
  end
  local ok, reason
  ok, reason, code = need(self, HEADER + length)
  if not ok then return nil, reason, code end
  local first = self.at + HEADER
  self.at = first + length
  return kind, self.data:sub(first, first + length - 1)
end

--- The next frame. Waits.
-- @treturn string kind; or nil, message, code
-- @treturn string body; of a frame of `bulk` its length: @{pieces} gives it
-- @tparam[opt] string bulk a kind of frames
function Wire:get(bulk)
  local kind, body, code
  repeat
    kind, body, code = next_frame(self, bulk)
  until kind ~= ALIVE
  return kind, body, code
end

--- The body of a bulk frame, in pieces as they come.
-- @tparam integer length
-- @tparam function take called with each piece
-- @treturn boolean true; or nil, message, code
function Wire:pieces(length, take)
  while length > 0 do
    local here = #self.data - self.at + 1
    if here == 0 then
      local more, reason, code = receive(self)
      if not more then return nil, reason, code end
      self.data, self.at, here = more, 1, #more
    end
    local count = math.min(here, length)
    local is_whole = self.at == 1 and count == #self.data
    take(is_whole and self.data or self.data:sub(self.at, self.at + count - 1))
    self.at, length = self.at + count, length - count
  end
  return true
end

--- Says nothing more, and waits until the other side has read and ended, or some seconds have passed.
-- @tparam number seconds
function Wire:finish(seconds)
  self.tasks:cancel()
  local limit = deadline.after(seconds)
  if not self:flush() or not self.pipe:shutdown() then return end
  self.pipe:settimeout(seconds)
  repeat until limit:has_passed() or not self.pipe:recv()
end

--- Leaves the pipe alone.
function Wire:close()
  self.tasks:cancel()
end

Wire.__close = Wire.close

return wire
