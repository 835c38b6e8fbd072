--- A pipe over a WebSocket (RFC 6455): binary messages are bytes for the peer, and what the peer sends comes
-- as binary messages. The WebSocket's end leaves the pipe open.
-- @module p2pd.http.websocket
local core = require "p2pd.core"
local pipes = require "p2pd.http.pipes"
local problem = require "p2pd.http.problem"
local task = require "p2pd.task"
local text = require "p2pd.text"

local websocket = {}

local NORMAL, INTERNAL_ERROR = 1000, 1011 -- RFC 6455 section 7.4.1
local SILENCE_S = 60                      -- a client is pinged after half of it
local CLOSE_S = 5                         -- for the client's close frame
local REASON_MAX = 100                    -- characters

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

-- -- carrying

local function say_close(stream, code, reason)
  core.websocket.shutdown(stream, code, text.printable(reason, REASON_MAX))
  task.sleep(CLOSE_S)
  stream:abort()
end

-- A client that has gone is found out by who reads it.
local function send_all(stream, entry)
  local bytes, reason, _, _, of_pipe = pipes.copy(entry, stream)
  if bytes then return say_close(stream, NORMAL, "the end") end
  if of_pipe then return say_close(stream, INTERNAL_ERROR, reason) end
end

--- Carries a pipe over an upgraded connection, until either ends. Waits.
-- @tparam stream stream taken over
-- @tparam table entry of @{p2pd.http.pipes}; whoever calls has the right to read it
function websocket.run(stream, entry)
  local held <close> = stream
  if not core.websocket.serve(held) then return end
  held:setsilence(SILENCE_S)
  local children <close> = task.group()
  children:spawn(send_all, held, entry)
  local bytes, reason, _, _, of_pipe = entry.pipe:copy_from(held)
  if not bytes and of_pipe then
    core.websocket.shutdown(held, INTERNAL_ERROR, text.printable(reason, REASON_MAX))
  end
end

return websocket
