--- Reverse: the peer is asked over signalling to connect to our listener; the connection names the pipe, and
-- TLS goes the same way round as ever: we are its client.
-- @module p2pd.strategy.reverse
local direct = require "p2pd.strategy.direct"
local handshake = require "p2pd.handshake"
local nat = require "p2pd.nat"
local port_mapping = require "p2pd.port_mapping"
local task = require "p2pd.task"

local PAIRS_MAX = 9 -- that the peer can make us try
local SYNS = 3      -- of a connection that nobody answers within its time (RFC 6298 section 2)

local reverse = {
  name = "reverse",
  cost = 2,
  budget = 4, -- seconds
  once_per_dial = true, -- one request serves every pair
}

--- The peer has to learn where we are.
-- @tparam node node
-- @tparam table pair
-- @treturn boolean true; or nil, message, "EAGAIN"
function reverse.feasible(node, pair)
  if pair.route.external_known or pair.route.nat or not node.discovering then return true end
  return nil, "our external address is not known yet", "EAGAIN"
end

-- The pair as the peer sees it.
local function turned(pair)
  local route, remote = pair.route, pair.remote
  return {
    family = pair.family,
    route = { nic = remote.internal, external = remote.external, prefix = route.prefix },
    remote = { external = route.external, internal = route.internal,
      nat = port_mapping.opened(route) or route.nat or nat.unknown() },
  }
end

--- What direct would be for the peer; where it is likely for us, there is no need to ask the peer.
-- @tparam node node
-- @tparam table pair
-- @treturn boolean
function reverse.expected(node, pair)
  return not direct.expected(node, pair) and direct.expected(node, turned(pair))
end

--- Has the peer connect, by a pair.
-- @tparam dial dial
-- @treturn stream a verified stream; or nil, message, code
function reverse.dial(dial)
  local expected <close> = dial:expect()
  local children <close> = task.group()
  local failure
  children:spawn(function()
    failure = table.pack(dial:request "P2P_DIRECT")
    expected.condition:broadcast()
  end)
  while not expected.ended and not failure do expected.condition:wait() end
  local stream = expected:take()
  if stream then return stream end
  return table.unpack(failure, 1, failure.n)
end

-- Whether there is room for one more connection that a peer has us make.
local function may_connect(node, message, ip)
  local who = { peer = message.from, target = ip }
  local ok, reason, code = node.limits:take("connects", who)
  if not ok then return nil, reason, code end
  return node.limits:take("syns", who, SYNS)
end

-- The peer's part: connects to the dialer.
local function answer(node, message)
  local function check(ip) return may_connect(node, message, ip) end
  local function verify(stream)
    local held <close> = task.hold(stream)
    local ok, reason, code = handshake.back(stream, message.pipe)
    if not ok then return nil, reason, code end
    return node:admit(held:release(), message)
  end
  local attempts = {}
  for i, pair in ipairs(node:pairs(message.sender)) do
    if i > PAIRS_MAX then break end
    attempts[i] = function() return direct.connect(node, message.from, pair, verify, check) end
  end
  if #attempts == 0 then return nil, "no address family in common", "EAFNOSUPPORT" end
  return task.race(attempts)
end

reverse.messages = { P2P_DIRECT = { answer = answer } }

return reverse
