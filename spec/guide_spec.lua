-- Every example of the guide and of the README runs: spec/guide.lua tells how they are read.
local guide = require "spec.guide"
local helper = require "spec.helper"
local lfs = require "lfs"
local task = helper.task

local SECONDS = 120

local function pages()
  local list = { "README.md" }
  for name in lfs.dir "docs/guide" do
    local is_page = name:find "%.md$" and name ~= "repl.md" -- spec/repl_guide_spec.lua has that
    if is_page then list[#list + 1] = "docs/guide/" .. name end
  end
  table.sort(list)
  return list
end

describe("the guide", function()
  local path, broker, stun

  setup(function()
    broker, stun = helper.mosquitto {}, helper.coturn {}
    path = helper.settings { brokers = { broker }, stuns = { stun } }
  end)

  teardown(function()
    helper.close_all()
    broker, stun = nil, nil
  end)

  local function with_bob(fn)
    return task(function()
      local bob <close> = helper.p2pd { "node", "--echo", "--settings", path, "--interface=lo" }
      bob:stdout():settimeout(10)
      local world <close> = guide.new(path, assert(bob:stdout():read "l"):match "^address: (.*)$")
      fn(world)
    end, SECONDS)
  end

  for _, page in ipairs(pages()) do
    it("has examples that run: " .. page, with_bob(function(world)
      assert.is_true(world:page(page) > 0)
    end))
  end

  it("names as symptoms what p2pd says", function()
    local sources = {}
    for file in io.popen "find lua scripts -name '*.lua'":lines() do
      sources[#sources + 1] = helper.read(file)
    end
    sources = table.concat(sources)
    local count = 0
    for row in helper.read "docs/guide/troubleshooting.md":gmatch "\n| (`[^\n]-) |" do
      local said = row:match "^`([^`]+)`"
      assert.is_truthy(sources:find(said, 1, true), "nothing says " .. said)
      count = count + 1
    end
    assert.is_true(count >= 8)
  end)

  it("is not said to be right when it is wrong", with_bob(function(world)
    assert.has_error(function() world:run("print 'one'\n", "two\n") end)
    assert.has_error(function() world:run "error 'no'\n" end)
    assert.has_error(function() world:run "return { mqtt = 1 }\n" end)
    assert.has_error(function() world:type "$ echo one\ntwo\n" end)
    assert.has_error(function() world:type "$ exit 3\n" end)
    world:run("print(12, 'one two')\n", "34 ... two\n")
  end))
end)
