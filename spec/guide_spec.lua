-- Every example of the guide and of the README runs: spec/guide.lua tells how they are read.
local core = require "p2pd.core"
local guide = require "spec.guide"
local helper = require "spec.helper"
local lab = require "p2pd.lab"
local lfs = require "lfs"
local loopback = require "spec.loopback"
local task = helper.task

local SECONDS = 120

local function pages()
  local list = { "README.md", "docs/lab.md", "docs/strategies.md" }
  for name in lfs.dir "docs/guide" do
    local is_page = name:find "%.md$" and name ~= "repl.md" -- spec/repl_guide_spec.lua has that
    if is_page then list[#list + 1] = "docs/guide/" .. name end
  end
  table.sort(list)
  return list
end

describe("the guide", function()
  local servers = loopback.new(setup, teardown, { stun = true })

  local function with_bob(fn)
    return task(function()
      local bob <close> = helper.p2pd { "node", "--echo", "--settings", servers.path, "--interface=lo" }
      bob:stdout():settimeout(10)
      local world <close> = guide.new(servers.path, assert(bob:stdout():read "l"):match "^address: (.*)$")
      fn(world)
    end, SECONDS)
  end

  local can, why = lab.is_possible()

  for _, page in ipairs(pages()) do
    local name = "has examples that run: " .. page
    if page == "docs/lab.md" and not can then
      pending(name .. ": " .. why)
    else
      it(name, with_bob(function(world) assert.is_true(world:page(page) > 0) end))
    end
  end

  -- What a command of a page says in the lab, to a peer who echoes.
  local function said_in_lab(l, command)
    local bob <close> = assert(l:p2pd("office", { "node", "--echo" }))
    bob:stdout():settimeout(20)
    local id = bob:stdout():read "l":match "%w+$"
    local folder = helper.scratch()
    os.execute(("ln -s '%s' '%s/p2pd'"):format(os.getenv "P2PD_EXE", folder))
    local out = l:run("home", { "bash", "-c", guide.with_id(command, id) .. " 2>&1", env = {
      PATH = folder .. ":" .. os.getenv "PATH" } }, 40)
    return assert(out).out
  end

  if can then
    it("shows what p2pd says behind NATs", task(function()
      local line = { nats = { { type = "port-restricted" } }, latency = 0.02 }
      local l <close> = assert(lab.open { hosts = { home = line, office = line },
        servers = { brokers = 1, stuns = 3, ntps = 1 } })
      for _, one in ipairs(guide.lab_commands "README.md") do
        local said = said_in_lab(l, one.command)
        local missing = guide.find_missing(one.lines, said)
        assert(not missing, ("%s\nwas to say: %s\nsaid: %s"):format(one.command, missing, said))
      end
    end, SECONDS))
  else
    pending("shows what p2pd says behind NATs: " .. why)
  end

  it("has the picture that docs/terminal.lua makes, again and again", task(function()
    if not can then return pending(why) end
    local child <close> = assert(core.process.spawn { "lua5.4", "docs/terminal.lua", stdout = "pipe" })
    child:stdout():settimeout(SECONDS)
    local made = child:stdout():read "a"
    assert.same({ "exit", 0 }, { child:wait(SECONDS) })
    assert.equal(helper.read "docs/terminal.svg", made)
  end, SECONDS))

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
    local page = helper.scratch() .. "/page.md"
    for _, block in ipairs { "```\n$ echo one\n```\n", "```sh\necho one\n```\n" } do
      helper.write(page, "# a page\n\n" .. block)
      assert.error_matches(function() world:page(page) end, "nothing runs a block")
    end
    helper.write(page, "# a page\n\n```console lab\n$ p2pd nat\nNAT: |## .| 12 ms\n```\n")
    local lines = guide.lab_commands(page)[1].lines
    assert.is_nil(guide.find_missing(lines, "first\nNAT: |####| 1.5 s\n"))
    assert.equal("NAT: |## .| 12 ms", guide.find_missing(lines, "NAT: 1.5 s\n"))
  end))
end)
