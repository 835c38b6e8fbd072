-- docs/guide/repl.md and the README: what follows `>` is typed, and what is shown is what the page shows.
local helper = require "spec.helper"
local loopback = require "spec.loopback"
local task = helper.task

local PAGES = { "docs/guide/repl.md", "README.md" }
local MARK = "-- next --"
local COMPLETE = "do local c = require 'p2pd.repl.completion' " ..
  "io.write(c.columns(select(2, c.complete(_G, %q)), 80)) end"

-- Inputs of a block, each with the output that the page shows.
local function parse(block)
  local list = {}
  for line in block:gmatch "([^\n]*)\n" do
    local first, more = line:match "^> (.*)$", line:match "^>> (.*)$"
    local last = list[#list]
    if first then
      list[#list + 1] = { input = first, shown = "" }
    elseif more then
      last.input = last.input .. "\n" .. more
    else
      last.shown = last.shown .. line .. "\n"
    end
  end
  return list
end

-- `...` stands for anything.
local function pattern_of(shown)
  local pattern = shown:gsub("{%.%.%.}", "\1"):gsub("%p", "%%%0"):gsub("%%%.%%%.%%%.\n", ".*")
  return "^" .. pattern:gsub("%%%.%%%.%%%.", ".*"):gsub("\1", "{%%.%%.%%.}") .. "$"
end

local function typed(input)
  local completed = input:match "^(.*)<TAB>$"
  if completed then return COMPLETE:format(completed) end
  return (input:gsub("p2pd%.node *{", "p2pd.node { interfaces = { 'lo' }, ")
    :gsub("p2pd%.node%(%)", "p2pd.node { interfaces = { 'lo' } }"))
end

local function outputs(text)
  local list = {}
  for output in text:gmatch("(.-)" .. MARK:gsub("%p", "%%%0") .. "\n") do list[#list + 1] = output end
  return list
end

describe("the prompt of the pages", function()
  local world = loopback.new(setup, teardown, { stun = true })
  local env

  setup(function() env = { P2PD_SETTINGS = world.path, XDG_DATA_HOME = helper.scratch() } end)

  local n = 0
  local function check(page, block)
    n = n + 1
    local list = parse(block)
    it(("%s, block %d: %s"):format(page, n, list[1].input), task(function()
      local child <close> = helper.p2pd { "-i", env = env }
      local inputs = {}
      for i, one in ipairs(list) do inputs[i] = ("%s\nprint %q\n"):format(typed(one.input), MARK) end
      child:stdin():write(table.concat(inputs))
      child:stdin():close()
      local shown = outputs(child:stdout():read "a")
      assert.equal("", child:stderr():read "a")
      for i, one in ipairs(list) do
        assert.matches(pattern_of(one.shown), shown[i] or "(nothing)", one.input)
      end
    end))
  end

  for _, page in ipairs(PAGES) do
    for block in helper.read(page):gmatch "```p2pd\n(.-)```" do check(page, block) end
  end

  it("has examples", function() assert.is_true(n >= 9) end)
end)
