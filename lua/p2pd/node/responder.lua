--- The answering side of a node's strategies: peers' requests, each in a task and one of a few places.
-- @classmod p2pd.node.responder
local core = require "p2pd.core"
local acceptor = require "p2pd.node.acceptor"
local expiring_map = require "p2pd.expiring_map"
local strategy = require "p2pd.strategy"
local task = require "p2pd.task"

local responder = {}

responder.MAX = 32           -- requests of peers that are answered at once
responder.STRANGERS_MAX = 24 -- of them those of peers that are not trusted (p2pd.signal.admission)
responder.PEER_MAX = 16      -- and those of one peer
local MADE_MAX = 1024        -- pipe ids that are remembered

local Responder = { __name = "p2pd.node.responder" }
Responder.__index = Responder

--- @tparam node node
function responder.new(node)
  return setmetatable({
    node = node,
    running = {}, -- by type, pipe id and sender: from, pipe, task
    count = 0,
    admitted = setmetatable({}, { __mode = "k" }), -- streams whose dialer has proved himself
    made = expiring_map.new(MADE_MAX),             -- pipe id and peer of pipes that peers have made to us
  }, Responder)
end

-- Some places are kept for trusted peers, and nobody takes more than a share.
local function has_room(self, m)
  local places = self.node.signal.admission:is_trusted(m.from) and responder.MAX or responder.STRANGERS_MAX
  local of_peer = 0
  for _, request in pairs(self.running) do
    if request.from == m.from then of_peer = of_peer + 1 end
  end
  return self.count < places and of_peer < responder.PEER_MAX
    and #self.node.accepted < acceptor.ACCEPTED_MAX
end

local function call_answer(entry, node, m)
  local ok, stream, reason, code = xpcall(entry.answer, debug.traceback, node, m)
  if ok then return stream, reason, code end
  core.log.write("error", ("strategy %s failed: %s"):format(entry.strategy.name, stream))
  return nil, "an error in the strategy", "EFAULT"
end

-- What an answer came to: its stream becomes a pipe.
local function conclude(self, entry, m, stream, reason, code)
  if code == "ECANCELED" then return end
  if stream and self.admitted[stream] then
    return acceptor.offer(self.node, stream,
      { strategy = entry.strategy.name, peer = m.from, id = m.pipe, secure = not m.insecure })
  end
  if stream then
    task.hold(stream):__close()
    reason = "an error in the strategy"
    core.log.write("error", ("strategy %s answered %s with a %s, and no stream that node:admit has verified")
      :format(entry.strategy.name, m.type, type(stream)))
  end
  self.node.signal:refuse(m, tostring(reason or "failed"), code == "EACCES" and "not allowed" or "failed")
end

--- Answers a request; waits.
-- @tparam table entry of the message's type, as strategy.messages gives it
-- @tparam table m the message
function Responder:answer(entry, m)
  local node, key = self.node, table.concat({ m.type, m.pipe, m.from }, " ")
  if self.running[key] or self.made:get(m.pipe .. " " .. m.from) then return end
  if not has_room(self, m) then return node.signal:refuse(m, "too busy") end
  if m.insecure and not node.insecure then
    return node.signal:refuse(m, "only encrypted pipes here", "not encrypted")
  end
  self.running[key] = { from = m.from, pipe = m.pipe, task = core.task.running() }
  self.count = self.count + 1
  local _ <close> = setmetatable({}, { __close = function()
    self.running[key] = nil
    self.count = self.count - 1
  end })
  local limit = entry.timeout or strategy.ANSWER_TIMEOUT
  conclude(self, entry, m, task.timeout(limit, call_answer, entry, node, m))
end

--- Takes a message that asks for nothing.
-- @tparam table entry of the message's type
-- @tparam table m the message
function Responder:receive(entry, m)
  local ok, reason = pcall(entry.receive, self.node, m)
  if ok then return end
  self.node.refusals:note("failed", m.from, "strategy %s failed with %s of %s: %s", entry.strategy.name,
    m.type, m.from, tostring(reason))
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
