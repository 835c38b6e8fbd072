--- What the benchmarks share: two candidates measured in turns, child processes on fixed CPUs, the report.
-- Everything is a ratio of figures from one run: the machine's speed, and whatever else it does, cancel out
-- when the candidates alternate and only the median of the rounds' ratios counts.
local core = require "p2pd.core"

local harness = {}

local RESULT_S = 120 -- for a child to say what it found

harness.now = core.clock.monotonic

-- -- numbers

--- The middle one.
-- @tparam {number,...} values
-- @treturn number
function harness.median(values)
  local sorted = table.move(values, 1, #values, 1, {})
  table.sort(sorted)
  local middle = #sorted // 2
  if #sorted % 2 == 1 then return sorted[middle + 1] end
  return (sorted[middle] + sorted[middle + 1]) / 2
end

--- Measures candidates in turns, A B C A B C; one turn before the first is not counted.
-- @tparam integer rounds
-- @tparam {function,...} candidates each measures once and returns a number
-- @treturn table `medians` of each candidate, and `ratios`: the median over the rounds of the first one's
--  figure by each one's figure of the same round
function harness.alternate(rounds, candidates)
  local figures, ratios = {}, {}
  for i, measure in ipairs(candidates) do
    measure(0)
    figures[i], ratios[i] = {}, {}
  end
  for round = 1, rounds do
    for i, measure in ipairs(candidates) do
      figures[i][round] = measure(round)
      ratios[i][round] = figures[1][round] / figures[i][round]
    end
  end
  local result = { medians = {}, ratios = {} }
  for i in ipairs(candidates) do
    result.medians[i], result.ratios[i] = harness.median(figures[i]), harness.median(ratios[i])
  end
  return result
end

-- -- child processes

local function read_file(path)
  local file <close> = io.open(path, "rb")
  return file and file:read "a" or ""
end

harness.read_file = read_file

--- A field of /proc/PID/FILE, such as `VmRSS: 123 kB`.
-- @treturn ?number
function harness.proc(pid, file, field)
  local text = read_file(("/proc/%s/%s"):format(pid, file))
  return tonumber(text:match("%f[%w]" .. field .. ":%s*(%d+)"))
end

-- The CPUs that we may use, as numbers.
local function allowed_cpus()
  local cpus = {}
  local list = read_file("/proc/self/status"):match "Cpus_allowed_list:%s*(%S+)" or ""
  for from, to in list:gmatch "(%d+)%-?(%d*)" do
    for cpu = tonumber(from), tonumber(to) or tonumber(from) do cpus[#cpus + 1] = cpu end
  end
  return cpus
end

local function has_taskset()
  for folder in os.getenv("PATH"):gmatch "[^:]+" do
    local file <close> = io.open(folder .. "/taskset")
    if file then return true end
  end
  return false
end

local cpus = has_taskset() and allowed_cpus() or {}

--- How children are placed, for the report.
-- @treturn string
function harness.pinning()
  if #cpus == 0 then return "processes are not pinned (no taskset)" end
  if #cpus == 1 then return ("processes are pinned to the only CPU, %d"):format(cpus[1]) end
  return ("pairs of processes are pinned to CPU %d and %d, unless a line says one CPU")
    :format(cpus[1], cpus[2])
end

local Child = { __name = "bench.child" }
Child.__index = Child

--- Starts a program whose standard output we read.
-- @tparam table command the program and its arguments; `cpu`: 1 or 2, the one it is pinned to
-- @treturn child to be closed
function harness.start(command)
  local line = { stdin = "pipe", stdout = "pipe", env = { P2PD_LOG = "error" } }
  local cpu = cpus[math.min(command.cpu or 0, #cpus)]
  if cpu then table.move({ "taskset", "-c", tostring(cpu) }, 1, 3, 1, line) end
  table.move(command, 1, #command, #line + 1, line)
  local process = assert(core.process.spawn(line))
  process:stdout():settimeout(RESULT_S)
  return setmetatable({ process = process, name = table.concat(command, " ") }, Child)
end

--- Runs a file of this folder's peers/ in our own interpreter; see @{start}.
function harness.peer(cpu, name, ...)
  return harness.start { cpu = cpu, arg[-1], ("spec/bench/peers/%s.lua"):format(name), ... }
end

--- The next line that it prints.
-- @raise when it ends without one
function Child:line()
  local line, reason = self.process:stdout():read "l"
  if line then return line end
  error(("%s: %s"):format(self.name, reason or "ended without a result"), 0)
end

--- The numbers of the next line.
-- @treturn number...
function Child:numbers()
  local numbers, line = {}, self:line()
  for word in line:gmatch "%S+" do
    numbers[#numbers + 1] = tonumber(word) or error(("%s said: %s"):format(self.name, line), 0)
  end
  return table.unpack(numbers)
end

function Child:write(...)
  return assert(self.process:stdin():write(...))
end

function Child:pid()
  return self.process:pid()
end

--- Waits for its end.
function Child:finish()
  local how, status = self.process:wait(RESULT_S)
  if how ~= "exit" or status ~= 0 then
    error(("%s: %s %s"):format(self.name, how, status), 0)
  end
end

function Child:__close()
  self.process:close()
end

--- Compiles a C file of this folder.
-- @tparam string name
-- @treturn string the program's path
function harness.compile(name)
  local program = "build/bench/" .. name
  local compiler = os.getenv "CC" or "cc"
  local command = ("mkdir -p build/bench && %s -O2 -D_GNU_SOURCE -o %s spec/bench/%s.c")
    :format(compiler, program, name)
  local child <close> = harness.start { "sh", "-c", command }
  child:finish()
  return program
end

-- -- the report

local COLUMNS = { "what", "ours", "theirs", "ratio", "goal", "" }

local function cells(row)
  local ratio = row.ratio and ("%.2f"):format(row.ratio) or ""
  local verdict = row.met == nil and "" or row.met and "met" or "MISSED"
  return { row.what, row.ours or "", row.theirs or "", ratio, row.goal or "", verdict }
end

local function widths(rows)
  local result = {}
  for _, row in ipairs(rows) do
    for i, cell in ipairs(row) do result[i] = math.max(result[i] or 0, utf8.len(cell)) end
  end
  return result
end

--- Prints rows as a table.
-- @tparam {table,...} rows `what`, and as far as they apply `ours`, `theirs` (texts), `ratio`, `goal` (text),
--  `met`
function harness.print(rows)
  local lines = { COLUMNS }
  for i, row in ipairs(rows) do lines[i + 1] = cells(row) end
  local width = widths(lines)
  for _, line in ipairs(lines) do
    for i, cell in ipairs(line) do
      line[i] = cell .. (" "):rep(width[i] - utf8.len(cell))
    end
    print((table.concat(line, "  "):gsub("%s+$", "")))
  end
end

return harness
