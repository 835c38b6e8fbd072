--- A pipe over a WebSocket (RFC 6455): binary messages are bytes for the peer, and what the peer sends comes
-- as binary messages. The WebSocket's end leaves the pipe open.
-- @module p2pd.http.websocket
local core = require "p2pd.core"
local frame = require "p2pd.http.websocket_frame"
local pipes = require "p2pd.http.pipes"
local problem = require "p2pd.http.problem"
local task = require "p2pd.task"
local text = require "p2pd.text"

local websocket = {}

local PIECE = 64 * 1024 -- bytes of a message to the client
local PING_S, CLOSE_S = 30, 5

local function has(value, word)
  for one in (value or ""):lower():gmatch "[^%s,]+" do
    if one == word then return true end
  end
  return false
end

--- What is wrong with a request for a WebSocket, or nil.
-- @tparam table headers
-- @treturn ?problem
function websocket.find_fault(headers)
  if not has(headers.upgrade, "websocket") or not has(headers.connection, "upgrade") then
    return problem.new(426, "this path is for WebSockets", nil, { Upgrade = "websocket" })
  end
  if headers["sec-websocket-version"] ~= "13" then
    return problem.new(426, "WebSocket version 13 is spoken here", nil, { ["Sec-WebSocket-Version"] = "13" })
  end
  if not (headers["sec-websocket-key"] or ""):find "^[%w+/]+==$" or #headers["sec-websocket-key"] ~= 24 then
    return problem.new(400, "the Sec-WebSocket-Key is malformed")
  end
end

--- The headers that accept one.
-- @tparam table headers
-- @treturn table
function websocket.answer(headers)
  local answer = { Upgrade = "websocket",
    ["Sec-WebSocket-Accept"] = core.websocket.accept_of(headers["sec-websocket-key"]) }
  if has(headers["sec-websocket-protocol"], "p2pd") then answer["Sec-WebSocket-Protocol"] = "p2pd" end
  return answer
end

-- -- what the client sends

-- A close frame goes out once.
local function say_close(self, code, reason)
  if self.closing then return end
  self.closing = true
  self.stream:write(frame.encode(frame.CLOSE, frame.close_payload(code, reason)))
end

local function read_head(self)
  local bytes, reason = self.stream:read(2)
  if not bytes or #bytes < 2 then return nil, reason end
  local head, fault = frame.begin(bytes)
  if not head then return nil, fault, frame.PROTOCOL_ERROR end
  bytes, reason = self.stream:read(head.more)
  if not bytes or #bytes < head.more then return nil, reason end
  head, fault = frame.complete(head, bytes)
  if not head then return nil, fault, frame.PROTOCOL_ERROR end
  return head
end

local on_control = {
  [frame.PING] = function(self, payload)
    if not self.closing then self.stream:write(frame.encode(frame.PONG, payload)) end
    return true
  end,
  [frame.PONG] = function() return true end,
  [frame.CLOSE] = function(self, payload)
    local fault = frame.find_close_fault(payload)
    local code = fault or #payload >= 2 and string.unpack(">I2", payload) or frame.NORMAL
    say_close(self, code)
  end,
}

local function receive_control(self, head)
  local payload = head.length > 0 and self.stream:read(head.length) or ""
  if #payload < head.length then return nil end
  return on_control[head.opcode](self, core.websocket.mask(payload, head.key))
end

-- A message of any size goes to the pipe as it comes.
local function receive_data(self, head)
  local at = 0
  while at < head.length do
    local piece = self.stream:recv(math.min(PIECE, head.length - at))
    if not piece then return nil end
    self.heard = true
    local ok, reason = self.entry.pipe:write(core.websocket.mask(piece, head.key, at))
    if not ok then return nil, text.printable(reason, 100), frame.INTERNAL_ERROR end
    at = at + #piece
  end
  return true
end

local function find_order_fault(self, head)
  if head.opcode == frame.TEXT then return "text is not taken: send binary messages", frame.UNSUPPORTED end
  local continues = head.opcode == frame.CONTINUATION
  if continues and not self.in_message then return "nothing to continue", frame.PROTOCOL_ERROR end
  if not continues and self.in_message then return "the last message has no end", frame.PROTOCOL_ERROR end
end

local function receive_frame(self)
  local head, reason, code = read_head(self)
  if not head then return nil, reason, code end
  self.heard = true
  if head.opcode >= frame.CLOSE then return receive_control(self, head) end
  reason, code = find_order_fault(self, head)
  if reason then return nil, reason, code end
  self.in_message = not head.is_final
  return receive_data(self, head)
end

local function receive_all(self)
  local ok, reason, code
  repeat ok, reason, code = receive_frame(self) until not ok
  if code then say_close(self, code, reason) end
end

-- -- what the peer sends

local function send_all(self)
  while true do
    local data, reason = pipes.recv(self.entry, PIECE)
    if not data then
      say_close(self, reason and frame.INTERNAL_ERROR or frame.NORMAL, text.printable(reason or "the end",
        100))
      task.sleep(CLOSE_S) -- for the client's close frame
      return self.stream:abort()
    end
    if not self.stream:write(frame.encode(frame.BINARY, data)) then return end
  end
end

-- A client that has gone without a word is found out.
local function watch(self)
  while true do
    self.heard = false
    task.sleep(PING_S)
    if not self.heard and self.pinged then return self.stream:abort() end
    self.pinged = not self.heard
    if self.pinged and not self.closing then self.stream:write(frame.encode(frame.PING, "")) end
  end
end

--- Carries a pipe over an upgraded connection, until either ends. Waits.
-- @tparam stream stream taken over
-- @tparam table entry of @{p2pd.http.pipes}; whoever calls has the right to read it
function websocket.run(stream, entry)
  local held <close> = stream
  local self = { stream = held, entry = entry }
  local children <close> = task.group()
  children:spawn(send_all, self)
  children:spawn(watch, self)
  receive_all(self)
end

return websocket
