--- A stream through a TURN server that relays datagrams only: a reliable link (core.reliable) over a UDP
-- allocation of one side. The other side needs none: its datagrams go to the relayed address as they are.
-- @module p2pd.turn.reliable
local core = require "p2pd.core"
local families = require "p2pd.families"
local task = require "p2pd.task"

local reliable = {}

-- The link as a stream, once the peer has shown that it hears us.
local function open(carrier, pipe_id, role, timeout)
  local link <close> = core.reliable.new { carrier = carrier, id = pipe_id, role = role }
  local ok, reason, code = link:open(timeout)
  if not ok then return nil, reason, code end
  return link:stream()
end

-- The allocation is given back when the stream has no more use for it; a lost one fails the stream by itself.
local function tie(allocation)
  task.spawn(function()
    allocation:idle()
    allocation:close()
  end)
end

--- Waits for the peer's datagrams at the relayed address of an allocation, which ends with the stream.
-- @tparam allocation allocation
-- @tparam string pipe_id
-- @tparam string role this side's: "dialer" or "answerer"
-- @tparam number timeout seconds for each step
-- @treturn stream one on which nothing has been said; or nil, message, code
function reliable.receive(allocation, pipe_id, role, timeout)
  local data, ip, port = allocation:receive()
  if not data then return nil, ip, port end
  return reliable.connect_by(allocation, ip, port, pipe_id, role, timeout)
end

--- Sends to the relayed address that a peer has, from a socket of ours.
-- @tparam string ip
-- @tparam integer port
-- @tparam ?string from our address
-- @tparam string pipe_id
-- @tparam string role this side's
-- @tparam number timeout seconds
-- @treturn stream one on which nothing has been said; or nil, message, code
function reliable.connect(ip, port, from, pipe_id, role, timeout)
  local socket <close>, reason, code = core.udp.bind { ip = from or families.ANY[families.of(ip)] }
  if not socket then return nil, reason, code end
  local carrier
  carrier, reason, code = socket:datagrams(ip, port)
  if not carrier then return nil, reason, code end
  return open(carrier, pipe_id, role, timeout)
end

--- The same through an allocation of our own, for networks that block UDP; it ends with the stream.
-- @tparam allocation allocation the peer must let its address in
-- @tparam string ip the peer's relayed address
-- @tparam integer port
-- @tparam string pipe_id
-- @tparam string role this side's
-- @tparam number timeout seconds
-- @treturn stream one on which nothing has been said; or nil, message, code
function reliable.connect_by(allocation, ip, port, pipe_id, role, timeout)
  local carrier, reason, code = allocation:carrier(ip, port, timeout)
  if not carrier then return nil, reason, code end
  local stream
  stream, reason, code = open(carrier, pipe_id, role, timeout)
  if stream then tie(allocation) end
  return stream, reason, code
end

return reliable
