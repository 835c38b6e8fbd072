--- Reverse: the peer is asked over signalling to connect to our listener; the connection names the pipe.
-- @module p2pd.strategy.reverse
local core = require "p2pd.core"
local direct = require "p2pd.strategy.direct"
local handshake = require "p2pd.handshake"
local task = require "p2pd.task"

local reverse = {}

local ANSWER_TIMEOUT = 4 -- seconds for the peer's connection to us

reverse.whole = true -- one request serves every pair

--- @tparam dial dial
-- @treturn stream a verified stream; or nil, message, code
function reverse.dial(dial)
  local expected <close> = dial:expect()
  local children <close> = task.group()
  local failure
  children:spawn(function()
    local _, reason, code = dial.node.signal:send_until(dial.peer, "P2P_DIRECT",
      { pipe = dial.pipe_id }, dial.deadline, function(_, wait)
        return expected.condition:wait(wait) and expected.ended
      end)
    failure = { reason, code }
    expected.condition:broadcast()
  end)
  while not expected.ended and not failure do expected.condition:wait() end
  local stream = expected:take()
  if stream then return stream end
  if expected.refusal then return nil, "refused by the peer: " .. expected.refusal, "EACCES" end
  return nil, failure[1], failure[2]
end

local function connect_back(node, message)
  local attempts = {}
  for _, pair in ipairs(node:pairs(message.sender)) do
    attempts[#attempts + 1] = function()
      local stream, reason, code = direct.connect(pair)
      if not stream then return nil, reason, code end
      local held <close> = task.hold(stream)
      local ok
      ok, reason, code = handshake.announce(stream,
        { role = "back", pipe = message.pipe, from = node.id, to = message.from })
      if ok then ok, reason, code = handshake.answer(stream, message.pipe, node.id) end
      if not ok then return nil, reason, code end
      return held:release()
    end
  end
  if #attempts == 0 then return nil, "no address family in common", "EAFNOSUPPORT" end
  return task.race(attempts)
end

--- The peer's part: connects to the dialer, or says why it can't.
-- @tparam node node
-- @tparam table message P2P_DIRECT
-- @treturn stream a stream that the dialer has chosen; or nil, message, code
function reverse.answer(node, message)
  local stream, reason, code = task.timeout(ANSWER_TIMEOUT, connect_back, node, message)
  if stream then return stream end
  if code ~= "ECANCELED" then
    local said = reason:sub(1, 200):gsub("%c", " ")
    node.signal:reply(message, "REFUSED", { pipe = message.pipe, reason = said })
    core.log.write("info", ("connecting back to %s failed: %s"):format(message.from, reason))
  end
  return nil, reason, code
end

return reverse
