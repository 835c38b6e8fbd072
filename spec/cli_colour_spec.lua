local colour = require "p2pd.cli.colour"
local core = require "p2pd.core"
local helper = require "spec.helper"
local task = helper.task

-- What a terminal gets, and what a pipe does.
local SAY = [[io.stdout:write(require("p2pd.cli.colour").paint("word", "red", 1))]]

local function on_terminal(env)
  local command = ("%s %s -e '%s'"):format(env, os.getenv "P2PD_EXE", SAY)
  local child <close> = assert(core.process.spawn { stdin = "null", stdout = "pipe",
    "script", "-qfec", command, "/dev/null" })
  return child:stdout():read "a"
end

describe("p2pd.cli.colour", function()
  it("paints on a terminal that has colours", task(function()
    assert.equal("\27[31mword\27[0m", on_terminal "TERM=xterm NO_COLOR=")
  end))

  it("paints nothing where NO_COLOR is set, on a dumb terminal, and elsewhere", task(function()
    assert.equal("word", on_terminal "TERM=xterm NO_COLOR=1")
    assert.equal("word", on_terminal "TERM=dumb NO_COLOR=")
    local child <close> = helper.p2pd("-e", SAY)
    assert.equal("word", child:stdout():read "a")
    assert.is_false(colour.has(99))
  end))
end)
