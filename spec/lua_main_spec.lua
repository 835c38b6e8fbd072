local core = require "p2pd.core"
local helper = require "spec.helper"
local task = helper.task

local LUA = "lua5.4"

-- Runs a child to its end: what it wrote, and how it ended.
local function finish(child, input)
  child:stdin():write(input or "")
  child:stdin():close()
  local result = { stdout = child:stdout():read "a", stderr = child:stderr():read "a" }
  result.how, result.status = child:wait()
  child:close()
  return result
end

local function p2pd(options, input)
  return finish(helper.p2pd(options), input)
end

local function lua(options, input)
  local command = { LUA, stdin = "pipe", stdout = "pipe", stderr = "pipe" }
  for key, value in pairs(options) do
    command[math.type(key) == "integer" and key + 1 or key] = value
  end
  return finish(assert(core.process.spawn(command)), input)
end

local function script(text)
  return helper.write(helper.scratch() .. "/script.lua", text)
end

-- Both give the same output and status; errors differ only in the program's name.
local function same(options, input)
  local expected, got = lua(options, input), p2pd(options, input)
  expected.stderr = expected.stderr:gsub("^" .. LUA:gsub("%p", "%%%0") .. ": ", "p2pd: ")
  assert.same(expected, got)
  return got
end

describe("p2pd.lua_main", function()
  teardown(helper.close_all)

  describe("options", function()
    it("-e runs a string", task(function() same { "-e", "print(1 + 1)" } end))
    it("-e takes an attached string", task(function() same { "-eprint(2)" } end))
    it("-e may come several times", task(function() same { "-e", "x = 1", "-e", "print(x)" } end))
    it("-e has p2pd", task(function()
      local child <close> = helper.p2pd("-e", "print(p2pd == require 'p2pd', getmetatable(_G))")
      assert.equal("true\tnil\n", child:stdout():read "a")
    end))
    it("-e shows a syntax error", task(function() same { "-e", "x =" } end))
    it("-e shows an error and its traceback", task(function() same { "-e", "error 'no'" } end))
    it("-e runs nothing after a failure", task(function() same { "-e", "x.y = 1", "-e", "print(1)" } end))

    it("-l makes a global of a module", task(function()
      same { "-l", "string", "-e", "print(string == require 'string')" }
    end))
    it("-l takes another name", task(function() same { "-l", "s=string", "-e", "print(s == string)" } end))
    it("-l fails for a module that is not there", task(function()
      local got = p2pd { "-l", "no_such_module" }
      assert.equal(1, got.status)
      assert.matches("^p2pd: module 'no_such_module' not found:", got.stderr)
    end))

    it("-l runs stdin nevertheless", task(function() same({ "-l", "string" }, "print 'stdin'") end))

    it("-W turns warnings on", task(function() same { "-W", "-e", "warn 'mind'" } end))
    it("-E ignores LUA_INIT", task(function()
      same { "-E", "-e", "print(x)", env = { LUA_INIT = "x = 1" } }
    end))
    it("-E ignores LUA_PATH", task(function()
      local got = p2pd { "-E", "-e", "print(package.path)", env = { LUA_PATH = "nowhere" } }
      assert.not_matches("nowhere", got.stdout)
    end))
    it("-v shows the version and runs nothing from stdin", task(function()
      local got = p2pd({ "-v" }, "print 'stdin'")
      assert.matches("^p2pd .*Lua 5%.4[^\n]*\n$", got.stdout)
    end))
    it("--version shows it too", task(function() assert.matches("^p2pd ", p2pd({ "--version" }).stdout) end))
    it("--help shows options and commands", task(function()
      local got = p2pd { "--help" }
      assert.equal(0, got.status)
      assert.matches("%-e stat.*\n  node ", got.stdout)
    end))
    it("-h does so too, in 80 columns", task(function()
      local got = p2pd { "-h" }
      assert.equal(p2pd({ "--help" }).stdout, got.stdout)
      for line in got.stdout:gmatch "[^\n]*" do assert.is_true(#line <= 80, line) end
    end))
    it("refuses an unknown option", task(function()
      local got = p2pd { "-x" }
      assert.equal(1, got.status)
      assert.matches("^p2pd: unrecognized option '%-x'\nusage:", got.stderr)
    end))
    it("refuses -e without a string", task(function()
      assert.matches("^p2pd: '%-e' needs argument\n", p2pd({ "-e" }).stderr)
      assert.equal(1, p2pd({ "-e", "-v" }).status)
    end))
  end)

  describe("environment", function()
    it("LUA_INIT runs first", task(function()
      same { "-e", "print(x)", env = { LUA_INIT = "x = 1" } }
    end))
    it("LUA_INIT_5_4 goes before LUA_INIT", task(function()
      same { "-e", "print(x)", env = { LUA_INIT = "x = 1", LUA_INIT_5_4 = "x = 2" } }
    end))
    it("LUA_INIT=@file runs a file", task(function()
      same { "-e", "print(x)", env = { LUA_INIT = "@" .. script "x = 3" } }
    end))
    it("a failing LUA_INIT ends it", task(function()
      same { "-e", "print(1)", env = { LUA_INIT = "error 'init'" } }
    end))
    it("LUA_PATH is searched", task(function()
      local folder = helper.scratch()
      helper.write(folder .. "/mine.lua", "return 'mine'")
      same { "-e", "print((require 'mine'))", env = { LUA_PATH = folder .. "/?.lua;;" } }
    end))
  end)

  describe("a script", function()
    it("gets its arguments", task(function()
      same { script "print(...) print(#arg, arg[1], arg[2])", "a", "-b" }
    end))
    it("finds the options before it at negative indices", task(function()
      same { "-e", "y = 1", script "print(arg[-1], arg[-2], y, arg[-4])" }
    end))
    it("finds itself in arg[0]", task(function() same { script "print(arg[0])" } end))
    it("comes from stdin when nothing is named", task(function()
      same({}, "print('from stdin', ..., #arg)")
    end))
    it("comes from stdin for -", task(function() same({ "-", "a" }, "print(..., arg[0])") end))
    it("shows a syntax error", task(function() same { script "local =" } end))
    it("shows an error and its traceback", task(function()
      same { script "local function f() error 'no' end\nf()" }
    end))
    it("keeps the traceback above its own xpcall", task(function()
      same { script "local f = function() error 'in' end\nxpcall(f, function(e) error(e) end)\nf()" }
      same { script "xpcall(function() local x = nil + 1 end, error, 1)\nxpcall(error, error)\nx.y = 1" }
      same { script "assert(xpcall(function() return pcall(error, 'x') end, print))\nxpcall(x.y, print)" }
    end))
    it("shows an error object", task(function() same { script "error {}" } end))
    it("shows an error object that has text", task(function()
      same { script "error(setmetatable({}, { __tostring = function() return 'text' end }))" }
    end))
    it("may begin with #!", task(function() same { script "#!/usr/bin/env p2pd\nprint(1)" } end))
    it("may be called like a command after --", task(function()
      local folder = helper.scratch()
      helper.write(folder .. "/node", "print 'a file'")
      assert.equal("a file\n", p2pd({ "--", "node", cwd = folder }).stdout)
    end))
    it("has a global p2pd", task(function()
      local file = helper.write(helper.scratch() .. "/script.lua", "print(p2pd == require 'p2pd')")
      assert.equal("true\n", p2pd({ file }).stdout)
    end))
    it("can wait", task(function()
      local text = "local task = require 'p2pd.core'.task\ntask.sleep(0.001)\nprint(task.running())"
      assert.matches("^task %(running%)", p2pd({ script(text) }).stdout)
    end))
    it("ends although a task of its own runs on", task(function()
      local text = [[
        local task = require "p2pd.core".task
        task.spawn(function()
          local x <close> = setmetatable({}, { __close = function() print "closed" end })
          task.sleep(100)
        end)
        task.sleep(0)]]
      assert.same({ stdout = "closed\n", stderr = "", how = "exit", status = 0 }, p2pd { script(text) })
    end))
    it("shows the failure of a task that nobody joins, and lives on", task(function()
      local text = [[
        local task = require "p2pd.core".task
        task.spawn(error, "lost")
        task.sleep(0.001)
        print "alive"]]
      local got = p2pd { script(text) }
      assert.same({ "alive\n", 0 }, { got.stdout, got.status })
      assert.matches("a task failed: lost", got.stderr)
    end))
    it("help names an unknown command", task(function()
      assert.matches('^p2pd: no such command or file "x"', p2pd({ "help", "x" }).stderr)
    end))
    it("that is not there is named, with a hint", task(function()
      local got = p2pd { "no-such-thing" }
      assert.equal(1, got.status)
      assert.matches('^p2pd: no such command or file "no%-such%-thing".*p2pd help', got.stderr)
    end))
  end)

  describe("exit status", function()
    it("is os.exit's", task(function() same { "-e", "os.exit(7)" } end))
    it("is os.exit(false)'s", task(function() same { "-e", "os.exit(false)" } end))
    it("is os.exit(true, true)'s", task(function() same { "-e", "os.exit(true, true)" } end))
    it("is not what a script returns", task(function() same { script "return 3" } end))
    it("is os.exit's of a task too", task(function()
      local text = "local task = require 'p2pd.core'.task task.spawn(os.exit, 9) task.sleep(10)"
      assert.equal(9, p2pd({ "-e", text }).status)
    end))
  end)

  describe("an interrupt", function()
    local WAITING = [[
      local x <close> = setmetatable({}, { __close = function() print "closed" end })
      print "ready"
      io.stdout:flush()
      %s]]

    local function interrupted(statement, signal)
      local child <close> = helper.p2pd("-e", WAITING:format(statement))
      assert.equal("ready", child:stdout():read "l")
      child:kill(signal)
      return { child:stdout():read "a", child:stderr():read "a", child:wait() }
    end

    for signal, status in pairs { INT = 130, TERM = 143 } do
      it("ends a wait quietly: " .. signal, task(function()
        assert.same({ "closed\n", "", "exit", status },
          interrupted("require 'p2pd.core'.task.sleep(100)", signal))
      end))
      it("ends a busy loop quietly: " .. signal, task(function()
        assert.same({ "closed\n", "", "exit", status }, interrupted("while true do end", signal))
      end))
    end
  end)

  describe("a module", function()
    it("is found inside the executable, wherever that runs", task(function()
      local got = p2pd { "-e", "print(require 'p2pd.repl.completion' ~= nil, require 'dkjson' ~= nil)",
        cwd = helper.scratch(), env = { LUA_PATH = "", LUA_CPATH = "" } }
      assert.equal("true\ttrue\n", got.stdout)
    end))
  end)
end)
