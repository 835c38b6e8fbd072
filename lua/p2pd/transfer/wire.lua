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
local DIRECT = 64 * 1024 -- bytes of a frame that are worth reads of their own
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

--- Puts the next bytes of a file without looking at them.
-- @tparam file file
-- @tparam string kind of its frames
-- @treturn ?integer how many; nothing at its end; or nil, message, code, and true when the file has failed
-- @treturn boolean whether they end a frame
function Wire:give(file, kind)
  local ok, reason, code = self:flush()
  local stream
  if ok then stream, reason, code = self.pipe:carrier() end
  if not stream then return nil, reason, code end
  self.in_frame = true
  local count, is_last, errcode, is_file = file:give(stream, kind)
  if count or is_file or not is_last then
    self.in_frame = count and not is_last or false
    return count, is_last, errcode, is_file
  end
  if errcode == "ETIMEDOUT" then return nil, is_last, errcode end
  return nil, select(2, self.pipe:write "") -- why, in the pipe's words
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

local function receive(self, max)
  local ok, reason, code = true, nil, nil
  if self.flushes then ok, reason, code = self:flush() end
  local data
  if ok then data, reason, code = self.pipe:recv(max) end
  if data then return data end
  if code == "ETIMEDOUT" then return nil, "the other side is silent", code end
  return nil, reason or "the other side has gone", code or "ECONNRESET"
end

local function need(self, count)
  while #self.data - self.at + 1 < count do
    local more, reason, code = receive(self, self.next_max)
    if not more then return nil, reason, code end
    self.data, self.at, self.next_max = self.data:sub(self.at) .. more, 1, nil
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

-- Lets somebody read the stream: how many bytes, false: he does not want to; or nil, message, code. The next
-- frame may be another one of those: no more than its header is read then.
local function drain_some(self, length, drain)
  local ok, reason, code = true, nil, nil
  if self.flushes then ok, reason, code = self:flush() end
  local stream
  if ok then stream, reason, code = self.pipe:carrier() end
  if not stream then return nil, reason, code end
  local count, why, errcode = drain(stream, length)
  if count then
    self.next_max = HEADER
  elseif count == nil and errcode == "ETIMEDOUT" then
    return nil, "the other side is silent", errcode
  elseif count == nil then
    return nil, select(2, receive(self)) -- why, in the pipe's words
  end
  return count, why, errcode
end

-- What is at hand of a body, or comes next: how many bytes.
local function take_piece(self, length, take)
  local here = #self.data - self.at + 1
  if here == 0 then
    local more, reason, code = receive(self)
    if not more then return nil, reason, code end
    self.data, self.at, here = more, 1, #more
  end
  local count = math.min(here, length)
  local is_whole = self.at == 1 and count == #self.data
  take(is_whole and self.data or self.data:sub(self.at, self.at + count - 1))
  self.at = self.at + count
  return count
end

--- The body of a bulk frame, in pieces as they come.
-- @tparam integer length
-- @tparam function take called with each piece
-- @tparam[opt] function drain called with the core's stream and how many bytes are missing, while none is at
-- hand: gives how many it has read of the stream itself, false when it does not; or nil, message, code
-- @treturn boolean true; or nil, message, code
function Wire:pieces(length, take, drain)
  drain = length >= DIRECT and drain
  while length > 0 do
    local count, reason, code = false, nil, nil
    if drain and self.at > #self.data then count, reason, code = drain_some(self, length, drain) end
    if count == false then count, reason, code = take_piece(self, length, take) end
    if not count then return nil, reason, code end
    length = length - count
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
