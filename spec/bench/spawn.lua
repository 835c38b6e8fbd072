--- A task that does nothing, from spawn to its end, against a coroutine that does nothing. Both are made and
-- ended a batch at a time, and the collector's work for them counts.
local core = require "p2pd.core"
local harness = require "spec.bench.harness"

local ROUNDS, BATCHES, BATCH, GOAL_US = 15, 500, 200, 1

local function nothing() end

-- Microseconds for one.
local function timed(run_batch)
  collectgarbage()
  local started = harness.now()
  for _ = 1, BATCHES do run_batch() end
  return (harness.now() - started) * 1e6 / (BATCHES * BATCH)
end

local function run_tasks()
  local spawn, last = core.task.spawn, nil
  for _ = 1, BATCH do last = spawn(nothing) end
  last:join()
end

local function run_coroutines()
  local create, resume = coroutine.create, coroutine.resume
  for _ = 1, BATCH do resume(create(nothing)) end
end

return function()
  local found = harness.alternate(ROUNDS,
    { function() return timed(run_tasks) end, function() return timed(run_coroutines) end })
  local ours, theirs = found.medians[1], found.medians[2]
  return { {
    what = "spawn and end of a task, against a bare coroutine",
    ours = ("%.2f µs"):format(ours), theirs = ("%.2f µs"):format(theirs), ratio = found.ratios[2],
    goal = "<= 1 µs beyond", met = ours - theirs <= GOAL_US,
  } }
end
