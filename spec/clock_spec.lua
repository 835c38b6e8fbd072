local clock = require "p2pd.clock"

describe("p2pd.clock", function()
  describe("monotonic()", function()
    it("never goes back", function()
      local last = clock.monotonic()
      for _ = 1, 1000 do
        local now = clock.monotonic()
        assert.is_true(now >= last)
        last = now
      end
    end)
  end)

  describe("now()", function()
    it("is in seconds since 1970, with fractions", function()
      local before = os.time()
      local now = clock.now()
      assert.equal("float", math.type(now))
      assert.is_true(now >= before and now < os.time() + 1)
    end)
  end)
end)
