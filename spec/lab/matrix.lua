--- `make matrix`: every NAT dials every NAT by punching alone. What is done is kept in build/matrix.jsonl, so
-- that it goes on where it was interrupted; the table is in build/matrix.txt and build/matrix.html.
--
-- P2PD_TRIES (3), P2PD_UNSOLICITED, P2PD_LATENCIES, P2PD_SKEWS (lists, see spec/lab/matrix_plan.lua),
-- P2PD_CELLS (a Lua pattern for "DIALER | ANSWERER"), P2PD_MINUTES (stop after so many),
-- P2PD_TOLD=1 (nodes are told their NATs instead of finding out)
local core = require "p2pd.core"
local json = require "dkjson"
local lab = require "p2pd.lab"
local peers = require "spec.lab.peers"
local plan = require "spec.lab.matrix_plan"
local report = require "spec.lab.matrix_report"
local task = require "p2pd.task"

local FOLDER = "build"
local LOG = FOLDER .. "/matrix.jsonl"
local AT_ONCE = { [2] = 3, [20] = 4, [100] = 10 } -- dials, by latency
local STARTS_AT_ONCE = 4
local DIAL_S, CONTROL_S = 12, 1

local function list_of(variable, default)
  local text = os.getenv(variable)
  if not text then return default end
  local list = {}
  for word in text:gmatch "[^,%s]+" do list[#list + 1] = math.tointeger(tonumber(word)) or word end
  return list
end

local TRIES = math.tointeger(tonumber(os.getenv "P2PD_TRIES" or "3"))
local FILTER, MINUTES = os.getenv "P2PD_CELLS", tonumber(os.getenv "P2PD_MINUTES" or "100000")
local started = core.clock.monotonic()

local function is_time_up()
  return core.clock.monotonic() - started > MINUTES * 60
end

-- -- what is known already

local rows, done = {}, {}

local function add(row)
  if not done[row.id] then rows[#rows + 1] = row end
  done[row.id] = row
end

local function load_rows()
  local file <close> = io.open(LOG)
  for line in file and file:lines() or function() end do
    local row = json.decode(line)
    if row then add(row) end
  end
end

local function keep(row)
  local file <close> = assert(io.open(LOG, "a"))
  file:write(json.encode(row), "\n")
  add(row)
end

-- -- running

-- Runs fn for each of the items, so many at a time; `begin` says whether one may start now, and takes what it
-- needs.
local function each(items, at_once, begin, fn)
  local waiting, running = table.move(items, 1, #items, 1, {}), 0
  local ended = task.condition()
  local children <close> = task.group()
  local failure
  while (#waiting > 0 or running > 0) and not failure do
    for i = 1, #waiting do
      if running < at_once and begin(waiting[i]) then
        local item = table.remove(waiting, i)
        running = running + 1
        children:spawn(function()
          local ok, fault = xpcall(fn, debug.traceback, item)
          if not ok then failure = fault end
          running = running - 1
          ended:signal()
        end)
        break
      end
      if i == #waiting then ended:wait() break end
    end
    if #waiting == 0 and running > 0 then ended:wait() end
  end
  if failure then error(failure, 0) end
end

local function always() return true end

local function host_of(kind, unsolicited)
  if not kind.given then return {} end
  local given = { unsolicited = unsolicited }
  for key, value in pairs(kind.given) do given[key] = value end
  return { nats = { given } }
end

-- A lab in which the hosts a1, a2, ... dial the hosts b1, b2, ..., and their nodes.
local function open_lab(unsolicited)
  local first, second = unsolicited:match "^(%w+)/(%w+)$"
  local hosts = {}
  for i, kind in ipairs(plan.KINDS) do
    hosts["a" .. i], hosts["b" .. i] = host_of(kind, first), host_of(kind, second)
  end
  return assert(lab.open { hosts = hosts, servers = { brokers = 1, stuns = 1, ntps = 1 } })
end

local function start_nodes(l)
  local nodes, names = {}, {}
  for i in ipairs(plan.KINDS) do
    names[#names + 1] = { "a" .. i, plan.KINDS[i] }
    names[#names + 1] = { "b" .. i, plan.KINDS[i] }
  end
  each(names, STARTS_AT_ONCE, always, function(name)
    nodes[name[1]] = peers.start(l, name[1], { nats = os.getenv "P2PD_TOLD" and { name[2].nat } or nil })
  end)
  for _, node in pairs(nodes) do node:wait_for_time() end
  return setmetatable(nodes, { __close = function(self)
    for _, node in pairs(self) do node:close() end
  end })
end

local function set_latency(l, milliseconds)
  for i in ipairs(plan.KINDS) do
    for _, side in ipairs { "a", "b" } do
      assert(l:set_link(side .. i, { latency = milliseconds / 2000 }))
    end
  end
end

local function run_cell(nodes, cell)
  local a, b = nodes["a" .. cell.i], nodes["b" .. cell.j]
  local row = { id = cell.id, a = cell.a.name, b = cell.b.name, unsolicited = cell.block.unsolicited,
    latency = cell.block.latency, skew = cell.block.skew, expected = cell.expected,
    tries = 0, ok = 0, times = {}, seconds = {}, reasons = {} }
  while row.tries < TRIES do
    local result = a:dial(b, { timeout = DIAL_S })
    a:end_sessions()
    row.tries = row.tries + 1
    table.insert(row.seconds, result.seconds)
    if result.ok then
      row.ok = row.ok + 1
      table.insert(row.times, result.seconds)
    else
      table.insert(row.reasons, result.reason)
    end
  end
  keep(row)
end

local shown = 0

local function progress(title, count, of)
  local now = core.clock.monotonic()
  if now - shown < 10 and count < of then return end
  shown = now
  print(("%s: %d of %d cells, %.1f min"):format(title, count, of, (now - started) / 60))
end

local function run_block(l, nodes, block)
  local cells, title = {}, ("%s, %d ms, skew %d ms"):format(block.unsolicited, block.latency, block.skew)
  for _, cell in ipairs(plan.cells(block, FILTER)) do
    if not (done[cell.id] and done[cell.id].tries >= TRIES) then cells[#cells + 1] = cell end
  end
  if #cells == 0 then return end
  set_latency(l, block.latency)
  for i in ipairs(plan.KINDS) do nodes["a" .. i]:set_skew(block.skew / 1000) end
  local busy, count = {}, 0
  each(cells, AT_ONCE[block.latency] or 4,
    function(cell)
      if busy["a" .. cell.i] or busy["b" .. cell.j] then return false end
      busy["a" .. cell.i], busy["b" .. cell.j] = true, true
      return true
    end,
    function(cell)
      if not is_time_up() then run_cell(nodes, cell) end
      busy["a" .. cell.i], busy["b" .. cell.j] = nil, nil
      count = count + 1
      progress(title, count, #cells)
    end)
end

-- Without punching nobody behind a NAT is reached.
local function run_controls(nodes, unsolicited)
  local pairs_of_kinds = plan.cells({ unsolicited = unsolicited, latency = 0, skew = 0 }, FILTER)
  local failed = {}
  each(pairs_of_kinds, 12, always, function(cell)
    if not cell.b.given or is_time_up() then return end
    local result = nodes["a" .. cell.i]:dial(nodes["b" .. cell.j],
      { strategies = { "direct" }, timeout = CONTROL_S })
    if result.ok then failed[#failed + 1] = cell.id end
  end)
  print(("%s: %s"):format(unsolicited, #failed == 0 and "nobody is reached without punching"
    or "REACHED WITHOUT PUNCHING: " .. table.concat(failed, "; ")))
end

local function run_lab(unsolicited)
  if is_time_up() then return end
  local l <close> = open_lab(unsolicited)
  local nodes <close> = start_nodes(l)
  if not os.getenv "P2PD_NO_CONTROL" then run_controls(nodes, unsolicited) end
  for _, skew in ipairs(list_of("P2PD_SKEWS", plan.SKEWS)) do
    for _, latency in ipairs(list_of("P2PD_LATENCIES", plan.LATENCIES)) do
      run_block(l, nodes, { unsolicited = unsolicited, latency = latency, skew = skew })
    end
  end
end

local function run()
  local can, why = lab.is_possible()
  if not can then error("no lab: " .. why, 0) end
  load_rows()
  for _, unsolicited in ipairs(list_of("P2PD_UNSOLICITED", plan.UNSOLICITED)) do run_lab(unsolicited) end
  local sums, names = report.write(FOLDER, rows)
  local is_right = true
  for _, name in ipairs(names) do
    local sum = sums[name]
    is_right = is_right and sum.right == sum.cells
    print(("%-36s %d of %d cells right"):format(name, sum.right, sum.cells))
  end
  print("the table is in " .. FOLDER .. "/matrix.txt and " .. FOLDER .. "/matrix.html")
  return is_right
end

io.stdout:setvbuf "line"
os.exit(core.task.run(run), true)
