--- Makes the picture of the README, docs/terminal.svg: what two terminals really show when files are sent by
-- a code, recorded in the lab, each side behind a NAT; with a code that is always the same, so that the
-- picture changes only when p2pd says something else. Where no lab can be had it stays as it is.
--
--   lua5.4 docs/terminal.lua >docs/terminal.svg
local lab = require "p2pd.lab"
local p2pd = require "p2pd"
local scratch = require "p2pd.lab.scratch"

local WAIT = 20                              -- seconds
local CHARACTER, LINE, SIZE = 7.6, 18, 12.5  -- pixels
local COLUMNS, MARGIN, BAR, GAP = 84, 14, 28, 14
local CODE = "4-amber-canoe-violin"
local FILES = { ["boats.jpg"] = 3172804, ["harbour.jpg"] = 2790211, ["pier.jpg"] = 4011976 }

local WORLD = {
  hosts = {
    home = { nats = { { type = "port-restricted" } }, latency = 0.01 },
    office = { nats = { { type = "symmetric", delta = "independent", value = 1 } }, latency = 0.01 },
  },
  servers = { brokers = 1, stuns = 2, ntps = 1 },
}

-- -- recording

local function make_photos()
  local folder = scratch.folder()
  assert(os.execute(("mkdir '%s/photos'"):format(folder)))
  for name, size in pairs(FILES) do
    scratch.write(folder .. "/photos/" .. name, (name:rep(size // #name + 1)):sub(1, size))
  end
  return folder
end

local function start(l, host, folder, ...)
  local child = assert(l:p2pd(host, { cwd = folder, stderr = "stdout", ... }))
  child:stdout():settimeout(WAIT)
  local typed = { prompt = host, text = table.concat({ "p2pd", ... }, " ") }
  return { host = host, child = child, lines = { typed } }
end

-- Reads what it says, up to a match or its end.
local function record(terminal, pattern)
  for line in terminal.child:stdout():lines() do
    table.insert(terminal.lines, { text = line })
    local found = pattern and line:match(pattern)
    if found then return found end
  end
  assert(not pattern, "it never said " .. (pattern or ""))
  local how, status = terminal.child:wait(WAIT)
  assert(how == "exit" and status == 0, terminal.host .. " failed")
end

local function replace(terminals, text, by)
  for _, terminal in ipairs(terminals) do
    for _, line in ipairs(terminal.lines) do line.text = line.text:gsub(text:gsub("%p", "%%%0"), by) end
  end
end

local function record_all()
  local l <close> = assert(lab.open(WORLD))
  local sender = start(l, "home", make_photos(), "send", "photos")
  local code = record(sender, "p2pd recv (%S+)")
  local receiver = start(l, "office", scratch.folder(), "recv", code)
  record(receiver)
  record(sender)
  sender.child:close()
  receiver.child:close()
  replace({ sender, receiver }, code, CODE)
  return { sender, receiver }
end

-- -- drawing

local ENTITIES = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;" }

local function escape(text)
  return (text:gsub("[&<>]", ENTITIES))
end

local function draw_line(line, y)
  local prompt = line.prompt and ('<tspan class="p">%s$</tspan> '):format(line.prompt) or ""
  return ('<text x="%g" y="%g"%s xml:space="preserve">%s%s</text>')
    :format(MARGIN, y, line.prompt and "" or ' class="o"', prompt, escape(line.text))
end

local function draw_terminal(terminal, top, width)
  local height = BAR + #terminal.lines * LINE + MARGIN
  local out = { ('<rect y="%g" width="%g" height="%g" rx="7" class="w"/>'):format(top, width, height) }
  for i, colour in ipairs { "#ff5f57", "#febc2e", "#28c840" } do
    local x, y = MARGIN + (i - 1) * 17, top + BAR / 2
    out[#out + 1] = ('<circle cx="%g" cy="%g" r="5" fill="%s"/>'):format(x, y, colour)
  end
  for i, line in ipairs(terminal.lines) do out[#out + 1] = draw_line(line, top + BAR + i * LINE - 4) end
  return table.concat(out, "\n"), height
end

local HEAD = [[
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %g %g" width="%g" height="%g" role="img">
<title>Two terminals: p2pd send and p2pd recv</title>
<style>
text { font: %gpx ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; fill: #f0f3f6 }
.o { fill: #b6c0cb } .p { fill: #7ee787 } .w { fill: #161b22 }
</style>
]]

local function draw(terminals)
  local width, top, out = COLUMNS * CHARACTER + 2 * MARGIN, 0, {}
  for i, terminal in ipairs(terminals) do
    local height
    out[i], height = draw_terminal(terminal, top, width)
    top = top + height + GAP
  end
  top = top - GAP
  return HEAD:format(width, top, width, top, SIZE) .. table.concat(out, "\n") .. "\n</svg>\n"
end

if not lab.is_possible() then
  io.stderr:write "docs/terminal.svg stays as it is: there can be no lab here\n"
  os.exit(1)
end
io.write(draw(p2pd.run(record_all)))
scratch.remove_all()
