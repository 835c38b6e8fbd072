local core = require "p2pd.core"
local helper = require "spec.helper"
local spawn = core.process.spawn
local task = helper.task
local wait_until = helper.wait_until

local THREAD_LIBRARY_SIGNALS = 3 << 31 -- 32 and 33: nobody may change them, so they are inherited

local function shell(script, options)
  local command = { "sh", "-c", script }
  for key, value in pairs(options or {}) do command[key] = value end
  return assert(spawn(command))
end

local function output(script, options)
  local command = { stdout = "pipe" }
  for key, value in pairs(options or {}) do command[key] = value end
  local child <close> = shell(script, command)
  return child:stdout():read "a"
end

-- "R", "S", "Z", ... from /proc, or nil when there is no such process.
local function state(pid)
  return helper.read(("/proc/%d/stat"):format(pid)):match "^%d+ %(.*%) (%u)"
end

local function group(pid)
  local text = helper.read(("/proc/%d/stat"):format(pid))
  return tonumber(text:match "^%d+ %(.*%) %u %d+ (%d+)")
end

describe("p2pd.core.process", function()
  teardown(helper.close_all)

  describe("spawn()", function()
    it("runs a program with its arguments", task(function()
      local child <close> = assert(spawn { "printf", "%s|", "a b", "", "c", stdout = "pipe" })
      assert.equal("a b||c|", child:stdout():read "a")
    end))

    it("names a program that is not there", task(function()
      local child, message, code = spawn { "no-such-program" }
      assert.is_nil(child)
      assert.equal('cannot run "no-such-program": No such file or directory', message)
      assert.equal("ENOENT", code)
    end))

    it("names a program that must not be run", task(function()
      assert.equal("EACCES", select(3, spawn { "/proc/self/stat" }))
    end))

    it("names a folder that is not there", task(function()
      local _, message = spawn { "true", cwd = "/no/such/folder" }
      assert.equal('cannot run "true" in "/no/such/folder": No such file or directory', message)
    end))

    it("runs in the folder it is told", task(function()
      assert.equal("/\n", output("pwd", { cwd = "/" }))
    end))

    it("adds variables to our environment", task(function()
      local text = output("echo $NEW $PATH", { env = { NEW = "fresh" } })
      assert.equal("fresh " .. os.getenv "PATH" .. "\n", text)
    end))

    it("replaces variables of our environment", task(function()
      assert.equal("elsewhere\n", output("echo $HOME", { env = { HOME = "elsewhere" } }))
    end))

    it("looks the program up in the child's own PATH", task(function()
      local folder = helper.scratch()
      helper.write(folder .. "/hidden", "#!/bin/sh\nexit 5\n")
      os.execute("chmod +x " .. folder .. "/hidden")
      local child <close> = assert(spawn { "hidden", env = { PATH = folder .. ":/bin" } })
      assert.same({ "exit", 5 }, { child:wait() })
    end))

    it("gives pipes both ways", task(function()
      local child <close> = shell("cat", { stdin = "pipe", stdout = "pipe" })
      child:stdin():write "through the cat\n"
      assert.equal("through the cat", child:stdout():read "l")
    end))

    it("lets a child see the end of its input", task(function()
      local child <close> = shell("cat; exit 3", { stdin = "pipe", stdout = "pipe" })
      child:stdin():close()
      assert.same({ "exit", 3 }, { child:wait() })
    end))

    it("gives an empty input unless told otherwise", task(function()
      assert.equal("0\n", output("cat | wc -c"))
    end))

    it("sends stderr where stdout goes", task(function()
      assert.equal("out\nerr\n", output("echo out; echo err >&2", { stderr = "stdout" }))
    end))

    it("keeps stderr apart", task(function()
      local child <close> = shell("echo err >&2", { stdout = "null", stderr = "pipe" })
      assert.equal("err\n", child:stderr():read "a")
    end))

    it("passes no descriptor of ours on", task(function()
      local plain <close> = assert(io.open "/dev/null")
      assert.is_not_nil(plain)
      assert.equal("0 1 2 3\n", output("echo $(ls /proc/self/fd)"))
    end))

    it("gives default signals, an empty mask and an own group", task(function()
      local status = output("grep -E 'Sig(Blk|Ign)' /proc/self/status")
      for mask in status:gmatch "%x%x%x%x%x%x%x%x%x+" do
        assert.equal(0, tonumber(mask, 16) & ~THREAD_LIBRARY_SIGNALS)
      end
      local child <close> = shell("read x", { stdin = "pipe" })
      assert.equal(child:pid(), group(child:pid()))
    end))

    it("ends the child when we die", task(function()
      local cpath = ("package.cpath = %q; "):format(package.cpath)
      local script = cpath .. [[
        local core = require "p2pd.core"
        print(assert(core.process.spawn { "sleep", "60", stdout = "null" }):pid())
        io.stdout:flush()
        os.execute "kill -KILL $PPID"]]
      local child <close> = assert(spawn { "lua5.4", "-e", script, stdout = "pipe" })
      local pid = assert(tonumber(child:stdout():read "l"))
      assert.equal("signal", (child:wait()))
      wait_until(function() return (state(pid) or "Z") == "Z" end)
    end))

    it("refuses what is not a command", function()
      assert.error_matches(function() spawn() end, "table expected")
      assert.error_matches(function() spawn {} end, "no program to run")
      assert.error_matches(function() spawn { "true", {} } end, "string expected, got table")
      assert.error_matches(function() spawn { "tr\0ue" } end, "contains a NUL byte")
      assert.error_matches(function() spawn { "true", cwd = "/\0" } end, "'cwd': contains a NUL")
    end)

    it("refuses an unknown kind of descriptor", function()
      assert.error_matches(function() spawn { "true", stdin = "file" } end,
        "option 'stdin': unknown kind 'file'")
      assert.error_matches(function() spawn { "true", stdout = "stdout" } end, "option 'stdout'")
      assert.error_matches(function() spawn { "true", stderr = 2 } end, "option 'stderr'")
    end)

    it("refuses what cannot be an environment", function()
      assert.error_matches(function() spawn { "true", env = 1 } end, "'env': table expected")
      assert.error_matches(function() spawn { "true", env = { ["A=B"] = "" } } end, "'A=B'")
      assert.error_matches(function() spawn { "true", env = { [""] = "" } } end, "''")
      assert.error_matches(function() spawn { "true", env = { "value" } } end, "must be strings")
      assert.error_matches(function() spawn { "true", env = { A = {} } } end, "got table")
    end)
  end)

  describe("wait()", function()
    it("tells the exit status, as often as asked", task(function()
      local child <close> = shell "exit 7"
      assert.same({ "exit", 7 }, { child:wait() })
      assert.same({ "exit", 7 }, { child:wait(0) })
    end))

    it("tells the signal", task(function()
      local child <close> = shell "kill -KILL $$"
      assert.same({ "signal", 9 }, { child:wait() })
    end))

    it("times out", task(function()
      local child <close> = shell "read x"
      local stopped <close> = shell("read x", { stdin = "pipe" })
      assert.same({ "exit", 1 }, { child:wait() })
      assert.equal("ETIMEDOUT", select(3, stopped:wait(0.01)))
    end))

    it("serves several tasks", task(function()
      local child <close> = shell("read x; exit 4", { stdin = "pipe" })
      local function wait() return select(2, child:wait()) end
      local first, second = core.task.spawn(wait), core.task.spawn(wait)
      core.task.sleep(0)
      child:stdin():write "\n"
      assert.same({ 4, 4 }, { first:join(), second:join() })
    end))

    it("ends when the process is closed meanwhile", task(function()
      local child <close> = shell("read x", { stdin = "pipe" })
      local waiting = core.task.spawn(function() return child:wait() end)
      core.task.sleep(0)
      child:close()
      assert.equal("ECANCELED", select(3, waiting:join()))
    end))

    it("can be cancelled", task(function()
      local child <close> = shell("read x; exit 4", { stdin = "pipe" })
      local waiting = core.task.spawn(function() return child:wait() end)
      core.task.sleep(0)
      waiting:cancel()
      child:stdin():write "\n"
      assert.same({ "exit", 4 }, { child:wait() })
    end))

    it("needs a task", function()
      local child <close> = shell "exit 0"
      assert.error_matches(function() child:wait() end, "outside a task")
    end)
  end)

  describe("kill()", function()
    it("knows signals by name and by number", task(function()
      for _, signal in ipairs { "INT", "SIGINT", "sigint", 2 } do
        local child <close> = assert(spawn { "sleep", "60" })
        assert.is_true(child:kill(signal))
        assert.same({ "signal", 2 }, { child:wait() })
      end
    end))

    it("sends SIGTERM unless told otherwise", task(function()
      local child <close> = assert(spawn { "sleep", "60" })
      child:kill()
      assert.same({ "signal", 15 }, { child:wait() })
    end))

    it("says that a child has ended", task(function()
      local child <close> = shell "exit 0"
      child:wait()
      assert.equal("ESRCH", select(3, child:kill "TERM"))
    end))

    it("refuses an unknown signal", task(function()
      local child <close> = shell "exit 0"
      assert.error_matches(function() child:kill "NONSENSE" end, "no such signal")
      assert.error_matches(function() child:kill(-1) end, "no such signal")
      assert.error_matches(function() child:kill(1000) end, "no such signal")
    end))
  end)

  describe("close()", function()
    it("ends a living child and its group", task(function()
      local child = shell("sleep 60 & echo $!; wait", { stdout = "pipe" })
      local grandchild = tonumber(child:stdout():read "l")
      child:close()
      wait_until(function() return (state(grandchild) or "Z") == "Z" end)
    end))

    it("kills a child that ignores SIGTERM, after the grace", task(function()
      local child = shell("trap '' TERM; echo; while :; do sleep 1; done", { stdout = "pipe" })
      local pid = child:pid()
      child:stdout():read "l"
      child:close()
      core.task.sleep(0.1)
      assert.is_not_nil(state(pid))
      wait_until(function() return not state(pid) end)
    end))

    it("closes the streams", task(function()
      local child = shell("cat", { stdin = "pipe", stdout = "pipe" })
      local input, out = child:stdin(), child:stdout()
      child:close()
      assert.is_nil((input:write "x"))
      assert.is_nil((out:read "l"))
    end))

    it("can be called twice, and makes the rest refuse", task(function()
      local child = shell "exit 0"
      child:close()
      child:close()
      assert.error_matches(function() child:pid() end, "closed process")
      assert.error_matches(function() child:kill() end, "closed process")
      assert.error_matches(function() child:wait() end, "closed process")
      assert.error_matches(function() child:stdin() end, "closed process")
      assert.equal("process (closed)", tostring(child))
    end))

    it("is what a collected child gets, at once", task(function()
      local pid = shell("trap '' TERM; while :; do sleep 1; done"):pid()
      collectgarbage()
      collectgarbage()
      wait_until(function() return not state(pid) end)
    end))
  end)

  it("knows how many descriptors it may have, and has", task(function()
    local most, taken = core.process.descriptors()
    assert.is_true(taken > 2 and taken < most)
    local socket <close> = assert(core.udp.bind { ip = "127.0.0.1" })
    assert.is_true(select(2, core.process.descriptors()) >= taken)
    assert(socket)
  end))
end)
