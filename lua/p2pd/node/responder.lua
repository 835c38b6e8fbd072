--- The answering side of a node's strategies: peers' requests, each in a task and one of a few places.
-- @classmod p2pd.node.responder
local acceptor = require "p2pd.node.acceptor"
local core = require "p2pd.core"
local deadline = require "p2pd.deadline"
local endpoint = require "p2pd.endpoint"
local expiring_map = require "p2pd.expiring_map"
local families = require "p2pd.families"
local strategy = require "p2pd.strategy"
local task = require "p2pd.task"

local responder = {}

local MADE_MAX, MADE_S = 512, 120 -- pipe ids that are remembered, and for how long

-- A stranger learns one thing of an address that he has named. What was decided without trying it (by these
-- codes, or when the strategy says so in the message's `untried`) is said at once; what was tried, when its
-- time is over, however it ended.
local STRANGERS_REASON = "not reachable"
local UNTRIED = { EACCES = true, EAFNOSUPPORT = true, EBUSY = true, EINVAL = true, EAGAIN = true }

-- An attempt ends so long before its refusal is told: what its end costs, and at once for many, is not seen.
local SETTLE_S = 0.15

local Responder = { __name = "p2pd.node.responder" }
Responder.__index = Responder

--- What a node does about the dials of others.
-- @tparam node node
function responder.new(node)
  return setmetatable({
    node = node,
    running = {}, -- by type, pipe id and sender: from, pipe, task
    admitted = setmetatable({}, { __mode = "k" }), -- what was said on streams whose dialer has proved himself
    made = expiring_map.new(MADE_MAX, MADE_S),     -- pipe id and peer of pipes that peers have made to us
  }, Responder)
end

--- How many requests are being answered.
function Responder:count()
  local n = 0
  for _ in pairs(self.running) do n = n + 1 end
  return n
end

local function call_answer(self, entry, m)
  local ok, stream, reason, code = xpcall(entry.answer, debug.traceback, self.node, m)
  if ok then return stream, reason, code end
  self.node.refusals:note_error(("strategy %s failed"):format(entry.strategy.name), stream)
  return nil, "an error in the strategy", "EFAULT"
end

-- -- refusals

local function refuse_later(self, m, limit)
  local place = self.node.limits:hold("refused", {})
  if not place then return end
  self.node.tasks:detach(function()
    local _ <close> = place
    task.sleep(limit:left())
    self.node.signal:reply(m, "REFUSED", { pipe = m.pipe, reason = STRANGERS_REASON })
  end)
end

local function refuse(self, m, limit, reason, code)
  local counted = code == "EACCES" and "not allowed" or code == "EBUSY" and "too busy" or "failed"
  if self.node:is_known(m.from) or code == "EBUSY" then
    return self.node.signal:refuse(m, reason, counted)
  end
  self.node.refusals:note(counted, m.from, "a request of %s was refused: %s", m.from, reason)
  if not m.untried and not UNTRIED[code] then return refuse_later(self, m, limit) end
  self.node.signal:reply(m, "REFUSED", { pipe = m.pipe, reason = STRANGERS_REASON })
end

-- -- answers

local function addresses_of(peer)
  local set = {}
  for _, family in ipairs(families.ALL) do
    for _, record in ipairs(peer[family]) do set[record.external], set[record.internal] = true, true end
  end
  return set
end

-- What an answer came to: its stream becomes a pipe.
local function conclude(self, entry, m, limit, stream, reason, code)
  if code == "ECANCELED" then return end
  if stream and self.admitted[stream] then
    return acceptor.offer(self.node, stream, self.admitted[stream], { strategy = entry.strategy.name,
      address = m.sender, addresses = addresses_of(m.sender),
      relay = m.relayed and endpoint.parse(m.relayed) })
  end
  if stream then
    task.hold(stream):__close()
    reason, code = "an error in the strategy", "EFAULT"
    self.node.refusals:note_error(("strategy %s"):format(entry.strategy.name),
      ("answered %s with a %s, and no stream that node:admit has verified"):format(m.type, type(stream)))
  end
  refuse(self, m, limit, tostring(reason or "failed"), code)
end

-- A place for an answer, and what happens when another one needs it.
local function take_place(self, m, key)
  return self.node.limits:hold("answers", { peer = m.from }, function()
    local request = self.running[key]
    self.node.signal:refuse(m, "too busy")
    if request then request.task:cancel() end
  end)
end

--- Answers a request; waits.
-- @tparam table entry of the message's type, as strategy.messages gives it
-- @tparam table m the message
function Responder:answer(entry, m)
  local node, key = self.node, table.concat({ m.type, m.pipe, m.from }, " ")
  if self.running[key] then return end
  if self.made:get(m.pipe .. " " .. m.from) then return node.signal:refuse(m, "that pipe has been made") end
  local place <close> = take_place(self, m, key)
  if not place then return node.signal:refuse(m, "too busy") end
  if m.insecure and not node.insecure then
    return node.signal:refuse(m, "only encrypted pipes here", "not encrypted")
  end
  self.running[key] = { from = m.from, pipe = m.pipe, task = core.task.running() }
  local _ <close> = setmetatable({}, { __close = function() self.running[key] = nil end })
  local limit = deadline.after(entry.timeout or strategy.ANSWER_TIMEOUT)
  local left = limit:left()
  local stream, reason, code =
    task.timeout(math.max(left - SETTLE_S, left / 2), call_answer, self, entry, m)
  conclude(self, entry, m, limit, stream, reason, code)
end

--- Takes a message that asks for nothing.
-- @tparam table entry of the message's type
-- @tparam table m the message
function Responder:receive(entry, m)
  local ok, reason = xpcall(entry.receive, debug.traceback, self.node, m)
  if ok then return end
  self.node.refusals:note_error(("strategy %s failed with %s"):format(entry.strategy.name, m.type), reason)
end

--- A pipe of a peer has come about: what else was to make one for the same dial is over.
function Responder:settle(peer_id, pipe_id)
  self.made:set(pipe_id .. " " .. peer_id, true, core.clock.monotonic())
  local others = {}
  for _, request in pairs(self.running) do
    local is_same = request.from == peer_id and request.pipe == pipe_id
    if is_same and request.task ~= core.task.running() then others[#others + 1] = request.task end
  end
  for _, other in ipairs(others) do other:cancel() end
end

return responder
