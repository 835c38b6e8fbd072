--- Dials that run, and the reports of those that ran last.
-- @classmod p2pd.http.dials
local core = require "p2pd.core"
local describe = require "p2pd.http.describe"
local id = require "p2pd.id"
local problem = require "p2pd.http.problem"
local task = require "p2pd.task"

local dials = {}

dials.RUNNING_MAX = 64
dials.KEPT_MAX = 256 -- reports

local Dials = { __name = "p2pd.http.dials" }
Dials.__index = Dials

--- @tparam table service node, pipes, feed, metrics
function dials.new(service)
  return setmetatable({ service = service, by_id = {}, order = {}, running = 0, tasks = task.group() }, Dials)
end

local function drop_old(self)
  while #self.order > dials.KEPT_MAX do
    local oldest
    for i, entry in ipairs(self.order) do
      if entry.ended then oldest = i break end
    end
    if not oldest then return end
    self.by_id[table.remove(self.order, oldest).id] = nil
  end
end

--- A dial's report.
-- @tparam table entry
-- @treturn table
function Dials.report(_, entry)
  local attempts = entry.dial and entry.dial.attempts or entry.attempts
  return {
    id = entry.id, address = entry.address, state = entry.state, pipe = entry.pipe, error = entry.error,
    code = entry.code, attempts = describe.attempts(attempts),
    seconds = tonumber(("%.6g"):format((entry.ended or core.clock.monotonic()) - entry.started)),
  }
end

local function tell(self, entry)
  self.service.feed:publish("dial", self:report(entry))
end

-- -- running one

local KEYS = { "strategies", "policy", "protocol", "timeout", "exclusive" }

local function options_of(body)
  local options = {}
  for _, key in ipairs(KEYS) do options[key] = body[key] end
  return options
end

local function finish(self, entry, state)
  entry.state, entry.ended, entry.dial = state, core.clock.monotonic(), nil
  self.running = self.running - 1
  self.service.metrics:count_dial(entry)
  tell(self, entry)
  drop_old(self)
end

local function fail(entry, reason, code, attempts)
  entry.error, entry.code, entry.attempts = reason, code, attempts
end

-- A code is redeemed once: so its address is the dial's from then on.
local function redeem(self, entry, found)
  local address, reason, code = found:reach(self.service.node)
  if not address then return fail(entry, reason, code) end
  entry.address, entry.state, entry.is_found = address, "running", true
  tell(self, entry)
  return true
end

-- What is raised is about the options: a strategy or a policy that there is not.
local function prepare(self, entry, options)
  local node = self.service.node
  local ok, made, failure = pcall(node.prepare_dial, node, entry.address, options)
  if not ok then return fail(entry, tostring(made):gsub("^[^:]+:%d+: ", ""), "EINVAL") end
  if not made then return fail(entry, tostring(failure), failure.code, failure.attempts) end
  entry.dial = made
  return made
end

local function connect(self, entry, found, options)
  if not entry.is_found and not redeem(self, entry, found) then return end
  local made = prepare(self, entry, options)
  if not made then return end
  local pipe, failure = made:connect()
  if not pipe then return fail(entry, tostring(failure), failure.code, failure.attempts) end
  entry.attempts, entry.strategy = pipe.attempts, pipe.strategy
  return pipe
end

local function run(self, entry, found, options)
  local _ <close> = setmetatable({}, { __close = function()
    if not entry.ended then finish(self, entry, "canceled") end
  end })
  local pipe = connect(self, entry, found, options)
  local kept = pipe and self.service.pipes:add(pipe, false)
  if kept and problem.is(kept) then
    entry.error, kept = kept.detail, nil
  end
  entry.pipe = kept and kept.id
  finish(self, entry, kept and "connected" or "failed")
  return kept
end

local function begin(self, body)
  if self.running >= dials.RUNNING_MAX then return problem.new(503, "too many dials run") end
  local found, reason, code = describe.find_whom(self.service.node, body.address)
  if not found then return problem.new(400, reason, code) end
  local entry = { id = id.new(), address = found.address or found.code, is_found = found.address ~= nil,
    state = found.address and "running" or "redeeming", started = core.clock.monotonic() }
  self.by_id[entry.id], self.running = entry, self.running + 1
  table.insert(self.order, entry)
  tell(self, entry)
  return entry, found
end

--- Dials in the background. An address that is a code is found there, too.
-- @tparam table body address, strategies, policy, protocol, timeout, exclusive
-- @treturn table entry; or a problem
function Dials:start(body)
  local entry, found = begin(self, body)
  if problem.is(entry) then return entry end
  entry.task = self.tasks:detach(run, self, entry, found, options_of(body))
  return entry
end

--- Dials. Waits.
-- @tparam table body as for @{start}
-- @treturn table the pipe's entry; or a problem
function Dials:connect(body)
  local entry, found = begin(self, body)
  if problem.is(entry) then return entry end
  local kept = run(self, entry, found, options_of(body))
  if kept then return kept end
  return entry.is_found and problem.of(entry.error, entry.code) or problem.new(400, entry.error, entry.code)
end

--- Ends a dial that runs, or forgets its report.
function Dials:remove(entry)
  if entry.task then entry.task:cancel() end
  self.by_id[entry.id] = nil
  for i, one in ipairs(self.order) do
    if one == entry then return table.remove(self.order, i) end
  end
end

--- @treturn table entry; or a problem
function Dials:find(wanted)
  return self.by_id[wanted] or problem.new(404, "no dial has this id")
end

--- Ends all.
function Dials:close()
  self.tasks:cancel()
end

Dials.__close = Dials.close

return dials
