local core = require "p2pd.core"
local task = require "p2pd.task"
local helper = require "spec.helper"
local punches = require "spec.punches"
local in_task = helper.task
local start, now = core.punch.start, core.clock.monotonic

local NEAR, FAR, LONG_S, mapping = punches.NEAR, punches.FAR, punches.LONG_S, punches.mapping
local plan, listener_on, silent_pair = punches.plan, punches.listener_on, punches.silent_pair
local refused, until_failed = punches.refused, punches.until_failed

describe("p2pd.core.punch", function()
  describe("close()", function()
    it("before the instant keeps every SYN", in_task(function()
      local port = helper.free_port()
      local listener <close> = listener_on(FAR, port)
      local punch = assert(start(plan({ mapping(NEAR, 0, FAR, port) }, { at = now() + 0.5 })))
      punch:close()
      assert.equal("ETIMEDOUT", select(3, listener:accept(0.6)))
    end))

    it("ends the retries", in_task(function()
      local there, far_port = refused()
      local punch = assert(start(plan { there }))
      until_failed(punch, 2)
      punch:close()
      local listener <close> = listener_on(FAR, far_port)
      assert.equal("ETIMEDOUT", select(3, listener:accept(0.05)))
    end))

    it("drops what is on its way and what nobody took", in_task(function()
      local port = helper.free_port()
      local listener <close> = listener_on(FAR, port)
      local _ <close>, there = silent_pair(NEAR, FAR)
      local punch = assert(start(plan { there, mapping(NEAR, 0, FAR, port) }))
      while punch:stats().established == 0 do task.sleep(0.001) end
      local far <close> = listener:accept(5)
      punch:close()
      assert.is_nil(far:read "l")
    end))

    it("wakes who waits", in_task(function()
      local _ <close>, there = silent_pair(NEAR, FAR)
      local punch <close> = assert(start(plan { there }))
      local t = task.spawn(punch.wait, punch)
      task.sleep(0)
      punch:close()
      assert.equal("EBADF", select(3, t:join()))
      assert.equal("EBADF", select(3, punch:wait()))
      assert.equal("EBADF", select(3, punch:stats()))
      assert.matches("closed", tostring(punch))
      punch:close()
    end))

    it("is what a cancelled task does", in_task(function()
      local _ <close>, there = silent_pair(NEAR, FAR)
      local t = task.spawn(function()
        local punch <close> = assert(start(plan { there }))
        punch:wait()
      end)
      task.sleep(0.01)
      assert.is_true(t:cancel())
    end))

    it("comes with the collector", in_task(function()
      local _ <close>, there = silent_pair(NEAR, FAR)
      assert(start(plan { there }))
      assert(start(plan({ there }, { at = now() + 5 })))
    end))

    it("refuses what is no punch", in_task(function()
      local punch <close> = assert(start(plan { (refused()) }))
      assert.has_error(function() punch.close() end)
      assert.has_error(function() getmetatable(punch).__gc(io.stdout) end)
    end))

    it("may come at any moment", in_task(function()
      local port = helper.free_port()
      local _ <close> = listener_on(FAR, port, 200)
      for i = 1, 60 do
        local mappings = {}
        for k = 1, 8 do
          mappings[k] = mapping(NEAR, 0, FAR, k % 2 == 0 and port or 2, { after = k * 1e-4 })
        end
        local punch <close> = assert(start(plan(mappings, { gap = 0.0005 })))
        punch:wait(i * 5e-5)
      end
    end))
  end)

  describe("wait()", function()
    it("gives up after the timeout", in_task(function()
      local _ <close>, there = silent_pair(NEAR, FAR)
      local punch <close> = assert(start(plan { there }))
      assert.same({ nil, "timed out", "ETIMEDOUT", n = 3 }, table.pack(punch:wait(0.01)))
      assert.same({ nil, "timed out", "ETIMEDOUT", n = 3 }, table.pack(punch:wait(0)))
      assert.is_false(punch:stats().over)
    end))

    it("gives each connection to one of those who wait", in_task(function()
      local port = helper.free_port()
      local _ <close> = listener_on(FAR, port)
      local mappings = { mapping(NEAR, 0, FAR, port), mapping(NEAR, 0, FAR, port, { after = 0.01 }) }
      local punch <close> = assert(start(plan(mappings)))
      local tasks, places = {}, {}
      for i = 1, 2 do
        tasks[i] = task.spawn(function()
          local _ <close>, place = assert(punch:wait(LONG_S))
          places[place] = true
        end)
      end
      for _, t in ipairs(tasks) do t:join() end
      assert.same({ true, true }, places)
    end))
  end)
end)
