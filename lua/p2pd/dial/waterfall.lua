--- A dial's report drawn for people: a line for each step, with a bar that shows when it ran, in 80 columns.
-- Pure.
-- @module p2pd.dial.waterfall
local text = require "p2pd.text"

local waterfall = {}

local WIDTH = 80
local WHAT, WHERE, CELLS = 9, 35, 16 -- columns; those of a bar
local ROW = "%-" .. WHAT .. "s%-" .. WHERE .. "s|%s|%9s  %s"
local INDENT = (" "):rep(WHAT)
local SHORT = WIDTH - WHAT - WHERE - CELLS - 13 -- characters of an outcome that fits its line
local WHATS = { signal = "message" }
local MARKS = { ok = "#", failed = "x", left = ".", ["not run"] = " " }

local function milliseconds(seconds)
  return ("%.0f ms"):format(seconds * 1000)
end

local function outcome_of(step)
  if step.ok then return "ok" end
  if step.is_skipped then return "not run" end
  return step.code == "ECANCELED" and "left" or "failed"
end

local function bar(step, total)
  local first = math.floor(math.max(0, step.began) / total * CELLS)
  local last = math.ceil((math.max(0, step.began) + step.seconds) / total * CELLS)
  first = math.min(first, CELLS - 1)
  last = math.min(math.max(last, first + 1), CELLS)
  return (" "):rep(first) .. MARKS[outcome_of(step)]:rep(last - first) .. (" "):rep(CELLS - last)
end

local function where_of(step)
  if step["local"] then return ("%s > %s"):format(step["local"], step.remote) end
  return (step.kind == "strategy" or step.kind == "attempt") and "" or step.name
end

local function what_of(step)
  if step.kind == "strategy" then return step.name end
  if step.kind == "attempt" then return " " .. step.name end
  return (step.kind == "tls" and " " or "") .. (WHATS[step.kind] or step.kind)
end

-- What does not fit before the bar has lines of its own.
local function add_names(lines, what, where)
  if #what < WHAT and #where < WHERE then return what, where end
  local line = ("%-" .. WHAT .. "s%s"):format(what .. (#what < WHAT and "" or " "), where)
  if #line <= WIDTH then
    lines[#lines + 1] = line
  else
    lines[#lines + 1] = ("%-" .. WHAT .. "s%s"):format(what, where:match "^%S*")
    lines[#lines + 1] = INDENT .. where:match "^%S*%s*(.*)$"
  end
  return "", ""
end

-- Each reason is said once.
local function add_step(lines, step, total, said)
  local what, where = add_names(lines, what_of(step), where_of(step))
  local reason = step.reason and text.printable(step.reason) or ""
  local is_short = reason ~= "" and #reason <= SHORT
  lines[#lines + 1] = ROW:format(what, where, bar(step, total), milliseconds(step.seconds),
    is_short and reason or outcome_of(step))
  if reason == "" or is_short or said[reason] then return end
  said[reason] = true
  for _, line in ipairs(text.wrap(reason, WIDTH, INDENT)) do lines[#lines + 1] = line end
end

local function add_scale(lines, total)
  local last = milliseconds(total)
  local scale = ("0%s%s"):format((" "):rep(CELLS - 1 - #last), last)
  lines[#lines + 1] = (" "):rep(WHAT + WHERE + 1) .. scale
end

--- Draws a report.
-- @tparam p2pd.dial.report report of a dial that has ended
-- @treturn {string,...} lines of 80 columns at most
function waterfall.lines(report)
  local lines, said = {}, {}
  local total = math.max(report.seconds, 0.001)
  add_scale(lines, total)
  for _, step in ipairs(report.steps) do add_step(lines, step, total, said) end
  if report.count > #report.steps then
    lines[#lines + 1] = ("and %d more"):format(report.count - #report.steps)
  end
  return lines
end

return waterfall
