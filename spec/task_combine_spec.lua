local helper = require "spec.helper"
local task = require "p2pd.task"
local in_task = helper.task

local function wait_for_ever()
  task.condition():wait()
end

local function closable(name, closed)
  return setmetatable({}, { __close = function() closed[name] = true end })
end

local function failing(message, code)
  return function() return nil, message, code end
end

describe("p2pd.task", function()
  describe("condition()", function()
    it("wakes tasks in the order of their waits", in_task(function()
      local condition, order, tasks = task.condition(), {}, {}
      for i = 1, 4 do
        tasks[i] = task.spawn(function() condition:wait() order[#order + 1] = i end)
      end
      task.sleep(0)
      for _ = 1, 4 do condition:signal() end
      tasks[4]:join()
      assert.same({ 1, 2, 3, 4 }, order)
    end))

    it("wakes one at a signal", in_task(function()
      local condition = task.condition()
      local a <close> = task.spawn(condition.wait, condition)
      local b <close> = task.spawn(wait_for_ever)
      task.sleep(0)
      assert.is_true(condition:signal())
      assert.is_true(a:join())
      assert.is_false(condition:signal())
      assert.equal("waiting", b:status())
    end))

    it("wakes all at a broadcast", in_task(function()
      local condition, tasks = task.condition(), {}
      for i = 1, 3 do tasks[i] = task.spawn(condition.wait, condition) end
      task.sleep(0)
      condition:broadcast()
      for i = 1, 3 do assert.is_true(tasks[i]:join()) end
    end))

    it("passes a signal on when the woken task is cancelled", in_task(function()
      local condition = task.condition()
      local a = task.spawn(condition.wait, condition)
      local b = task.spawn(condition.wait, condition)
      task.sleep(0)
      condition:signal()
      a:cancel()
      assert.is_true(b:join())
    end))

    it("gives up after the timeout", in_task(function()
      assert.same({ nil, "timed out", "ETIMEDOUT", n = 3 }, table.pack(task.condition():wait(0)))
    end))

    it("prefers a signal to a timeout that passed as well", in_task(function()
      local condition = task.condition()
      local t = task.spawn(condition.wait, condition, 0)
      task.spawn(function() condition:signal() end)
      task.sleep(0)
      assert.is_true(t:join())
    end))
  end)

  describe("race()", function()
    it("gives the first success and cancels the rest", in_task(function()
      local closed = {}
      local a, b = task.race {
        function()
          local _ <close> = closable("slow", closed)
          wait_for_ever()
        end,
        function() return "won", 2 end,
      }
      assert.same({ "won", 2, { slow = true } }, { a, b, closed })
    end))

    it("goes on after failures and errors", in_task(function()
      assert.equal("won", task.race {
        failing("no", "ENO"), function() error "broken" end, function() task.sleep(0.01) return "won" end,
      })
    end))

    it("gives the last failure when all fail", in_task(function()
      local results = table.pack(task.race { failing("first", "EA"), failing("second", "EB") })
      assert.same({ nil, "second", "EB", n = 3 }, results)
    end))

    it("takes functions one by one", in_task(function()
      assert.equal("won", task.race(failing("no", "ENO"), function() return "won" end))
    end))

    it("has no code for a task that has raised", in_task(function()
      local ok, message, code = task.race { function() error "broken" end }
      assert.matches("broken", message)
      assert.same({}, { ok, code })
    end))

    it("says so when there is nothing to race", in_task(function()
      assert.same({ nil, "nothing to race", "EINVAL", n = 3 }, table.pack(task.race {}))
    end))

    it("closes what comes second", in_task(function()
      local closed = {}
      task.race {
        function() return closable("a", closed) end,
        function() return closable("b", closed) end,
      }
      assert.same({ b = true }, closed)
    end))

    it("takes its tasks along when it is cancelled", in_task(function()
      local closed = {}
      local t = task.spawn(task.race, { function()
        local _ <close> = closable("x", closed)
        wait_for_ever()
      end })
      task.sleep(0)
      task.sleep(0)
      t:cancel()
      assert.same({ x = true }, closed)
    end))
  end)

  describe("all()", function()
    it("gives the first result of each, in order", in_task(function()
      local results = table.pack(task.all(
        function() task.sleep(0.01) return "slow", "more" end, function() end, function() return 3 end))
      assert.same({ "slow", nil, 3, n = 3 }, results)
    end))

    it("takes a table, even an empty one", in_task(function()
      assert.equal(1, task.all { function() return 1 end })
      assert.equal(0, select("#", task.all {}))
    end))

    it("gives the first failure, cancels the rest and closes what there is", in_task(function()
      local closed = {}
      local results = table.pack(task.all(function() return closable("done", closed) end,
        failing("no", "ENO"), function()
          local _ <close> = closable("rest", closed)
          wait_for_ever()
        end))
      assert.same({ nil, "no", "ENO", n = 3 }, results)
      assert.same({ done = true, rest = true }, closed)
    end))

    it("raises what one raised, with its traceback", in_task(function()
      local function guilty() error "broken" end
      local ok, message = pcall(task.all, wait_for_ever, function() guilty() end)
      assert.is_false(ok)
      assert.matches("broken\nstack traceback:.*guilty", message)
    end))
  end)

  describe("timeout()", function()
    it("gives the results in time", in_task(function()
      assert.same({ 1, nil, 3, n = 3 }, table.pack(task.timeout(5, function(...) return ... end, 1, nil, 3)))
    end))

    it("cancels what takes too long", in_task(function()
      local closed = {}
      local results = table.pack(task.timeout(0, function()
        local _ <close> = closable("x", closed)
        wait_for_ever()
      end))
      assert.same({ nil, "timed out", "ETIMEDOUT", n = 3 }, results)
    end))

    it("raises what was raised", in_task(function()
      local ok, message = pcall(task.timeout, 5, function() error "broken" end)
      assert.is_false(ok)
      assert.matches("broken\nstack traceback:", message)
    end))

    it("closes the results when its caller is cancelled before it has them", in_task(function()
      local closed, inner = {}, nil
      local t = task.spawn(task.timeout, 5, function()
        inner = true
        return closable("result", closed)
      end)
      task.sleep(0)
      while not inner do coroutine.yield() end
      t:cancel()
      assert.same({ result = true }, closed)
    end))
  end)

  describe("group()", function()
    it("cancels its tasks at the end of the block", in_task(function()
      local t
      do
        local children <close> = task.group()
        t = children:spawn(wait_for_ever)
      end
      assert.equal("cancelled", t:status())
    end))

    it("cancels those that others start while they are closed", in_task(function()
      local children, late = task.group(), {}
      for i = 1, 20 do
        children:spawn(function()
          local _ <close> = setmetatable({}, { __close = function()
            late[i] = children:spawn(wait_for_ever)
          end })
          wait_for_ever()
        end)
      end
      task.sleep(0)
      children:cancel()
      for i = 1, 20 do assert.equal("cancelled", late[i]:status()) end
    end))

    it("spares the task that calls", in_task(function()
      local children = task.group()
      local other = children:spawn(wait_for_ever)
      local t = children:spawn(function() children:cancel() return "alive" end)
      assert.equal("alive", t:join())
      assert.equal("cancelled", other:status())
    end))

    it("forgets detached tasks that have ended", in_task(function()
      local children <close> = task.group()
      children:detach(function() end):join()
      assert.is_nil(next(children))
    end))
  end)

  describe("hold()", function()
    it("closes what was not released", function()
      local closed = {}
      do local _ <close> = task.hold(closable("a", closed), nil, closable("b", closed)) end
      assert.same({ a = true, b = true }, closed)
    end)

    it("gives away what is released", function()
      local closed = {}
      local function make()
        local held <close> = task.hold(closable("a", closed))
        return held:release()
      end
      assert.is_table(make())
      assert.same({}, closed)
    end)
  end)
end)
