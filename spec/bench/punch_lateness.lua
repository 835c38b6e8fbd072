--- How late SYNs leave, from the kernel's timestamps of the packets: the punch scheduler beside a libev timer
-- and a plain clock_nanosleep(), in turns, idle and with every CPU busy. Needs the right to capture packets.
local core = require "p2pd.core"
local harness = require "spec.bench.harness"
local scratch = require "p2pd.lab.scratch"
local task = require "p2pd.task"

local ROUNDS, PER_ROUND = 15, 20
local MEDIAN_GOAL_US, P99_GOAL_US = 100, 400
local CLOCKS_S = 10e-6 -- the two clocks are known to that
local BURST = 256

local program -- compiled when the benchmark starts

local function peer(kind)
  return function(port, prefix)
    local line = { arg[-1], "spec/bench/peers/syns.lua", kind, tostring(port), tostring(PER_ROUND) }
    table.move(line, 1, #line, #prefix + 1, prefix)
    return harness.start(prefix)
  end
end

local punch = peer "punch"

-- Without the right to be a real-time process.
local function unprivileged(port)
  return punch(port, { "setpriv", "--bounding-set", "-sys_nice", "--inh-caps", "-sys_nice", "--" })
end

local CANDIDATES = {
  { name = "punch", start = function(port) return punch(port, {}) end, goal = true },
  { name = "punch, unprivileged", start = unprivileged },
  { name = "libev timer", start = function(port) return peer "timer"(port, {}) end },
  { name = "clock_nanosleep", start = function(port)
    return harness.start { program, "sleep", tostring(port), tostring(PER_ROUND) }
  end },
}

-- -- what was planned, and what left

local function run_candidate(candidate, port, planned)
  local child <close> = candidate.start(port)
  for _ = 1, PER_ROUND do
    local from, at = child:numbers()
    planned[#planned + 1] = { from = from, at = at, candidate = candidate }
  end
  child:finish()
end

local function next_number(tap)
  local ok, from, at = pcall(tap.numbers, tap)
  if ok then return from, at end
end

-- The instants in microseconds after the planned ones, in the order of the SYNs from each port.
local function lateness(planned, tap)
  tap.process:stdin():close()
  local left = {}
  for from, at in next_number, tap do
    left[from] = left[from] or {}
    table.insert(left[from], at)
  end
  for _, syn in ipairs(planned) do
    for _, at in ipairs(left[syn.from] or {}) do
      if at >= syn.at - CLOCKS_S and at < syn.at + 1 then
        table.insert(syn.candidate.found, (at - syn.at) * 1e6)
        break
      end
    end
  end
end

local function measure()
  local port, planned = scratch.free_port(), {}
  local tap <close> = harness.start { program, "capture", tostring(port) }
  assert(tap:line() == "ready")
  for _, candidate in ipairs(CANDIDATES) do candidate.found = {} end
  for _ = 1, ROUNDS do
    for _, candidate in ipairs(CANDIDATES) do run_candidate(candidate, port, planned) end
  end
  lateness(planned, tap)
end

-- -- the rows

local function quantile(sorted, q)
  return sorted[math.max(1, math.ceil(q * #sorted))]
end

local function row(candidate, load)
  local found = candidate.found
  table.sort(found)
  local median, p99, max = quantile(found, 0.5), quantile(found, 0.99), found[#found]
  local result = {
    what = ("SYN lateness, %s, %s (%d)"):format(load, candidate.name, #found),
    ours = ("median %.0f, p99 %.0f, max %.0f us"):format(median, p99, max),
  }
  if candidate.goal and load == "idle" then
    result.goal = ("median <= %d, p99 <= %d us"):format(MEDIAN_GOAL_US, P99_GOAL_US)
    result.met = median <= MEDIAN_GOAL_US and p99 <= P99_GOAL_US
  end
  return result
end

-- One loop for each CPU.
local function keep_busy()
  local loops = task.hold()
  for cpu = 1, 2 do
    loops[cpu], loops.n = harness.start { cpu = cpu, "sh", "-c", "while :; do :; done" }, cpu
  end
  return loops
end

local function add_rows(rows, load, loops)
  local _ <close> = loops
  measure()
  for _, candidate in ipairs(CANDIDATES) do rows[#rows + 1] = row(candidate, load) end
end

-- By its own account: the packets of one instant leave one after the other.
local function burst_row()
  local port, mappings, at = scratch.free_port(), {}, harness.now() + 0.1
  for i = 1, BURST do mappings[i] = { ip = "127.0.0.1", remote_ip = "127.0.0.1", remote_port = port } end
  local started = harness.now()
  local all <close> = assert(core.punch.start { at = at, deadline = at + 1, hold = 0.1, gap = 1,
    mappings = mappings })
  local opening = harness.now() - started
  all:wait()
  local late = all:stats().lateness
  table.sort(late)
  return {
    what = ("%d SYNs at one instant: the last one"):format(BURST),
    ours = ("%.0f us (sockets opened in %.1f ms)"):format(late[#late] * 1e6, opening * 1e3),
  }
end

return function()
  program = harness.compile "syns"
  local rows = {}
  add_rows(rows, "idle")
  add_rows(rows, "2 CPUs busy", keep_busy())
  rows[#rows + 1] = burst_row()
  return rows
end
