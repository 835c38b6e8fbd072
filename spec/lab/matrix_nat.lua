--- `make matrix-nat`: classifies each NAT of spec/lab/nats.lua again and again, at two latencies and with
-- loss, and prints how often it was right. P2PD_RUNS=20 says how often.
local core = require "p2pd.core"
local lab = require "p2pd.lab"
local nats = require "spec.lab.nats"

local RUNS = math.tointeger(tonumber(os.getenv "P2PD_RUNS" or "20"))
local LATENCIES, LOSS = { 0.001, 0.05 }, 0.01
local ROW = "%-22s %-50s %6s  %7s  %7s  %s"

local function median(values)
  table.sort(values)
  return values[(#values + 1) // 2]
end

local function describe(expected)
  local texts = {}
  for i, one in ipairs(expected) do texts[i] = ("%s, %s %d"):format(one.type, one.delta, one.value) end
  return table.concat(texts, "; ")
end

local function measure(l, one)
  local inside <close> = nats.agent(l, one.name)
  local right, seconds, faults = 0, {}, {}
  for i = 1, RUNS do
    local result = nats.classify(inside, l.settings)
    seconds[i] = result.seconds
    local fault = nats.difference(one, result)
    if fault then faults[#faults + 1] = fault else right = right + 1 end
  end
  print(ROW:format(one.name, describe(one.expected), ("%d/%d"):format(right, RUNS),
    ("%.0f ms"):format(median(seconds) * 1e3), ("%.0f ms"):format(seconds[#seconds] * 1e3),
    table.concat(faults, "; ")))
  return right == RUNS
end

local function run()
  local can, why = lab.is_possible()
  if not can then
    io.stderr:write("no lab: ", why, "\n")
    return false
  end
  local is_right = true
  for _, latency in ipairs(LATENCIES) do
    print(("\nlatency %g ms one way, loss %g %% of the packets each way"):format(latency * 1e3, LOSS * 100))
    print(ROW:format("host", "NAT", "right", "median", "longest", "faults"))
    local l <close> = assert(lab.open(nats.description { latency = latency, loss = LOSS }))
    for _, one in ipairs(nats.CASES) do is_right = measure(l, one) and is_right end
  end
  return is_right
end

io.stdout:setvbuf "line"
os.exit(core.task.run(run), true)
