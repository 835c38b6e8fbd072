-- A child in the foreground of a terminal; script(1) has the terminal's other end.
local core = require "p2pd.core"
local helper = require "spec.helper"
local task = helper.task

local EXE = os.getenv "P2PD_EXE" or "./p2pd"
local PATIENCE = 10
local INTERRUPT = "\3"

describe("p2pd.core.process, foreground", function()
  -- Runs a chunk that has `run(script)`, for a shell script in the foreground.
  local function start(code)
    local path = helper.write(helper.scratch() .. "/main.lua", [[
      local core = require "p2pd.core"
      local function run(script)
        local child <close> = assert(core.process.spawn { "sh", "-c", script,
          stdin = "inherit", foreground = true })
        return child:wait()
      end
    ]] .. code)
    local terminal = assert(core.process.spawn { "script", "-qfec", EXE .. " " .. path, "/dev/null",
      stdin = "pipe", stdout = "pipe", env = { TERM = "xterm" } })
    terminal:stdout():settimeout(PATIENCE)
    return terminal
  end

  local function expect(terminal, text)
    local seen = ""
    while not seen:find(text, 1, true) do
      seen = seen .. assert(terminal:stdout():recv(), ("%q, and not %q"):format(seen, text))
    end
  end

  it("reads what is typed, and gives the terminal back", task(function()
    local terminal <close> = start [[
      run "read line; echo child has $line"
      print("parent has " .. io.read())]]
    terminal:stdin():write "one\n"
    expect(terminal, "child has one")
    terminal:stdin():write "two\n"
    expect(terminal, "parent has two")
    assert.same({ "exit", 0 }, { terminal:wait(PATIENCE) })
  end))

  it("alone gets Ctrl-C", task(function()
    local terminal <close> = start [[print("ended by", run "echo ready; exec sleep 1000")]]
    expect(terminal, "ready")
    terminal:stdin():write(INTERRUPT)
    expect(terminal, "ended by\tsignal\t2")
    assert.same({ "exit", 0 }, { terminal:wait(PATIENCE) })
  end))

  it("changes nothing where there is no terminal", task(function()
    local child <close> = assert(core.process.spawn { "sh", "-c", "exit 3", foreground = true })
    assert.same({ "exit", 3 }, { child:wait(PATIENCE) })
  end))
end)
