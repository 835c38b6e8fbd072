--- How wrong network time is: a real server of this machine's own time, behind a path with latency. So the
-- true offset is known.
local core = require "p2pd.core"
local harness = require "spec.bench.harness"
local ntp = require "p2pd.ntp"
local servers = require "p2pd.testbed.servers"

local SURVEYS = 40
local PATHS = {
  { latency = 0, jitter = 0 },
  { latency = 20, jitter = 0, goal = 1 },
  { latency = 20, jitter = 5, goal = 3 },
}

local function error_of(result)
  return math.abs(result.offset + core.clock.boottime() - core.clock.realtime())
end

-- One survey: its first result, and its last.
local function survey(port, found)
  local started, first = core.clock.monotonic(), nil
  local result = assert(ntp.survey({ { host = "127.0.0.1", port = port } }):measure {
    spacing = 0.001, spacing_max = 0.001, on_update = function(early)
      first = first or { wrong = error_of(early), seconds = core.clock.monotonic() - started }
    end,
  })
  table.insert(found.first, first.wrong)
  table.insert(found.seconds, first.seconds)
  table.insert(found.last, error_of(result))
  if found.last[#found.last] > result.bound then found.beyond = found.beyond + 1 end
end

local function survey_all(port)
  local found = { first = {}, last = {}, seconds = {}, beyond = 0 }
  for _ = 1, SURVEYS do survey(port, found) end
  return found
end

local function summary(seconds)
  table.sort(seconds)
  local function at(part) return seconds[math.ceil(part * #seconds)] * 1e3 end
  return ("%.3f / %.3f / %.3f ms"):format(at(0.5), at(0.95), at(1)), at(1)
end

local function row(path, server)
  local delay <close> = harness.peer(2, "delay", server.port, path.latency, path.jitter)
  local found = survey_all(tonumber(delay:line()))
  delay:write "\n"
  delay:finish()
  local text, worst = summary(found.last)
  return {
    what = ("clock error at %d ± %d ms one-way: median / p95 / max"):format(path.latency, path.jitter),
    ours = ("%s (the first of 8 samples: %s, after %.1f ms; %d of %d beyond the bound)"):format(text,
      summary(found.first), harness.median(found.seconds) * 1e3, found.beyond, SURVEYS),
    goal = path.goal and ("<= %d ms"):format(path.goal),
    theirs = path.goal and ("%d ms"):format(path.goal),
    ratio = path.goal and worst / path.goal,
    met = path.goal and worst <= path.goal,
  }
end

return function()
  local server, rows = servers.chronyd(), {}
  for i, path in ipairs(PATHS) do rows[i] = row(path, server) end
  servers.close_all()
  return rows
end
