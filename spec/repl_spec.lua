local core = require "p2pd.core"
local helper = require "spec.helper"
local lfs = require "lfs"
local task = helper.task

local EXE = os.getenv "P2PD_EXE" or "./p2pd"
local PATIENCE = 10

-- Lines through a pipe: all of stdout, all of stderr, and the exit status.
local function feed(...)
  local child <close> = helper.p2pd { "-i", env = { XDG_DATA_HOME = helper.scratch() } }
  child:stdin():write(table.concat({ ... }, "\n"), "\n")
  child:stdin():close()
  local out, err = child:stdout():read "a", child:stderr():read "a"
  return out, err, select(2, child:wait())
end

local function shows(expected, ...)
  local out, err = feed(...)
  assert.same({ expected, "" }, { out, err })
end

-- -- a session on a terminal: script(1) has the terminal's other end ------------------------------------

local session = {}
session.__index = session

local CTRL_C, CTRL_D, UP, TAB, ESCAPE = "\3", "\4", "\27[A", "\t", "\27"
local CTRL_A, CTRL_G, CTRL_R, BACKSPACE = "\1", "\7", "\18", "\127"
local PASTE = "\27[200~%s\27[201~"

local function start(folder, env)
  local self = setmetatable({ folder = folder, seen = "" }, session)
  self.child = assert(core.process.spawn {
    -- A shell without a trap ends with the Ctrl-C that it shares with its child.
    "script", "-qfec", "trap : INT; stty columns 80; " .. EXE .. "; echo status $?; stty -a", "/dev/null",
    stdin = "pipe", stdout = "pipe",
    env = { XDG_DATA_HOME = self.folder, HOME = self.folder, TERM = env and env.TERM or "xterm",
      NO_COLOR = env and env.NO_COLOR or "" },
  })
  self.child:stdout():settimeout(PATIENCE)
  return self:expect "\n[^\n]*> $"
end

function session:type(text)
  self.seen = ""
  self.child:stdin():write(text)
  return self
end

-- Reads until the pattern is there; escape sequences are left out.
function session:expect(pattern)
  local text
  repeat
    text = self.seen:gsub("\27%[[%d;?]*%a", ""):gsub("\r", "")
    if text:find(pattern) then return self, text end
    local data = self.child:stdout():recv()
    self.seen = self.seen .. (data or "")
  until not data
  error(("%q is not in:\n%s"):format(pattern, text), 2)
end

function session:close()
  self.child:close()
end
session.__close = session.close

-- A session for fn, ended by Ctrl-D if fn does not end it.
local function on_terminal(fn, folder, env)
  local s <close> = start(folder or helper.scratch(), env)
  fn(s)
  if not s.seen:find "status %d" then
    s:type(CTRL_C):expect "> $"
    s:type(CTRL_D)
  end
  s:expect "\nstatus %d+\n.* icanon .* echo "
  s.child:wait()
end

local function terminal(fn, env)
  return task(function() on_terminal(fn, nil, env) end)
end

local SPAWN = "background = require 'p2pd.core'.task.spawn(function() %s end) "
local CLOSER = "local x <close> = setmetatable({}, { __close = function() print 'closed' end }) "
local SLEEP = "require 'p2pd.core'.task.sleep(%s) "

