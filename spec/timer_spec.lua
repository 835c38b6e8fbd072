local core = require "p2pd.core"
local helper = require "spec.helper"
local p2pd = require "p2pd"
local in_task = helper.task

describe("p2pd.timer", function()
  it("after() calls once, with arguments; its result can be had", in_task(function()
    local started = core.clock.monotonic()
    local timer <close> = p2pd.after(0.02, function(a, b) return a + b end, 1, 2)
    assert.equal(3, timer:join())
    assert.is_true(core.clock.monotonic() - started >= 0.02)
  end))

  it("after() can be called off", in_task(function()
    local called = false
    local timer = p2pd.after(0.001, function() called = true end)
    timer:cancel()
    p2pd.sleep(0.005)
    assert.is_false(called)
  end))

  it("every() calls until it is told to end, and may wait", in_task(function()
    local count = 0
    local timer <close> = p2pd.every(0.001, function(by)
      p2pd.sleep(0)
      count = count + by
      return count < 6
    end, 2)
    timer:join(5)
    assert.equal(6, count)
  end))

  it("every() never overlaps, and leaves out what it missed", in_task(function()
    local running, most, count = 0, 0, 0
    local timer <close> = p2pd.every(0.001, function()
      running, count = running + 1, count + 1
      most = math.max(most, running)
      p2pd.sleep(0.01)
      running = running - 1
      return count < 3
    end)
    timer:join(5)
    assert.same({ 1, 3 }, { most, count })
  end))

  it("every() goes on after an error", in_task(function()
    local child <close> = helper.p2pd("-e", [[
      local count = 0
      p2pd.every(0.001, function()
        count = count + 1
        if count == 1 then error "once" end
        return false
      end):join()
      print(count)]])
    assert.equal("2\n", child:stdout():read "a")
    assert.matches("a timer failed: .*once", child:stderr():read "a")
  end))

  it("refuses what is no time and no function", function()
    for _, bad in ipairs { -1, 0 / 0, math.huge, "1", false } do
      assert.has_error(function() p2pd.after(bad, print) end)
      assert.has_error(function() p2pd.every(bad, print) end)
    end
    assert.has_error(function() p2pd.every(0, print) end)
    assert.has_error(function() p2pd.after(1) end)
  end)
end)
