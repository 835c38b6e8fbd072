local rendezvous = require "p2pd.punch.rendezvous"

local MAPPING = { local_port = 1000, reply_port = 0, external_port = 2000 }

local function assert_fault(expected, list)
  local mappings, reason, code = rendezvous.from_wire(list)
  assert.is_nil(mappings)
  assert.equal(expected, reason)
  assert.equal("EINVAL", code)
end

describe("p2pd.punch.rendezvous", function()
  describe("to_wire(), from_wire()", function()
    it("carry mappings", function()
      assert.same({ { 1000, 0, 2000 } }, rendezvous.to_wire { MAPPING })
      assert.same({ MAPPING }, rendezvous.from_wire(rendezvous.to_wire { MAPPING }))
      assert.same({}, rendezvous.from_wire {})
    end)

    it("leave out what is not known", function()
      assert.same({}, rendezvous.to_wire { { local_port = 1, reply_port = 2, external_port = 0 } })
    end)

    it("take as many as may be", function()
      local list = {}
      for i = 1, rendezvous.MAX_MAPPINGS do list[i] = { i, 0, i } end
      assert.equal(rendezvous.MAX_MAPPINGS, #rendezvous.from_wire(list))
    end)

    it("say what is wrong with a peer's", function()
      assert_fault("mappings: a list expected", 5)
      assert_fault("mappings[1]: three ports expected", { 5 })
      assert_fault("mappings[1]: three ports expected", { { 1, 2 } })
      assert_fault("mappings[2]: external port 0 is not 1 to 65535", { { 1, 0, 1 }, { 1, 0, 0 } })
      assert_fault("mappings[1]: external port 70000 is not 1 to 65535", { { 1, 0, 70000 } })
      assert_fault("mappings[1]: local port -1 is not 1 to 65535", { { -1, 0, 1 } })
      assert_fault("mappings[1]: local port 1.5 is not 1 to 65535", { { 1.5, 0, 1 } })
      assert_fault("mappings[1]: reply port 65536 is not 0 to 65535", { { 1, 65536, 1 } })
      assert_fault("mappings[1]: external port x is not 1 to 65535", { { 1, 0, "x" } })
    end)

    it("refuse ten thousand", function()
      local list = {}
      for i = 1, 10000 do list[i] = { 1, 0, 1 } end
      assert_fault("mappings: 10000 are more than 256", list)
    end)
  end)

  describe("delay()", function()
    local function check(expected, message, now, bound)
      local delay = rendezvous.delay(message, now, bound or 0.001)
      if expected then assert.near(expected, delay, 1e-9) else assert.is_true(delay > 0.1 and delay < 0.3) end
    end

    it("is what the clocks say", function() check(0.04, { time = 100, bound = 0.02 }, 100.04) end)

    it("is what the dialer has measured, where it has", function()
      check(0.03, { time = 100, delay = 0.03 }, 100.5)
    end)

    it("is a guess where the clocks can't be right", function()
      for _, now in ipairs { 99.5, 110, -1e9, math.huge } do
        check(nil, { time = 100, bound = 0.001 }, now)
      end
      check(nil, { time = 100, delay = 250 }, 100.04)
    end)

    it("is a guess where nobody knows how wrong they are", function()
      check(nil, { time = 100 }, 100.5)
      check(nil, { time = 100, bound = 0.001 }, 100.5, math.huge)
      check(nil, { time = 100, bound = 0.09 }, 100.5, 0.02)
    end)
  end)

  describe("plan()", function()
    it("waits for the answer's way, and little longer", function()
      for _, delay in ipairs { 0, 0.004, 0.04, 0.2, 0.63, 2 } do
        local wait, window = rendezvous.plan(delay)
        assert.is_true(wait > delay and wait <= 1.5 * delay + 0.05)
        assert.is_true(wait <= rendezvous.MAX_WAIT and window <= rendezvous.MAX_WINDOW)
        assert.is_true(window > 1 + 2 * delay) -- a SYN that was lost is sent again after a second
        assert.same({ wait, 2.85 }, { rendezvous.plan(delay, 2.85) })
      end
    end)
  end)

  describe("known_bound()", function()
    it("is nothing where it says nothing", function()
      assert.equal(0.5, rendezvous.known_bound(0.5))
      assert.is_nil(rendezvous.known_bound(math.huge))
    end)
  end)

  describe("until_instant()", function()
    local function answer(fields)
      local result = { wait = 0.07, window = 2, spent = 0.01 }
      for key, value in pairs(fields or {}) do result[key] = value end
      return result
    end

    it("takes half of the round trip off", function()
      local left, delay = rendezvous.until_instant(answer(), 0.09, 0, math.huge)
      assert.near(0.04, delay, 1e-9)
      assert.near(0.03, left, 1e-9)
    end)

    it("believes good clocks, which know about asymmetric ways", function()
      assert.near(0.05, rendezvous.until_instant(answer(), 0.09, 0.05, 0.001), 1e-9)
    end)

    it("never believes them beyond what the round trip allows", function()
      assert.near(0.07, rendezvous.until_instant(answer(), 0.09, 3600 * 24 * 365, 0.001), 1e-9)
      assert.equal(0, (rendezvous.until_instant(answer(), 0.09, -3600, 0.001)))
    end)

    it("is now when the answer was late", function()
      assert.equal(0, (rendezvous.until_instant(answer(), 3, 0, math.huge)))
    end)

    it("does not believe in a delay of more than 2 s", function()
      assert.equal(2, select(2, rendezvous.until_instant(answer(), 9, 0, math.huge)))
    end)

    it("does not mind absurd claims of time spent", function()
      local left, delay = rendezvous.until_instant(answer { spent = 200 }, 0.09, 0, math.huge)
      assert.equal(0, delay)
      assert.near(0.07, left, 1e-9)
    end)

    it("refuses to wait, or to go on, for long", function()
      local cases = { { wait = 5.1 }, { wait = -1 }, { window = 11 }, { window = 0 }, { wait = 0 / 0 } }
      for _, case in ipairs(cases) do
        local left, reason, code = rendezvous.until_instant(answer(case), 0.09, 0, 0)
        assert.is_nil(left)
        assert.matches("^the peer wants to ", reason)
        assert.equal("EBADMSG", code)
      end
    end)
  end)
end)
