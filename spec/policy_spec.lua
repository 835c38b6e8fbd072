local helper = require "spec.helper"
local policy = require "p2pd.policy"
local task = require "p2pd.task"
local in_task = helper.task

-- A dial whose strategies do what the table says: a function that may return a stream.
local function fake(names, acts)
  local dial = { strategies = names, log = {}, closed = {}, cancelled = {} }
  function dial:prepare(name) self.log[#self.log + 1] = "prepare " .. name end
  function dial:attempt(name, seconds)
    self.log[#self.log + 1] = name
    self[name] = seconds
    local _ <close> = setmetatable({}, { __close = function()
      self.cancelled[name] = not self.done or not self.done[name]
    end })
    local stream = acts[name] and acts[name]()
    self.done = self.done or {}
    self.done[name] = true
    return stream and { name = name, close = function() self.closed[name] = true end }
  end
  return dial
end

local function fails() return false end
local function succeeds() return true end
local function never() task.condition():wait() end

local function after(seconds)
  return function()
    task.sleep(seconds)
    return true
  end
end

describe("p2pd.policy", function()
  describe("sequence()", function()
    it("tries one after the other and stops at the first success", in_task(function()
      local dial = fake({ "direct", "reverse", "punch" }, { direct = fails, reverse = succeeds })
      local stream, name = policy.sequence(dial)
      assert.same({ "reverse", "reverse" }, { stream.name, name })
      assert.same({ "direct", "reverse" }, dial.log)
    end))

    it("gives each its time", in_task(function()
      local dial = fake({ "direct", "reverse", "punch", "relay", "mine" }, {})
      assert.is_nil((policy.sequence(dial)))
      assert.same({ 2, 4, 20, 20, 20 }, { dial.direct, dial.reverse, dial.punch, dial.relay, dial.mine })
    end))

    it("has nothing without strategies", in_task(function()
      assert.is_nil((policy.sequence(fake({}, {}))))
    end))
  end)

  describe("race()", function()
    it("starts all at once and cancels the losers", in_task(function()
      local dial = fake({ "direct", "reverse", "punch" },
        { direct = succeeds, reverse = never, punch = never })
      local stream, name = policy.race(dial)
      assert.same({ "direct", "direct" }, { stream.name, name })
      assert.same({ "direct", "reverse", "punch" }, dial.log)
      assert.same({ direct = false, reverse = true, punch = true }, dial.cancelled)
      assert.same({}, dial.closed)
    end))

    it("prefers a cheaper stream that lands within a moment, and closes the other", in_task(function()
      local dial = fake({ "direct", "reverse" }, { direct = after(0.005), reverse = succeeds })
      assert.equal("direct", select(2, policy.race(dial)))
      assert.same({ reverse = true }, dial.closed)
    end))

    it("does not wait longer than that moment", in_task(function()
      local dial = fake({ "direct", "reverse" }, { direct = never, reverse = succeeds })
      assert.equal("reverse", select(2, policy.race(dial)))
      assert.is_true(dial.cancelled.direct)
    end))

    it("does not wait for dearer ones", in_task(function()
      local dial = fake({ "reverse", "punch" }, { reverse = succeeds, punch = never })
      assert.equal("reverse", select(2, policy.race(dial)))
    end))

    it("does not wait for a cheaper one that has failed", in_task(function()
      local dial = fake({ "direct", "mine" }, { direct = fails, mine = succeeds })
      assert.equal("mine", select(2, policy.race(dial)))
    end))

    it("goes on until one succeeds", in_task(function()
      local dial = fake({ "direct", "reverse", "mine" },
        { direct = fails, reverse = fails, mine = after(0.01) })
      assert.equal("mine", select(2, policy.race(dial)))
    end))

    it("lets a relay prepare itself while cheaper ones are tried, and then run", in_task(function()
      local dial = fake({ "direct", "relay" }, { direct = never, relay = succeeds })
      assert.equal("relay", select(2, policy.race(dial)))
      assert.same({ "direct", "prepare relay", "relay" }, dial.log)
    end))

    it("keeps no relay waiting when there is nothing cheaper", in_task(function()
      local dial = fake({ "relay" }, { relay = succeeds })
      assert.equal("relay", select(2, policy.race(dial)))
      assert.same({ "relay" }, dial.log)
    end))

    it("ends when all have failed", in_task(function()
      assert.is_nil((policy.race(fake({ "direct", "reverse" }, { direct = fails, reverse = fails }))))
      assert.is_nil((policy.race(fake({}, {}))))
    end))

    it("leaves nothing running when it is cancelled", in_task(function()
      local dial = fake({ "direct", "reverse" }, { direct = never, reverse = never })
      local t = task.spawn(policy.race, dial)
      task.sleep(0)
      task.sleep(0)
      t:cancel()
      assert.same({ direct = true, reverse = true }, dial.cancelled)
    end))
  end)
end)
