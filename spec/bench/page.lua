--- The page in Chromium: how long until it is painted first, and until it shows the node; its size.
local browser = require "spec.browser"
local harness = require "spec.bench.harness"
local helper = require "spec.helper"
local page = require "p2pd.http.page"
local servers = require "p2pd.lab.servers"

local BROWSERS, TURNS = 3, 10
local SIZE_MAX, PAINT_MAX = 150000, 300 -- bytes, milliseconds

local function start_serve(settings)
  local child = harness.start { os.getenv "P2PD_EXE" or "./p2pd", "serve", "--interface", "lo", "--settings",
    settings, "--http", "127.0.0.1:0" }
  local url = child:line()
  child:line()
  child:line()
  return child, url
end

-- Milliseconds from the request to the first paint, and to the node's own data.
local function open_once(one, url)
  one:open "about:blank"
  one:open(url)
  one:wait_text("#live", "Live")
  return table.unpack(one:wait [[
    const paint = performance.getEntriesByName("first-contentful-paint")[0];
    const node = performance.getEntriesByType("resource").find((one) => one.name.endsWith("/v1/node"));
    return paint && node && [paint.startTime, node.responseEnd];
  ]])
end

local function measure(url)
  local found = { paints = {}, cold = {}, nodes = {} }
  for _ = 1, BROWSERS do
    local one <close> = browser.start(helper.scratch())
    for turn = 0, TURNS do
      local paint, node = open_once(one, url)
      table.insert(turn == 0 and found.cold or found.paints, paint)
      if turn > 0 then table.insert(found.nodes, node) end
    end
  end
  return found
end

local function size_of_all()
  local sum = 0
  for name in pairs(page.FILES) do sum = sum + #page.text(name) end
  return sum
end

return function()
  local size = size_of_all()
  local rows = { { what = "the page's files, all together", ours = ("%.0f KB"):format(size / 1000),
    goal = "<= 150 KB", met = size <= SIZE_MAX } }
  if not browser.is_there() then return rows end
  local child, url = start_serve(servers.settings { brokers = { servers.mosquitto() } })
  local _ <close> = child
  local found = measure(url)
  local paint, worst = harness.median(found.paints), math.max(table.unpack(found.paints))
  rows[#rows + 1] = { what = "the page's first paint", ours = ("%.0f ms"):format(paint),
    theirs = ("worst %.0f, a new browser's %.0f ms"):format(worst, harness.median(found.cold)),
    goal = "<= 300 ms", met = paint <= PAINT_MAX }
  rows[#rows + 1] = { what = "the page, until it has the node's data",
    ours = ("%.0f ms"):format(harness.median(found.nodes)) }
  servers.close_all()
  helper.close_all()
  return rows
end
