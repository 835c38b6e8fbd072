--- How wrong network time is, in a lab with latency. Its NTP server serves this machine's own time, so the
-- true offset is known.
local harness = require "spec.bench.harness"
local lab = require "p2pd.lab"

local SURVEYS, SURVEYS_S = 40, 60
local PATHS = {
  { latency = 0, jitter = 0 },
  { latency = 0.02, jitter = 0, goal = 0.001 },
  { latency = 0.02, jitter = 0.005, goal = 0.003 },
}

local function survey(l)
  local server = l.ntps[1]
  local result = assert(l:run("a", { arg[-1], "spec/bench/peers/clock_error.lua", SURVEYS, server.host,
    server.port }, SURVEYS_S))
  assert(result.status == 0, result.err)
  local found = { first = {}, seconds = {}, last = {}, beyond = 0 }
  for line in result.out:gmatch "[^\n]+" do
    local first, seconds, last, bound = line:match "^(%S+) (%S+) (%S+) (%S+)$"
    table.insert(found.first, tonumber(first))
    table.insert(found.seconds, tonumber(seconds))
    table.insert(found.last, tonumber(last))
    if tonumber(last) > tonumber(bound) then found.beyond = found.beyond + 1 end
  end
  return found
end

local function summary(seconds)
  table.sort(seconds)
  local function at(part) return seconds[math.ceil(part * #seconds)] end
  return ("%.3f / %.3f / %.3f ms"):format(at(0.5) * 1e3, at(0.95) * 1e3, at(1) * 1e3), at(1)
end

local function row(l, path)
  assert(l:set_link("a", { latency = path.latency, jitter = path.jitter }))
  local found = survey(l)
  local text, worst = summary(found.last)
  return {
    what = ("clock error at %g ± %g ms one-way: median / p95 / max"):format(path.latency * 1e3,
      path.jitter * 1e3),
    ours = ("%s (the first of 8 samples: %s, after %.1f ms; %d of %d beyond the bound)"):format(text,
      summary(found.first), harness.median(found.seconds) * 1e3, found.beyond, SURVEYS),
    goal = path.goal and ("<= %g ms"):format(path.goal * 1e3),
    theirs = path.goal and ("%g ms"):format(path.goal * 1e3),
    ratio = path.goal and worst / path.goal,
    met = path.goal and worst <= path.goal,
  }
end

return function()
  assert(lab.is_possible())
  local l <close> = assert(lab.open { hosts = { a = {} }, servers = { ntps = 1 } })
  local rows = {}
  for i, path in ipairs(PATHS) do rows[i] = row(l, path) end
  return rows
end
