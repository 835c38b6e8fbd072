local bucket = require "p2pd.limit.bucket"

local function take(b, count, now)
  local taken = 0
  for _ = 1, count do
    if b:take(now) then taken = taken + 1 end
  end
  return taken
end

describe("p2pd.limit.bucket", function()
  it("gives its burst at once, and then its rate", function()
    local b = bucket.new(10, 25)
    assert.equal(25, take(b, 100, 5))
    assert.equal(0, take(b, 100, 5.05))
    assert.equal(1, take(b, 100, 5.11))
    assert.equal(10, take(b, 100, 6.11))
  end)

  it("never holds more than its burst", function()
    local b = bucket.new(10, 3)
    assert.equal(3, take(b, 10, 0))
    assert.equal(3, take(b, 10, 1e6))
  end)

  it("loses nothing to those who are refused", function()
    local b = bucket.new(1, 1)
    assert.equal(1, take(b, 1, 0))
    for i = 1, 9 do assert.is_false(b:take(i / 10)) end
    assert.is_true(b:take(1.01))
  end)
end)
