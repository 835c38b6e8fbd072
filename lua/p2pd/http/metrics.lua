--- Counts and states as OpenMetrics text (OpenMetrics 1.0).
-- @classmod p2pd.http.metrics
local core = require "p2pd.core"
local task = require "p2pd.task"
local transfers = require "p2pd.http.transfers"

local metrics = {}

metrics.TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"

local BUCKETS = { 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20 } -- seconds of a dial
local LAG_EVERY_S = 1

local Metrics = { __name = "p2pd.http.metrics" }
Metrics.__index = Metrics

--- @tparam table service node, pipes, dials
function metrics.new(service)
  local self = setmetatable({ service = service, dials = {}, seconds = {}, paths = {}, transfers = {},
    resumed = 0, lag = 0, lag_max = 0, requests = {}, tasks = task.group() }, Metrics)
  self.tasks:detach(self.measure_lag, self)
  return self
end

-- How much later than asked for a task runs again.
function Metrics:measure_lag()
  while true do
    local at = core.clock.monotonic() + LAG_EVERY_S
    task.sleep(LAG_EVERY_S)
    self.lag = math.max(0, core.clock.monotonic() - at)
    self.lag_max = math.max(self.lag_max, self.lag)
  end
end

-- -- counting

local function count(set, key)
  set[key] = (set[key] or 0) + 1
end

local function observe(self, strategy, seconds)
  local histogram = self.seconds[strategy]
  if not histogram then
    histogram = { sum = 0, count = 0 }
    for i in ipairs(BUCKETS) do histogram[i] = 0 end
    self.seconds[strategy] = histogram
  end
  histogram.sum, histogram.count = histogram.sum + seconds, histogram.count + 1
  for i, bound in ipairs(BUCKETS) do
    if seconds <= bound then histogram[i] = histogram[i] + 1 end
  end
end

--- Counts a dial that is over.
-- @tparam table entry of @{p2pd.http.dials}
function Metrics:count_dial(entry)
  local strategy = entry.strategy or "none"
  count(self.dials, strategy .. "\0" .. entry.state)
  observe(self, strategy, entry.ended - entry.started)
end

--- Counts an answer.
-- @tparam integer status
function Metrics:count_request(status)
  count(self.requests, status)
end

--- Counts what an event tells.
-- @tparam string kind
-- @tparam table event
function Metrics:note(kind, event)
  if kind == "transfer" and transfers.is_over(event) then
    count(self.transfers, event.direction .. "\0" .. event.state)
  end
  if kind ~= "path" then return end
  count(self.paths, event.to or "none")
  if event.from then self.resumed = self.resumed + 1 end
end

-- -- the text

local function escape(value)
  return (tostring(value):gsub("\\", "\\\\"):gsub('"', '\\"'):gsub("\n", "\\n"))
end

local function number(value)
  return value == math.floor(value) and ("%d"):format(value) or ("%.6g"):format(value)
end

