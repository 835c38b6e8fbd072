--- A process in a host of the lab that runs chunks of Lua there: `agent:call("return core.udp...", ...)`.
local core = require "p2pd.core"
local json = require "dkjson"

local agent = {}
agent.__index = agent
agent.__name = "spec.lab.agent"

local ANSWER_S = 20

local function take_answers(self)
  for line in function() return (self.child:stdout():read "l") end do
    local message = json.decode(line, 1, json.null)
    self.answers[message.id] = message.results
    self.news:broadcast()
  end
  self.ended = true
  self.news:broadcast()
end

--- Starts one.
-- @tparam lab l
-- @tparam string host its name
function agent.start(l, host)
  local command = { "lua5.4", "spec/lab/agent_main.lua", stdin = "pipe", stdout = "pipe",
    env = { XDG_STATE_HOME = l.folder } }
  local self = setmetatable({ host = host, asked = 0, answers = {}, news = core.task.condition() }, agent)
  self.child = assert(l:spawn(host, command))
  self.reader = core.task.spawn(take_answers, self)
  return self
end

--- Runs a chunk there, with `core`, `task`, `stun` and a table `state` that stays. Waits.
-- @tparam string code
-- @param ... its arguments, plain values
-- @return what it returns; tables are copies
-- @raise what it raised
function agent:call(code, ...)
  self.asked = self.asked + 1
  local id = self.asked
  local request = json.encode { id = id, code = code, arguments = { ... }, n = select("#", ...) }
  assert(self.child:stdin():write(request, "\n"))
  local deadline = core.clock.monotonic() + ANSWER_S
  while not self.answers[id] do
    assert(not self.ended, "the agent has ended")
    local left = deadline - core.clock.monotonic()
    assert(left > 0, "the agent does not answer")
    self.news:wait(left)
  end
  local results = self.answers[id]
  self.answers[id] = nil
  if not results[1] then error(("in %s: %s"):format(self.host, results[2]), 2) end
  local n = #results
  for i = 2, n do
    if results[i] == json.null then results[i] = nil end
  end
  return table.unpack(results, 2, n)
end

function agent:close()
  self.reader:cancel()
  self.child:kill "KILL"
  self.child:close()
end

agent.__close = agent.close

return agent
