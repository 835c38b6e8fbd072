local cli = require "p2pd.cli"
local helper = require "spec.helper"
local version = require "p2pd.version"

local INTERPRETER = "lua5.4"

local function output_of(command)
  local pipe <close> = assert(io.popen(command))
  return pipe:read "a"
end

local function generate(name)
  return output_of(("%s docs/%s.lua"):format(INTERPRETER, name))
end

-- The options that `p2pd COMMAND --help` shows.
local function options_of(command)
  local names = {}
  for name in cli.parser_of(command):get_help():gmatch "[%s%[|](%-%-?%a[%w-]*)" do
    names[#names + 1] = name
  end
  return names
end

describe("the manual", function()
  teardown(helper.close_all)

  local page
  setup(function() page = generate "man" end)

  it("names the version", function() assert.matches("^%.TH P2PD 1 [^\n]*p2pd " .. version, page) end)

  it("has each command with its options", function()
    for _, command in ipairs(cli.commands()) do
      local text = page:match(('%%.SS "p2pd %s"\n(.-)\n%%.S[SH] '):format(command.name))
      for _, option in ipairs(options_of(command.name)) do
        assert.matches(option:gsub("%-", "\\-"), text, 1, true)
      end
    end
  end)

  it("has what the program's own help has", function()
    local help = output_of((os.getenv "P2PD_EXE" or "./p2pd") .. " --help")
    for name, text in help:gmatch "\n  (%u[%u%d_]+)%s+([^\n]*)" do
      assert.matches("\\fB" .. name .. "\\fR\n" .. text:sub(1, 6), page, 1, true)
    end
    for option in help:gmatch "\n  (%-%-?%a+)" do
      assert.matches("\\fB" .. option:gsub("%-", "\\-") .. "\\fR", page, 1, true)
    end
  end)

  it("is what troff understands", function()
    if not os.execute "command -v groff >/dev/null" then return pending "there is no groff" end
    local path = helper.write(helper.scratch() .. "/p2pd.1", page)
    assert.equal("", output_of(("LD_PRELOAD= groff -ww -man -Tutf8 '%s' 2>&1 >/dev/null"):format(path)))
  end)
end)

describe("the completion", function()
  teardown(helper.close_all)

  local SCRIPT = [[. '%s'; cd '%s'; COMP_WORDS=(p2pd %s); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
compopt() { :; }; _p2pd; printf '%%s ' "${COMPREPLY[@]}"]]
  local path, folder

  setup(function()
    folder = helper.scratch()
    path = helper.write(folder .. "/p2pd.bash", generate "completion")
    helper.write(folder .. "/nodes.lua", "")
  end)

  -- What is offered for the last of the words; '' is one that has just begun.
  local function complete(words)
    local script = helper.write(folder .. "/script", SCRIPT:format(path, folder, words))
    return output_of("LD_PRELOAD= bash " .. script .. " 2>&1"):gsub("%s+$", "")
  end

  it("offers commands and scripts", function()
    assert.equal("nat node nodes.lua", complete "n")
    assert.equal("connect", complete "help conn")
    assert.equal("--help", complete "--h")
  end)

  it("offers a command's options", function()
    assert.equal("--json", complete "nat --j")
    assert.equal("--policy", complete "-W connect --json --po")
  end)

  it("offers what an option takes", function()
    assert.equal("race sequence", complete "connect --policy ''")
    assert.equal("lo", complete "node --interface lo")
    assert.equal("direct,punch", complete "connect --strategies direct,pu")
    assert.equal("", complete "node --port ''")
  end)

  it("leaves a command of the user's alone", function() assert.equal("", complete "lab --a open -- l") end)

  it("knows each option that --help shows", function()
    for _, command in ipairs(cli.commands()) do
      local offered = " " .. complete(command.name .. " -") .. " "
      for _, option in ipairs(options_of(command.name)) do
        assert.matches(" " .. option .. " ", offered, 1, true)
      end
    end
  end)
end)
