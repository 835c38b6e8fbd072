local core = require "p2pd.core"
local deadline = require "p2pd.deadline"

describe("p2pd.deadline", function()
  it("after() is so many seconds away", function()
    local d = deadline.after(100)
    assert.is_false(d:has_passed())
    assert.is_true(d:left() > 0 and d:left() <= 100)
    assert.equal(5, d:left(5))
  end)

  it("has passed when nothing is left", function()
    local d = deadline.after(0)
    assert.is_true(d:has_passed())
    assert.equal(0, d:left())
    assert.equal(0, deadline.at(core.clock.monotonic() - 3):left(7))
  end)

  it("never comes without seconds", function()
    local d = deadline.after()
    assert.is_false(d:has_passed())
    assert.is_nil(d:left())
    assert.equal(2, d:left(2))
  end)
end)
