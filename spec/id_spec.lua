local id = require "p2pd.id"

describe("p2pd.id", function()
  describe("new()", function()
    it("gives 22 characters of the base58 alphabet", function()
      for _ = 1, 100 do
        assert.matches("^[1-9A-HJ-NP-Za-km-z]+$", id.new())
        assert.equal(22, #id.new())
      end
    end)

    it("gives other lengths", function()
      assert.equal(1, #id.new(1))
      assert.equal(64, #id.new(64))
    end)

    it("never repeats itself", function()
      local seen = {}
      for _ = 1, 1000 do
        local new = id.new()
        assert.is_nil(seen[new])
        seen[new] = true
      end
    end)

    it("uses the whole alphabet, evenly", function()
      local counts, kinds = {}, 0
      for char in id.new(58 * 200):gmatch "." do counts[char] = (counts[char] or 0) + 1 end
      for _, count in pairs(counts) do
        kinds = kinds + 1
        assert.is_true(count > 100 and count < 320, count) -- 7 standard deviations from 200
      end
      assert.equal(58, kinds)
    end)
  end)

  describe("is_id()", function()
    it("takes 1 to 64 letters and digits", function()
      for _, good in ipairs { "a", "Z9", ("x"):rep(64), id.new() } do assert.is_true(id.is_id(good)) end
    end)

    it("refuses everything else", function()
      for _, bad in ipairs { "", ("x"):rep(65), "a b", "a\n", "\0", "a-b", "ä", 5, {}, true } do
        assert.is_false(id.is_id(bad))
      end
      assert.is_false(id.is_id(nil))
    end)
  end)
end)
