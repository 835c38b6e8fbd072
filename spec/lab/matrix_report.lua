--- The matrix's table, as text and HTML.
local plan = require "spec.lab.matrix_plan"

local report = {}

local ROW = "%-7s %-33s %-33s %-9s %6s %5s %5s/%-5s %9s %9s  %s\n"
local SUM = "%-36s %4d of %4d cells right, %5d of %5d tries connected, median %s ms, p95 %s ms\n"

local function percentile(values, share)
  if #values == 0 then return nil end
  local sorted = table.move(values, 1, #values, 1, {})
  table.sort(sorted)
  return sorted[math.max(1, math.ceil(share * #sorted))]
end

local function milliseconds(seconds)
  return seconds and ("%.0f"):format(seconds * 1000) or "-"
end

local function verdict(row)
  if not plan.is_right(row.expected, row) then return "WRONG" end
  return row.expected == "never" and "refused" or "ok"
end

-- Cells with their figures, and sums by block and by expectation.
local function digest(rows)
  local sums, names = {}, {}
  for _, row in ipairs(rows) do
    row.verdict = verdict(row)
    for _, name in ipairs {
      ("%s, %d ms, skew %d ms"):format(row.unsolicited, row.latency, row.skew), "expected " .. row.expected,
    } do
      local sum = sums[name]
      if not sum then
        sum = { cells = 0, right = 0, tries = 0, ok = 0, times = {} }
        sums[name], names[#names + 1] = sum, name
      end
      sum.cells, sum.tries, sum.ok = sum.cells + 1, sum.tries + row.tries, sum.ok + row.ok
      if row.verdict ~= "WRONG" then sum.right = sum.right + 1 end
      table.move(row.times, 1, #row.times, #sum.times + 1, sum.times)
    end
  end
  return sums, names
end

local function first_reason(row)
  local reason = row.reasons[1] or ""
  return reason:match "%((.*)%)$" or reason
end

local function write_text(path, rows, sums, names)
  local file <close> = assert(io.open(path, "w"))
  for _, name in ipairs(names) do
    local sum = sums[name]
    file:write(SUM:format(name, sum.right, sum.cells, sum.ok, sum.tries,
      milliseconds(percentile(sum.times, 0.5)), milliseconds(percentile(sum.times, 0.95))))
  end
  file:write("\n", ROW:format("", "dialer", "answerer", "unasked", "ms", "skew", "ok", "tries",
    "median ms", "p95 ms", "why not"))
  for _, row in ipairs(rows) do
    file:write(ROW:format(row.verdict, row.a, row.b, row.unsolicited, row.latency, row.skew, row.ok,
      row.tries, milliseconds(percentile(row.times, 0.5)), milliseconds(percentile(row.times, 0.95)),
      row.ok < row.tries and first_reason(row) or ""))
  end
end

local HEAD = [[<!DOCTYPE html><meta charset="utf-8"><title>The punching matrix</title>
<style>
body { font: 13px sans-serif; margin: 2em }
table { border-collapse: collapse; margin: 1em 0 2em }
td, th { border: 1px solid #ccc; padding: 2px 5px; text-align: right }
th { background: #eee; text-align: left }
.ok { background: #cfc } .refused { background: #eee; color: #777 } .WRONG { background: #f99 }
</style><h1>The punching matrix</h1>
<p>Rows dial, columns answer: successes of tries, and the median in ms. Grey: not predictable, and said so at
once.</p>
]]

local function escape(text)
  return (text:gsub("[&<>\"]", { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;" }))
end

local function write_grid(file, title, by_pair)
  file:write("<h2>", escape(title), "</h2><table><tr><th>")
  for _, kind in ipairs(plan.KINDS) do file:write("<th>", escape(kind.name)) end
  for _, a in ipairs(plan.KINDS) do
    file:write("\n<tr><th>", escape(a.name))
    for _, b in ipairs(plan.KINDS) do
      local row = by_pair[a.name .. "|" .. b.name]
      if row then
        file:write(('<td class="%s" title="%s">%d/%d<br>%s'):format(row.verdict, escape(first_reason(row)),
          row.ok, row.tries, milliseconds(percentile(row.times, 0.5))))
      else
        file:write "<td>"
      end
    end
  end
  file:write "</table>\n"
end

local function write_html(path, rows)
  local file <close> = assert(io.open(path, "w"))
  file:write(HEAD)
  local blocks, titles = {}, {}
  for _, row in ipairs(rows) do
    local title = ("unsolicited SYNs: %s; %d ms one way; clock wrong by %d ms"):format(row.unsolicited,
      row.latency, row.skew)
    if not blocks[title] then blocks[title], titles[#titles + 1] = {}, title end
    blocks[title][row.a .. "|" .. row.b] = row
  end
  for _, title in ipairs(titles) do write_grid(file, title, blocks[title]) end
end

--- Writes both.
-- @tparam string folder
-- @tparam {table,...} rows a, b, unsolicited, latency, skew, expected, tries, ok, times, seconds, reasons
function report.write(folder, rows)
  local sums, names = digest(rows)
  write_text(folder .. "/matrix.txt", rows, sums, names)
  write_html(folder .. "/matrix.html", rows)
  return sums, names
end

return report
