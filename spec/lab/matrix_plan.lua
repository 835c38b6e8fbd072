--- The matrix: which NATs meet which, under which circumstances, and what is to be expected of each cell.
local nat = require "p2pd.nat"
local oracle = require "spec.oracle"

local plan = {}

local CONES = { "full cone", "address-restricted", "port-restricted" }
local DELTAS = { { "equal" }, { "preserving" }, { "independent", 1 }, { "dependent", 1 }, { "random" } }
local FREE = { { "independent", 1 }, { "random" } } -- what a mapping for each destination leaves room for

local function new_kind(type, delta, value)
  local name = type == "open" and type or ("%s/%s%s"):format(type, delta, value and " " .. value or "")
  local number = type == "open" and nat.OPEN or nat.TYPES[type]
  return { name = name, nat = { type = number, delta = nat.DELTAS[delta], value = value or 0 },
    given = type ~= "open" and { type = type, delta = delta, value = value } or nil }
end

--- Every kind of NAT; `given` is what a lab takes.
plan.KINDS = { new_kind("open", "not applicable") }
for _, type in ipairs(CONES) do
  for _, delta in ipairs(DELTAS) do table.insert(plan.KINDS, new_kind(type, table.unpack(delta))) end
end
for _, delta in ipairs(FREE) do table.insert(plan.KINDS, new_kind("symmetric", table.unpack(delta))) end

plan.UNSOLICITED = { "drop/drop", "rst/rst", "drop/rst", "rst/drop" }
plan.LATENCIES = { 2, 20, 100 } -- ms between the two hosts, one way
plan.SKEWS = { 0, 50, -50, 500, -500 } -- ms by which the dialer's clock is wrong

--- "surely", "by luck" (a birthday attack) or "never".
function plan.expectation(a, b)
  local surely, by_luck = oracle.feasible(a.nat, b.nat)
  return surely and "surely" or by_luck and "by luck" or "never"
end

--- Cells of one block: every ordered pair of kinds.
-- @tparam table block unsolicited, latency, skew
-- @tparam[opt] string filter a Lua pattern for names "A | B"
function plan.cells(block, filter)
  local cells = {}
  for i, a in ipairs(plan.KINDS) do
    for j, b in ipairs(plan.KINDS) do
      local name = a.name .. " | " .. b.name
      if not filter or name:find(filter) then
        cells[#cells + 1] = {
          id = ("%s | %s | %d ms | skew %d ms"):format(name, block.unsolicited, block.latency, block.skew),
          a = a, b = b, i = i, j = j, block = block, expected = plan.expectation(a, b),
        }
      end
    end
  end
  return cells
end

--- Whether a cell's results are what was to be expected.
-- @tparam string expected see @{expectation}
-- @tparam table result tries, ok, seconds (list), reasons (list)
-- @treturn boolean
function plan.is_right(expected, result)
  if expected == "surely" then return result.ok == result.tries end
  if expected == "by luck" then return result.ok >= math.max(1, 0.9 * result.tries // 1) end
  for i, reason in ipairs(result.reasons) do
    if not reason:find "not predictable" or result.seconds[i] > 1 then return false end
  end
  return result.ok == 0
end

return plan
