--- The dialer's side of a relayed connection: offers the peer a relay, or asks for the peer's.
-- @module p2pd.relay.initiator
local local_relay = require "p2pd.relay.local_relay"
local remote_relay = require "p2pd.relay.remote_relay"
local task = require "p2pd.task"

local initiator = {}

local PERMIT_S = 8 -- seconds for another address of the peer to be let in

-- -- an allocation on its way

local Prepared = {}
Prepared.__index = Prepared

function Prepared:__close()
  self.child:cancel()
  if self.result and self.result[1] then self.result[1]:close() end
  self.result = nil
end

--- Begins with the allocation.
-- @tparam dial dial
-- @return something to be closed, for @{dial}
function initiator.prepare(dial)
  local self = setmetatable({ changed = task.condition() }, Prepared)
  self.child = task.spawn(function()
    self.result = { local_relay.open(dial.node, dial.peer) }
    self.changed:broadcast()
  end)
  return self
end

-- Hands it over, once; whoever dials again, or knew too little of the peer before, gets a new one.
local function take(prepared, dial)
  if prepared.is_taken then return local_relay.open(dial.node, dial.peer) end
  prepared.is_taken = true
  while not prepared.result do prepared.changed:wait() end
  local allocation, reason, code = table.unpack(prepared.result, 1, 3)
  prepared.result = {}
  if code == "EDESTADDRREQ" then return local_relay.open(dial.node, dial.peer) end
  return allocation, reason, code
end

-- -- the two ways

-- What the first of several functions returns that returns anything.
local function first_of(children, fns)
  local done, result = task.condition(), nil
  local held <close> = task.hold()
  for _, fn in ipairs(fns) do
    children:spawn(function()
      local results = table.pack(fn())
      if results.n == 0 then return end
      if result then
        if results[1] then results[1]:close() end
        return
      end
      result = results
      held.n, held[1] = results[1] and 1 or 0, results[1]
      done:signal()
    end)
  end
  while not result do done:wait() end
  held.n = 0
  return table.unpack(result, 1, result.n)
end

-- Tells the peer where our relay is, and lets in whatever its answer says of its addresses.
local function invite(dial, allocation)
  local answer, reason, code = dial:request("TURN_REQUEST", local_relay.fields(allocation))
  if not answer then return nil, reason, code end
  for _, one in ipairs(remote_relay.endpoints(answer)) do
    if remote_relay.check(dial.node, answer, one) then allocation:permit(one.ip, PERMIT_S) end
  end
  local_relay.permit(dial.node, allocation, answer.sender) -- it may have moved
end

local function dial_by_local(dial, allocation)
  local held <close> = task.hold(allocation)
  local children <close> = task.group()
  local stream, reason, code = first_of(children, {
    function()
      return local_relay.receive(allocation, dial.pipe_id, "dialer",
        function(come) return dial:secure(come) end)
    end,
    function()
      local ok, why, errno = local_relay.permit(dial.node, allocation, dial.peer)
      if not ok then return nil, why, errno end
    end,
    function() return invite(dial, allocation) end,
  })
  if stream then held:release() end
  return stream, reason, code
end

local function dial_by_remote(dial)
  local answer, reason, code = dial:request("TURN_REQUEST")
  if not answer then return nil, reason, code end
  if not answer.relayed then return nil, "the peer answers without a relay", "EPROTO" end
  local stream
  stream, reason, code = remote_relay.connect(dial.node, answer, dial.pipe_id, "dialer")
  if not stream then return nil, reason, code end
  return dial:secure(stream)
end

--- Dials: by a relay of ours, or where there is none by the peer's. Waits.
-- @tparam dial dial
-- @param prepared what @{prepare} returned
-- @treturn stream a verified stream; or nil, message, code
function initiator.dial(dial, prepared)
  local allocation, failure = take(prepared, dial)
  if allocation then return dial_by_local(dial, allocation) end
  local stream, reason, code = dial_by_remote(dial)
  if stream then return stream end
  if local_relay.is_possible(dial.node) then reason = ("%s; %s"):format(failure, reason) end
  return nil, reason, code
end

return initiator
