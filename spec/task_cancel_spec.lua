local core = require "p2pd.core"
local child = require "spec.child"
local helper = require "spec.helper"
local task = require "p2pd.task"
local in_task = helper.task

local function closing(fn)
  return setmetatable({}, { __close = fn })
end

local function wait_for_ever()
  task.condition():wait()
end

-- A task that has come to wait, and whose <close> variable calls fn.
local function waiting(fn)
  local t = task.spawn(function()
    local _ <close> = closing(fn)
    wait_for_ever()
  end)
  task.sleep(0)
  return t
end

describe("p2pd.task", function()
  describe("cancel()", function()
    it("ends a task that has not started", in_task(function()
      local ran = false
      local t = task.spawn(function() ran = true end)
      assert.is_true(t:cancel())
      task.sleep(0)
      assert.is_false(ran)
      assert.equal("cancelled", t:status())
    end))

    it("ends a waiting task: its variables are closed in reverse order, with no error", in_task(function()
      local order = {}
      local t = task.spawn(function()
        local _ <close> = closing(function(_, err) order[#order + 1] = { "a", err } end)
        local _ <close> = closing(function(_, err) order[#order + 1] = { "b", err } end)
        wait_for_ever()
      end)
      task.sleep(0)
      t:cancel()
      assert.same({ { "b" }, { "a" } }, order)
    end))

    it("ends a task that is woken and has not run yet", in_task(function()
      local condition, woke = task.condition(), false
      local t = task.spawn(function() condition:wait() woke = true end)
      task.sleep(0)
      condition:signal()
      assert.is_true(t:cancel())
      task.sleep(0)
      assert.is_false(woke)
    end))

    it("ends a sleeping task", in_task(function()
      local t = task.spawn(task.sleep, 60)
      task.sleep(0)
      t:cancel()
      assert.equal("cancelled", t:status())
    end))

    it("tells those who join", in_task(function()
      local t = task.spawn(wait_for_ever)
      local joiner = task.spawn(function() return t:join() end)
      task.sleep(0)
      t:cancel()
      assert.same({ nil, "cancelled", "ECANCELED", n = 3 }, table.pack(joiner:join()))
    end))

    it("ends a task that joins another one, which goes on", in_task(function()
      local t <close> = task.spawn(wait_for_ever)
      local joiner = task.spawn(function() t:join() end)
      task.sleep(0)
      assert.is_true(joiner:cancel())
      assert.equal("waiting", t:status())
    end))

    it("does nothing to a task that is over", in_task(function()
      local t = task.spawn(function() return 1 end)
      t:join()
      assert.is_false(t:cancel())
      assert.equal(1, t:join())
      local failed = task.spawn(error, "x")
      failed:join()
      assert.is_false(failed:cancel())
      assert.equal("failed", failed:status())
    end))

    it("is refused to the running task", in_task(function()
      assert.error_matches(function() core.task.running():cancel() end, "cannot cancel itself")
    end))

    it("is not repeated by what it closes", in_task(function()
      local closed, t = 0, nil
      t = waiting(function()
        closed = closed + 1
        assert.is_false(t:cancel())
      end)
      t:cancel()
      assert.equal(1, closed)
    end))

    it("may cancel others from what it closes", in_task(function()
      local inner = task.spawn(wait_for_ever)
      waiting(function() inner:cancel() end):cancel()
      assert.equal("cancelled", inner:status())
    end))

    it("goes through long chains", in_task(function()
      local t = task.spawn(wait_for_ever)
      for _ = 1, 150 do
        local inner = t
        t = waiting(function() inner:cancel() end)
      end
      t:cancel()
    end))

    it("comes with closing the task", in_task(function()
      local t
      do
        local scoped <close> = task.spawn(wait_for_ever)
        t = scoped
      end
      assert.equal("cancelled", t:status())
    end))

    it("logs an error of what is closed, whatever it is", in_task(function()
      local result = child.run [[
        local function cancel(reason)
          local t = task.spawn(function()
            local _ <close> = setmetatable({}, { __close = function() error(reason) end })
            task.sleep(60)
          end)
          task.sleep(0)
          t:cancel()
          print(t:status())
        end
        task.run(function()
          cancel "stuck"
          cancel(setmetatable({}, { __tostring = function() error "worse" end }))
        end)
      ]]
      assert.equal("cancelled\ncancelled\n", result.out)
      assert.matches("closing a cancelled task: .*stuck", result.err)
      assert.matches("closing a cancelled task: %(no text%)", result.err)
    end))
  end)

  describe("an error", function()
    it("closes the variables, and they see it", in_task(function()
      local seen
      local t = task.spawn(function()
        local _ <close> = closing(function(_, err) seen = err end)
        error("broken", 0)
      end)
      t:join()
      assert.equal("broken", seen)
    end))

    it("is final: what it closes cannot cancel the task", in_task(function()
      local t, cancelled
      t = task.spawn(function()
        local _ <close> = closing(function() cancelled = t:cancel() end)
        error("broken", 0)
      end)
      assert.equal("broken", select(2, t:join()))
      assert.is_false(cancelled)
    end))
  end)

  describe("waiting", function()
    it("is refused outside a task", function()
      assert.error_matches(function() task.sleep(0) end, "cannot wait outside a task")
    end)

    it("is refused in a coroutine inside a task", in_task(function()
      local inner = coroutine.wrap(function() task.sleep(0) end)
      assert.error_matches(inner, "cannot wait in a coroutine inside a task")
    end))

    it("is refused below a function that cannot yield", in_task(function()
      assert.error_matches(function()
        table.sort({ 3, 2, 1 }, function(a, b) task.sleep(0) return a < b end)
      end, "cannot wait here")
    end))

    it("is refused in a finaliser", in_task(function()
      local ok, message
      setmetatable({}, { __gc = function() ok, message = pcall(task.sleep, 0) end })
      collectgarbage()
      collectgarbage()
      assert.is_false(ok)
      assert.matches("cannot wait", message)
    end))

    it("is refused where a cancelled task is closed; spawn is not", in_task(function()
      local ok, message, spawned
      local t = waiting(function()
        ok, message = pcall(task.sleep, 0)
        spawned = task.spawn(function() return "ran" end)
      end)
      t:cancel()
      assert.is_false(ok)
      assert.matches("while a task is closed", message)
      assert.equal("ran", spawned:join())
    end))

    it("is refused where a failed task is closed, as are run() and step()", in_task(function()
      local results = {}
      task.spawn(function()
        local _ <close> = closing(function()
          for i, fn in ipairs { task.sleep, task.step, task.run } do
            results[i] = select(2, pcall(fn, i == 3 and print or 0))
          end
        end)
        error "broken"
      end):join()
      assert.matches("cannot wait outside a task", results[1])
      assert.matches("already turning", results[2])
      assert.matches("already turning", results[3])
    end))

    it("survives that somebody resumes a task's coroutine", in_task(function()
      local co
      local t = task.spawn(function()
        co = coroutine.running()
        task.sleep(60)
      end)
      task.sleep(0)
      coroutine.resume(co)
      t:cancel()
      assert.equal("cancelled", t:status())
    end))
  end)
end)
