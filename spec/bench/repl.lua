--- From the start of the program to its first prompt, on a terminal that script(1) makes, against lua's.
local core = require "p2pd.core"
local harness = require "spec.bench.harness"
local scratch = require "p2pd.lab.scratch"

local ROUNDS, GOAL_MS = 21, 50

-- script(1) and its shell take their time, so the clock is read by that shell just before.
local COMMAND = "date +%%s.%%N; exec %s"

local function without_sequences(text)
  return (text:gsub("\27%[[%d;?]*%a", ""):gsub("\r", ""))
end

-- Milliseconds.
local function start(program, folder)
  local child <close> = assert(core.process.spawn { "script", "-qfec", COMMAND:format(program), "/dev/null",
    stdin = "pipe", stdout = "pipe", env = { TERM = "xterm", HOME = folder, XDG_DATA_HOME = folder } })
  local out, seen, began = child:stdout(), "", nil
  out:settimeout(10)
  repeat
    seen = seen .. assert(out:recv())
    began = began or tonumber(seen:match "^(%d+%.%d+)")
  until began and without_sequences(seen):find "> $"
  local taken = (core.clock.realtime() - began) * 1000
  child:stdin():write "\4"
  child:wait(10)
  return taken
end

return function()
  local folder = scratch.folder()
  local found = harness.alternate(ROUNDS, {
    function() return start("./p2pd", folder) end,
    function() return start("lua5.4", folder) end,
  })
  scratch.remove_all()
  local ours, theirs = found.medians[1], found.medians[2]
  return { {
    what = "from the program's start to its first prompt, against lua5.4",
    ours = ("%.1f ms"):format(ours), theirs = ("%.1f ms"):format(theirs), ratio = found.ratios[2],
    goal = ("<= %d ms"):format(GOAL_MS), met = ours <= GOAL_MS,
  } }
end
