local field = require "p2pd.signal.field"

-- Every legal value, and every illegal one.
local function check(is_legal, legal, illegal)
  for _, value in ipairs(legal) do assert.is_true(is_legal(value)) end
  for _, value in ipairs(illegal) do assert.is_false(is_legal(value)) end
end

describe("p2pd.signal.field", function()
  it("knows ids", function() check(field.id, { "a", "A9" }, { "", "a b", 5, ("x"):rep(65), {} }) end)
  it("knows flags", function() check(field.flag, { true, false }, { 0, "true", {} }) end)
  it("knows hexadecimal", function() check(field.hex, { "", "00ff" }, { "0", "0g", "AB", 5, {} }) end)
  it("knows texts", function() check(field.text(3), { "", "abc" }, { "abcd", 5, {} }) end)

  it("knows whole numbers", function()
    check(field.integer(1, 3), { 1, 3 }, { 0, 4, 1.5, 1.0, "1", {} })
  end)

  it("knows numbers", function()
    check(field.number(0, 60), { 0, 60, 1.5 }, { -1, 60.1, 0 / 0, "1", {} })
    check(field.number(), { -1e300, 0 }, { math.huge, -math.huge, 0 / 0 })
  end)

  it("knows what may be missing", function()
    assert.is_true(field.optional(field.flag)(nil))
    check(field.optional(field.flag), { true }, { 5 })
  end)
end)