local function add(lines, name, labels, value)
  local parts = {}
  for i = 1, #labels, 2 do parts[#parts + 1] = ('%s="%s"'):format(labels[i], escape(labels[i + 1])) end
  local set = #parts > 0 and "{" .. table.concat(parts, ",") .. "}" or ""
  lines[#lines + 1] = ("%s%s %s"):format(name, set, number(value))
end

local function family(lines, name, kind, help, unit)
  lines[#lines + 1] = ("# TYPE %s %s"):format(name, kind)
  if unit then lines[#lines + 1] = ("# UNIT %s %s"):format(name, unit) end
  lines[#lines + 1] = ("# HELP %s %s"):format(name, help)
end

local function sorted(set)
  local keys = {}
  for key in pairs(set) do keys[#keys + 1] = key end
  table.sort(keys)
  local i = 0
  return function()
    i = i + 1
    if keys[i] ~= nil then return keys[i], set[keys[i]] end
  end
end

local function add_counter(lines, name, help, set, label)
  family(lines, name, "counter", help)
  for key, value in sorted(set) do add(lines, name .. "_total", { label, key }, value) end
end

local function add_dials(lines, self)
  family(lines, "p2pd_dials", "counter", "Dials by strategy and outcome.")
  for key, value in sorted(self.dials) do
    local strategy, outcome = key:match "^(.-)%z(.*)$"
    add(lines, "p2pd_dials_total", { "strategy", strategy, "outcome", outcome }, value)
  end
  family(lines, "p2pd_dial_seconds", "histogram", "How long dials took.", "seconds")
  for strategy, one in sorted(self.seconds) do
    for i, bound in ipairs(BUCKETS) do
      add(lines, "p2pd_dial_seconds_bucket", { "strategy", strategy, "le", ("%g"):format(bound) }, one[i])
    end
    add(lines, "p2pd_dial_seconds_bucket", { "strategy", strategy, "le", "+Inf" }, one.count)
    add(lines, "p2pd_dial_seconds_count", { "strategy", strategy }, one.count)
    add(lines, "p2pd_dial_seconds_sum", { "strategy", strategy }, one.sum)
  end
end

local function add_transfers(lines, self)
  family(lines, "p2pd_transfers", "counter", "Transfers of files by direction and outcome.")
  for key, value in sorted(self.transfers) do
    local direction, outcome = key:match "^(.-)%z(.*)$"
    add(lines, "p2pd_transfers_total", { "direction", direction, "outcome", outcome }, value)
  end
end

local function add_gauge(lines, name, help, value)
  family(lines, name, "gauge", help)
  add(lines, name, {}, value)
end

local function add_signalling(lines, stats)
  local numbers = {}
  for key, value in pairs(stats.signalling) do
    if type(value) == "number" then numbers[key] = value end
  end
  family(lines, "p2pd_signalling", "gauge", "What signalling counts.")
  for key, value in sorted(numbers) do add(lines, "p2pd_signalling", { "what", key }, value) end
  family(lines, "p2pd_broker_online", "gauge", "Whether a broker is connected.")
  for _, broker in ipairs(stats.signalling.brokers) do
    add(lines, "p2pd_broker_online", { "broker", broker.name }, broker.state == "online" and 1 or 0)
  end
end

local function add_limits(lines, stats)
  for _, one in ipairs { { "used", "gauge", "" }, { "refused", "counter", "_total" } } do
    local name = "p2pd_limit_" .. one[1]
    family(lines, name, one[2], "Budgets: " .. one[1] .. ".")
    for limit, value in sorted(stats.limits) do
      if value[one[1]] then add(lines, name .. one[3], { "limit", limit }, value[one[1]]) end
    end
  end
end

local function bytes_of(service)
  local received, sent = 0, 0
  for _, entry in ipairs(service.pipes:list()) do
    local info = entry.pipe:info() or {}
    received, sent = received + (info.received or 0), sent + (info.sent or 0)
  end
  return received, sent
end

--- All of it.
-- @treturn string
function Metrics:text()
  local service, lines = self.service, {}
  local stats = service.node:stats()
  local received, sent = bytes_of(service)
  add_dials(lines, self)
  add_transfers(lines, self)
  add_counter(lines, "p2pd_paths", "Paths that have carried sessions, by strategy.", self.paths, "strategy")
  family(lines, "p2pd_resumptions", "counter", "Sessions that went on by another path.")
  add(lines, "p2pd_resumptions_total", {}, self.resumed)
  add_gauge(lines, "p2pd_sessions", "Sessions that live.", #service.node:sessions())
  add_gauge(lines, "p2pd_pipes", "Pipes that users of the API hold.", service.pipes.count)
  add_gauge(lines, "p2pd_pipes_received_bytes", "Received by those pipes.", received)
  add_gauge(lines, "p2pd_pipes_sent_bytes", "Sent by those pipes.", sent)
  family(lines, "p2pd_accepted", "counter", "Streams that were accepted.")
  add(lines, "p2pd_accepted_total", {}, stats.accepted)
  add_counter(lines, "p2pd_refusals", "What was refused, by reason.", stats.refused, "reason")
  add_signalling(lines, stats)
  add_limits(lines, stats)
  add_counter(lines, "p2pd_http_answers", "Answers by status.", self.requests, "status")
  add_gauge(lines, "p2pd_loop_lag_seconds", "How late the loop was, last second.", self.lag)
  add_gauge(lines, "p2pd_loop_lag_max_seconds", "How late it was at most.", self.lag_max)
  lines[#lines + 1] = "# EOF\n"
  return table.concat(lines, "\n")
end

function Metrics:close()
  self.tasks:cancel()
end

Metrics.__close = Metrics.close

return metrics
