local core = require "p2pd.core"
local child = require "spec.child"
local helper = require "spec.helper"
local task = require "p2pd.task"
local in_task = helper.task

local function closing(list, name)
  return setmetatable({}, { __close = function() list[#list + 1] = name end })
end

local function wait_for_ever()
  task.condition():wait()
end

describe("p2pd.task", function()
  describe("run()", function()
    it("returns what the function returns", function()
      assert.same({ 1, nil, "three", n = 3 }, table.pack(task.run(function() return 1, nil, "three" end)))
    end)

    it("passes arguments", function()
      assert.same({ "a", nil, n = 2 }, table.pack(task.run(function(...) return ... end, "a", nil)))
    end)

    it("raises what the function raised, with its traceback", function()
      local function guilty() error "broken" end
      local ok, message = pcall(task.run, function() guilty() end)
      assert.is_false(ok)
      assert.matches("broken\nstack traceback:.*guilty", message)
    end)

    it("raises errors that are no strings as they are", function()
      local reason = { "why" }
      assert.equal(reason, select(2, pcall(task.run, function() error(reason) end)))
    end)

    it("survives an error whose __tostring fails", function()
      local reason = setmetatable({}, { __tostring = function() error "worse" end })
      assert.equal(reason, select(2, pcall(task.run, function() error(reason) end)))
    end)

    it("just calls inside a task", in_task(function()
      assert.same({ 7, nil, n = 2 }, table.pack(task.run(function(x) task.sleep(0) return x, nil end, 7)))
    end))

    it("says when nothing can wake the task", function()
      local ok, message = pcall(task.run, wait_for_ever)
      assert.is_false(ok)
      assert.matches("^deadlock", message)
    end)

    it("closes the variables of a deadlocked task", function()
      local closed = {}
      pcall(task.run, function()
        local _ <close> = closing(closed, "a")
        wait_for_ever()
      end)
      assert.same({ "a" }, closed)
    end)

    it("refuses what is no function", function()
      assert.error_matches(function() task.run(5) end, "function expected")
    end)

    it("works again after a failure", function()
      pcall(task.run, error, "x")
      assert.equal(1, task.run(function() task.sleep(0) return 1 end))
    end)
  end)

  describe("spawn()", function()
    it("starts when the present task waits", in_task(function()
      local order = {}
      task.spawn(function() order[#order + 1] = "child" end)
      order[#order + 1] = "parent"
      task.sleep(0)
      assert.same({ "parent", "child" }, order)
    end))

    it("starts in the order of the calls", in_task(function()
      local order, last = {}, nil
      for i = 1, 5 do last = task.spawn(function() order[i] = #order + 1 end) end
      last:join()
      assert.same({ 1, 2, 3, 4, 5 }, order)
    end))

    it("takes what can be called", in_task(function()
      local callable = setmetatable({}, { __call = function(_, x) return x end })
      assert.equal("x", task.spawn(callable, "x"):join())
    end))

    it("refuses anything else", in_task(function()
      assert.error_matches(function() task.spawn {} end, "function expected")
      assert.error_matches(function() task.spawn() end, "value expected")
    end))

    it("lets others run at a insecure yield", in_task(function()
      local order = {}
      local first = task.spawn(function()
        order[#order + 1] = 1
        coroutine.yield()
        order[#order + 1] = 3
      end)
      task.spawn(function()
        order[#order + 1] = 2
        assert.equal("ready", first:status())
      end):join()
      first:join()
      assert.same({ 1, 2, 3 }, order)
    end))
  end)

  describe("join()", function()
    it("gives the results, again and again", in_task(function()
      local t = task.spawn(function() return 1, nil, 3, nil end)
      assert.same({ 1, nil, 3, nil, n = 4 }, table.pack(t:join()))
      assert.same({ 1, nil, 3, nil, n = 4 }, table.pack(t:join()))
      assert.equal("done", t:status())
    end))

    it("gives the error; traceback() tells where", in_task(function()
      local t = task.spawn(function() error("broken", 0) end)
      assert.same({ nil, "broken", n = 2 }, table.pack(t:join()))
      assert.equal("failed", t:status())
      assert.matches("broken\nstack traceback:", t:traceback())
    end))

    it("gives up after the timeout, and the task goes on", in_task(function()
      local t <close> = task.spawn(wait_for_ever)
      assert.same({ nil, "timed out", "ETIMEDOUT", n = 3 }, table.pack(t:join(0)))
      assert.equal("waiting", t:status())
    end))

    it("serves several tasks", in_task(function()
      local t = task.spawn(function() task.sleep(0.01) return "x" end)
      local joiners = {}
      for i = 1, 3 do joiners[i] = task.spawn(function() return t:join() end) end
      for i = 1, 3 do assert.equal("x", joiners[i]:join()) end
    end))

    it("refuses the running task", in_task(function()
      assert.error_matches(function() core.task.running():join() end, "cannot join itself")
    end))

    it("refuses a bad timeout", in_task(function()
      local t <close> = task.spawn(wait_for_ever)
      for _, bad in ipairs { -1, 0 / 0, "x" } do
        assert.has_error(function() t:join(bad) end)
      end
    end))
  end)

  describe("a failure that nobody joins", function()
    it("is logged with its traceback, and the loop lives", in_task(function()
      local result = child.run [[
        local function guilty() error "broken" end
        print(task.run(function() task.spawn(function() guilty() end) task.sleep(0.01) return "alive" end))
      ]]
      assert.matches("^p2pd: error: a task failed: .*broken\nstack traceback:.*guilty", result.err)
      assert.equal("alive\n", result.out)
    end))

    it("is logged although somebody had joined for a while", in_task(function()
      local result = child.run [[
        task.run(function()
          local t = task.spawn(function() task.sleep(0.01) error "broken" end)
          t:join(0)
          task.sleep(0.05)
        end)
      ]]
      assert.matches("a task failed: .*broken", result.err)
    end))

    it("is not logged when somebody joins", in_task(function()
      local result = child.run "task.run(function() task.spawn(error, 'broken'):join() end)"
      assert.equal("", result.err)
    end))
  end)

  describe("sleep()", function()
    it("wakes in the order of the deadlines", in_task(function()
      local order = {}
      local tasks = {}
      for i, seconds in ipairs { 0.03, 0.01, 0.02 } do
        tasks[i] = task.spawn(function() task.sleep(seconds) order[#order + 1] = i end)
      end
      for _, t in ipairs(tasks) do t:join() end
      assert.same({ 2, 3, 1 }, order)
    end))

    it("never wakes early", in_task(function()
      local start = core.clock.monotonic()
      task.sleep(0.02)
      assert.is_true(core.clock.monotonic() - start >= 0.02)
    end))

    it("refuses bad seconds", in_task(function()
      for _, bad in ipairs { -1, 0 / 0, "x", {} } do
        assert.has_error(function() task.sleep(bad) end)
      end
      assert.has_error(function() task.sleep() end)
    end))
  end)

  describe("step()", function()
    it("turns the loop for a program that owns another one", function()
      local t = task.spawn(function() task.sleep(0.01) return "done" end)
      while t:status() ~= "done" do task.step(0.1) end
      assert.equal("done", t:join())
    end)

    it("tells when nothing is left that could happen", function()
      while task.step(0) do end
      assert.is_false(task.step(0))
      assert.is_false(task.step(0.01))
      local _ <close> = task.spawn(task.sleep, 60)
      assert.is_true(task.step(0))
      assert.is_true(task.step(0))
    end)

    it("is refused inside a task", in_task(function()
      assert.error_matches(task.step, "already turning")
    end))
  end)
end)