describe("p2pd.repl", function()
  teardown(helper.close_all)

  describe("without a terminal", function()
    it("shows the values of expressions", task(function() shows("2\ttwo\n", "1 + 1, 'two'") end))
    it("shows them after = too", task(function() shows("2\n", "=1 + 1") end))
    it("shows nothing for a call without values", task(function() shows("hi\n", "print 'hi'") end))
    it("shows a single nil", task(function() shows("nil\n", "nil") end))
    it("shows trailing nils", task(function() shows("1\tnil\tnil\n", "1, nil, nil") end))
    it("keeps globals from line to line", task(function() shows("5\n", "x = 5", "x") end))
    it("keeps locals that start an input", task(function() shows("5\n", "local x <const> = 5", "x") end))
    it("keeps each local of a list", task(function() shows("1\t2\n", "local a, b = 1, 2", "a, b") end))
    it("keeps local functions", task(function()
      shows("4\n", "local function f(n) return n * 2 end", "f(2)")
    end))
    it("closes locals of a block at its end", task(function()
      shows("closed\nnext\n", "do " .. CLOSER .. " end", "print 'next'")
    end))
    it("goes on until statements are complete", task(function()
      shows("1\n2\n", "for i = 1, 2 do", "print(i)", "end")
    end))
    it("goes on until an expression is complete", task(function() shows("3\n", "1 +", "2") end))
    it("goes on until a call is complete", task(function() shows("3\n", "select('#', 1,", "2, 3)") end))
    it("goes on until a long string is complete", task(function() shows("a\nb\n", "[[a", "b]]") end))
    it("keeps the first value in _", task(function() shows("1\t2\n1\n", "1, 2", "_") end))
    it("keeps _ when there is none", task(function() shows("1\n1\n", "1", "x = 2", "_") end))
    it("waits", task(function() shows("1\n", SLEEP:format "0.001" .. "return 1") end))
    it("lets tasks run behind the prompt", task(function()
      shows("first\nbehind\n", SPAWN:format(SLEEP:format "0" .. "print 'behind'"), "print 'first'",
        SLEEP:format "0.01")
    end))
    it("cancels them at the end of input", task(function()
      shows("closed\n", SPAWN:format(CLOSER .. SLEEP:format "100"), SLEEP:format "0")
    end))
    it("ends with status 0", task(function() assert.equal(0, select(3, feed "x =")) end))

    it("lives on after an error", task(function()
      local out, err, status = feed("error 'no'", "print 'alive'")
      assert.same({ "alive\n", 0 }, { out, status })
      assert.equal("stdin:1: no\nstack traceback:\n\t[C]: in function 'error'\n\tstdin:1: in main chunk\n",
        err)
    end))
    it("lives on after an error object", task(function()
      local out, err = feed("error(setmetatable({}, { __tostring = function() return 'obj' end }))", "1")
      assert.equal("1\n", out)
      assert.matches("^obj\n", err)
    end))
    it("lives on after a syntax error", task(function()
      local out, err = feed("x y", "1")
      assert.same({ "1\n", "stdin:1: syntax error near 'y'\n" }, { out, err })
    end))
    it("says so when the input ends in a chunk", task(function()
      local _, err = feed "for i = 1, 2 do"
      assert.matches("^stdin:1: .* near <eof>\n$", err)
    end))
    it("lives on after a value that cannot be shown", task(function()
      local out, err = feed("print = error", "1", "print = io.write", "1")
      assert.equal("1", out)
      assert.matches("^error calling 'print'", err)
    end))
    it("lives on when an object's text fails", task(function()
      shows("(its __tostring failed)\n1\n", "setmetatable({}, { __tostring = error })", "1")
    end))
    it("shows tables, with their keys sorted", task(function()
      shows("{ 1, a = {}, b = \"x\" }\n", "{ 1, b = 'x', a = {} }")
    end))
    it("keeps the last value but one in __", task(function() shows("1\n2\n1\n", "1", "2", "__") end))
    it("has help", task(function()
      local out, err = feed "help(p2pd.sleep)"
      assert.matches("^task%.sleep%(seconds%)\n  Waits%.\n", out)
      assert.equal("", err)
    end))
    it("has help on what is written in C", task(function()
      local out, err = feed("t = p2pd.spawn(function() end)", "help(t.join)", "help(t)",
        "help 'editline:start'")
      assert.matches("^task:join%(timeout%)\n  Waits until the task is over%.\n", out)
      assert.matches("\np2pd%.core%.task\n.*\n  task:cancel%(", out)
      assert.matches("\neditline:start%(prompt%)\n  Shows a prompt", out)
      assert.equal("", err)
    end))
    it("says that help knows nothing", task(function() shows("nothing is known of that\n", "help(7)") end))
    it("has p2pd", task(function() shows("true\n", "p2pd == require 'p2pd'") end))
    it("runs after a file, whose globals are there", task(function()
      local path = helper.write(helper.scratch() .. "/first.lua", "x, args = 7, { ... } print 'first'")
      local child <close> = helper.p2pd("-i", path, "a")
      child:stdin():write "x, args[1]\n"
      child:stdin():close()
      assert.equal("first\n7\ta\n", child:stdout():read "a")
    end))
    it("does not run after a file that failed", task(function()
      local path = helper.write(helper.scratch() .. "/first.lua", "error 'no'")
      local child <close> = helper.p2pd("-i", path)
      child:stdin():close()
      assert.equal("", child:stdout():read "a")
      assert.same({ "exit", 1 }, { child:wait() })
    end))
    it("runs after a script", task(function()
      local child <close> = helper.p2pd("-i", "-e", "x = 1")
      child:stdin():write "x\n"
      child:stdin():close()
      assert.equal("1\n", child:stdout():read "a")
    end))
  end)

  describe("on a terminal", function()
    it("edits, shows, and gives the terminal back at Ctrl-D", terminal(function(s)
      s:type("1 + 1\r"):expect "\n2\n> $"
      s:type("for i = 1, 2 do\r"):expect "\n>> $"
      s:type("print(i * 7) end\r"):expect "\n7\n14\n> $"
      s:type(CTRL_D):expect "\nstatus 0\n"
    end))

    it("prints what tasks print above the line being typed", terminal(function(s)
      s:type(SPAWN:format(SLEEP:format "0.2" .. "io.write('be', 'hind') print ' it'") .. "\r"):expect "\n> $"
      s:type("'half"):expect "behind it\n> 'half$"
      s:type("way'\r"):expect "\nhalfway\n> $"
    end))

    it("Ctrl-C gives up the line", terminal(function(s)
      s:type("for"):expect "for$"
      s:type(CTRL_C):expect "%^C\n> $"
      s:type("7\r"):expect "\n7\n> $"
    end))

    it("Ctrl-C gives up lines before it too", terminal(function(s)
      s:type("for i = 1, 2 do\r"):expect "\n>> $"
      s:type(CTRL_C):expect "%^C\n> $"
    end))

    it("Ctrl-C ends a wait", terminal(function(s)
      s:type("print 'go' " .. SLEEP:format "100" .. "\r"):expect "\ngo\n"
      s:type(CTRL_C):expect "interrupted!\n> $"
      s:type("7\r"):expect "\n7\n> $"
    end))

    it("Ctrl-C ends a busy loop", terminal(function(s)
      s:type("print 'go' while true do end\r"):expect "\ngo\n"
      s:type(CTRL_C):expect "interrupted!\n> $"
      s:type("7\r"):expect "\n7\n> $"
    end))

    it("completes names", terminal(function(s)
      s:type("string.rev" .. TAB):expect "string%.reverse$"
      s:type("('ab')\r"):expect "\nba\n> $"
    end))

    it("completes what p2pd has", terminal(function(s)
      s:type("p2pd.slee" .. TAB):expect "p2pd%.sleep$"
      s:type("(0)\r"):expect "\n> $"
    end))

    it("lists candidates", terminal(function(s)
      s:type("string." .. TAB):expect "byte +find .*> string%.$"
    end))

    it("does not wait for what follows an escape", terminal(function(s)
      s:type(SPAWN:format(SLEEP:format "0.3" .. "print 'alive'") .. "\r"):expect "\n> $"
      s:type(ESCAPE):expect "alive\n> $"
    end))

    it("remembers lines in a private file", task(function()
      local folder = helper.scratch()
      on_terminal(function(s) s:type("'remember' .. ' me'\r"):expect "\nremember me\n> $" end, folder)
      assert.equal("'remember' .. ' me'\n", helper.read(folder .. "/p2pd/history"))
      assert.equal("rw-------", lfs.attributes(folder .. "/p2pd/history", "permissions"))
      on_terminal(function(s) s:type(UP):expect "> 'remember' .. ' me'$" end, folder)
    end))

    it("remembers an input of several lines as one", task(function()
      local folder = helper.scratch()
      on_terminal(function(s)
        s:type("for i = 1, 2 do\r"):expect "\n>> $"
        s:type("print(i * 7)\r"):expect "\n>> $"
        s:type("end\r"):expect "\n7\n14\n> $"
        s:type(UP .. "\r"):expect "> for i = 1, 2 do\nprint%(i %* 7%)\nend\n7\n14\n> $"
      end, folder)
      assert.equal("for i = 1, 2 do\\\nprint(i * 7)\\\nend\n", helper.read(folder .. "/p2pd/history"))
      on_terminal(function(s) s:type(UP .. "\r"):expect "\nend\n7\n14\n> $" end, folder)
    end))

    describe("Ctrl-R", function()
      local function search(what, fn)
        it(what, terminal(function(s)
          s:type("'one' .. 1\r"):expect "\none1\n> $"
          s:type("'two' .. 2\r"):expect "\ntwo2\n> $"
          s:type("'one' .. 3\r"):expect "\none3\n> $"
          fn(s)
        end))
      end

      search("shows what it finds at each key", function(s)
        s:type(CTRL_R .. "tw"):expect "%(search `tw'%) 'two' %.%. 2$"
        s:type(BACKSPACE .. BACKSPACE .. "one"):expect "%(search `one'%) 'one' %.%. 3$"
        s:type(CTRL_R):expect "%(search `one'%) 'one' %.%. 1$"
        s:type("\r"):expect "\none1\n> $"
      end)
      search("lets one go on editing what was found", function(s)
        s:type(CTRL_R .. "two" .. CTRL_A):expect "> 'two' %.%. 2"
        s:type("#\r"):expect "\n32\n> $"
      end)
      search("says that there is none, and keeps the last match", function(s)
        s:type(CTRL_R .. "two"):expect "'two' %.%. 2$"
        s:type(CTRL_R):expect "%(not found `two'%) 'two' %.%. 2$"
      end)
      search("gives the line back at Ctrl-G", function(s)
        s:type("'my' "):expect "'my' $"
        s:type(CTRL_R .. "two"):expect "'two' %.%. 2$"
        s:type(CTRL_G):expect "> 'my' $"
        s:type(".. 'own'\r"):expect "\nmyown\n> $"
      end)
      search("gives the line up at Ctrl-C", function(s)
        s:type(CTRL_R .. "two"):expect "'two' %.%. 2$"
        s:type(CTRL_C):expect "%^C\n> $"
        s:type("7\r"):expect "\n7\n> $"
      end)
      search("lets tasks run, and print above", function(s)
        s:type(SPAWN:format(SLEEP:format "0.2" .. "print('be' .. 'hind')") .. "\r"):expect "\n> $"
        s:type(CTRL_R .. "two"):expect "'two' %.%. 2$"
        s:expect "behind\n%(search `two'%) 'two' %.%. 2$"
        s:type("\r"):expect "\ntwo2\n> $"
      end)
    end)

    describe("a paste", function()
      it("is taken as it is: lines and tabs are text", terminal(function(s)
        local text = "for i = 1, 2 do\r\tprint(i * 7)\rend\r"
        s:type(PASTE:format(text)):expect "> for i = 1, 2 do\n +print%(i %* 7%)\nend$"
        s:type("\r"):expect "\n7\n14\n> $"
      end))
      it("goes where the cursor is", terminal(function(s)
        s:type("'ad'" .. "\27[D\27[D" .. PASTE:format "bc" .. "\r"):expect "\nabcd\n> $"
      end))
      it("may come in parts", terminal(function(s)
        s:type "\27[200~'split"
        core.task.sleep(0.2)
        s:type("ted'\27[201~\r"):expect "\nsplitted\n> $"
      end))
      it("is long", terminal(function(s)
        local lines = {}
        for i = 1, 300 do lines[i] = ("total = (total or 0) + %d -- %s"):format(i, ("x"):rep(100)) end
        s:type(PASTE:format(table.concat(lines, "\r")) .. "\r"):expect "\n> $"
        s:type("total\r"):expect "\n45150\n> $"
      end))
      it("is asked for while a prompt is shown, and only then", terminal(function(s)
        s:type("1\r"):expect "\n1\n> $"
        assert.matches("\27%[%?2004l.*1.*\27%[%?2004h", s.seen)
      end))
    end)

    describe("that is dumb", function()
      local DUMB = { TERM = "dumb" }

      it("has a prompt", terminal(function(s)
        s:type("1 + 1\n"):expect "\n2\n> $"
        s:type("for i = 1, 2 do\n"):expect "\n>> $"
        s:type("print(i * 7) end\n"):expect "\n7\n14\n> $"
        s:type(CTRL_D):expect "\nstatus 0\n"
      end, DUMB))
      it("has no sequences", terminal(function(s)
        s:type("{ 1 }, 'x'\n"):expect "\n{ 1 }\tx\n> $"
        assert.is_nil(s.seen:find "\27")
      end, DUMB))
      it("gives up a line at Ctrl-C", terminal(function(s)
        s:type("for i = 1, 2 do\n"):expect "\n>> $"
        s:type(CTRL_C):expect "%^C\n> $"
        s:type("7\n"):expect "\n7\n> $"
      end, DUMB))
      it("ends a wait at Ctrl-C", terminal(function(s)
        s:type("print 'go' " .. SLEEP:format "100" .. "\n"):expect "\ngo\n"
        s:type(CTRL_C):expect "interrupted!\n> $"
      end, DUMB))
      it("lets tasks run behind the prompt", terminal(function(s)
        s:type(SPAWN:format(SLEEP:format "0.1" .. "print('be' .. 'hind')") .. "\n"):expect "behind\n$"
      end, DUMB))
    end)

    describe("with colours", function()
      it("paints values and errors", terminal(function(s)
        s:type("{ 'x', 1 }\r"):expect '{ "x", 1 }\n> $'
        assert.is_truthy(s.seen:find('\27[32m"x"\27[0m', 1, true))
        s:type("error 'no'\r"):expect "no\n.*> $"
        assert.is_truthy(s.seen:find("\27[31mstdin:1: no", 1, true))
      end))
      it("does not when NO_COLOR is set", terminal(function(s)
        s:type("{ 'x', 1 }\r"):expect '{ "x", 1 }\n> $'
        assert.is_nil(s.seen:find '\27%[%d*m"x"')
      end, { NO_COLOR = "1" }))
    end)

    it("fits tables into the terminal's width", terminal(function(s)
      s:type("{ ('x'):rep(50), ('y'):rep(50) }\r"):expect '\n{\n  "x+",\n  "y+",\n}\n> $'
    end))

    for _, name in ipairs { "TERM", "QUIT", "HUP" } do
      it("gives the terminal back on SIG" .. name, terminal(function(s)
        local _, text = s:type("io.open('/proc/self/stat'):read 'n'\r"):expect "\n%d+\n> $"
        s:type("half"):expect "half$"
        os.execute(("kill -%s %d"):format(name, text:match "\n(%d+)\n> $"))
        s:expect "\nstatus 1%d%d\n"
      end))
    end

    it("gives the terminal back when a task calls os.exit", terminal(function(s)
      s:type(SPAWN:format(SLEEP:format "0.1" .. "os.exit(7)") .. "\r"):expect "\nstatus 7\n"
    end))
  end)
end)
