--- Reverse: the peer is asked over signalling to connect to our listener; the connection names the pipe, and
-- TLS goes the same way round as ever: we are its client.
-- @module p2pd.strategy.reverse
local core = require "p2pd.core"
local direct = require "p2pd.strategy.direct"
local handshake = require "p2pd.handshake"
local reach = require "p2pd.net.reach"
local task = require "p2pd.task"

local reverse = {}

reverse.whole = true -- one request serves every pair
reverse.request = "P2P_DIRECT"

local PAIRS_MAX = 9 -- that the peer can make us try

--- @tparam dial dial
-- @treturn stream a verified stream; or nil, message, code
function reverse.dial(dial)
  local expected <close> = dial:expect()
  local children <close> = task.group()
  local failure
  children:spawn(function()
    local left = dial.deadline - core.clock.monotonic()
    failure = table.pack(dial.node.signal:request(dial.peer, "P2P_DIRECT", { pipe = dial.pipe_id }, left))
    expected.condition:broadcast()
  end)
  while not expected.ended and not failure do expected.condition:wait() end
  local stream = expected:take()
  if stream then return stream end
  return table.unpack(failure, 1, failure.n)
end

--- The peer's part: connects to the dialer.
-- @tparam node node
-- @tparam table message P2P_DIRECT
-- @treturn stream a stream that the dialer has chosen; or nil, message, code
function reverse.answer(node, message)
  local attempts = {}
  for i, pair in ipairs(node:pairs(message.sender)) do
    if i > PAIRS_MAX then break end
    attempts[i] = function()
      local stream, reason, code = direct.connect(pair, reach.check)
      if not stream then return nil, reason, code end
      local held <close> = task.hold(stream)
      local ok
      ok, reason, code = handshake.back(stream, message.pipe)
      if not ok then return nil, reason, code end
      return node:admit(held:release(), message)
    end
  end
  if #attempts == 0 then return nil, "no address family in common", "EAFNOSUPPORT" end
  return task.race(attempts)
end

return reverse
