--- A candidate pair, seen by a punch: whether the peers are on one machine, behind one router, on one LAN or
-- apart; how they can meet; and what may be believed of the peer. Pure.
-- @module p2pd.punch.pairing
local nat = require "p2pd.nat"
local predict = require "p2pd.punch.predict"
local reach = require "p2pd.net.reach"

local pairing = {}

local function is_machine(pair)
  local ip = pair.remote.external
  return ip == pair.route.external and ip == pair.route.nic
end

--- Whether a peer is behind our own router, or in our subnet: then nothing translates what passes between us.
-- @tparam table pair route (ours), remote (a record of the peer's address), family
-- @treturn boolean
function pairing.shares_router(pair)
  return pair.remote.external == pair.route.external
    or reach.is_in_subnet(pair.route, pair.remote.external)
end

--- Whether a peer may be reached at its internal address.
-- @tparam table pair
-- @treturn boolean
function pairing.shares_lan(pair)
  return pairing.shares_router(pair)
    or reach.is_in_subnet(pair.route, pair.remote.internal)
end

--- How a pair can meet.
-- @tparam table pair
-- @tparam ?boolean birthday whether both agree to a birthday attack
-- @treturn[1] string as `predict.meeting` says it
-- @treturn[1] string the pair's purpose, "internet", "lan" or "machine"
-- @treturn[2] nil
-- @treturn[2] string why not
function pairing.meeting(pair, birthday)
  if is_machine(pair) then return predict.meeting(pair.route.nat, pair.remote.nat, "machine"), "machine" end
  local meeting, reason = predict.meeting(pair.route.nat, pair.remote.nat, "internet", birthday)
  if meeting and not meeting:find "^birthday" then return meeting, "internet" end
  if pairing.shares_router(pair) then
    return predict.meeting(pair.route.nat, pair.remote.nat, "lan"), "lan"
  end
  return meeting, meeting and "internet" or reason
end

--- Whether we may connect to an address that a peer names: a stranger must not have us speak to our own
-- machine, or to somebody's inner network.
-- @tparam table pair
-- @tparam string ip
-- @treturn boolean true; or nil, message, "EACCES"
function pairing.check_address(pair, ip)
  return reach.check_pair(pair, ip)
end

--- Whether, and how, we may punch a pair.
-- @tparam table pair
-- @tparam ?boolean birthday whether both agree to a birthday attack
-- @treturn[1] string and the pair's purpose, as @{meeting} gives them
-- @treturn[2] nil
-- @treturn[2] string why not
-- @treturn[2] string code: EAGAIN (our NAT is still being looked at), EACCES, EHOSTUNREACH
function pairing.check(pair, birthday)
  if not pair.route.nat then return nil, "our NAT is not known yet", "EAGAIN" end
  local ok, reason, code = pairing.check_address(pair, pair.remote.external)
  if not ok then return nil, reason, code end
  local meeting, purpose = pairing.meeting(pair, birthday)
  if not meeting then return nil, purpose, "EHOSTUNREACH" end
  return meeting, purpose
end

--- Who names ports knows more of its NAT than its address says, and so does who names none.
-- @tparam table pair its `remote.nat` is mended
-- @tparam {table,...} mappings the peer's
function pairing.believe(pair, mappings)
  local is_unknown = predict.rule(pair.remote.nat) == "unknown"
  if is_unknown == (#mappings == 0) then return end
  local type = is_unknown and "port-restricted" or "symmetric"
  pair.remote.nat = { type = nat.TYPES[type], delta = nat.DELTA_RANDOM, value = 0 }
end

--- An address's record by its interface offset.
-- @tparam {table,...} list the records of a family
-- @tparam integer offset
-- @treturn ?table
function pairing.record_of(list, offset)
  for _, record in ipairs(list) do
    if record.interface == offset then return record end
  end
end

return pairing
