local refusals = require "p2pd.limit.refusals"

describe("p2pd.limit.refusals", function()
  local lines, r

  before_each(function()
    lines = {}
    r = refusals.new(function(level, line) lines[#lines + 1] = level .. " " .. line end)
  end)

  it("counts each, and tells once of each reason and peer", function()
    for _ = 1, 1000 do
      r:note("forged", "eve", "%s: %s", "eve", "forged")
      r:note("forged", "mallory", "%s: %s", "mallory", "forged")
      r:note("expired", "eve", "%s: %s", "eve", "expired")
    end
    assert.same({ forged = 2000, expired = 1000 }, r.counts)
    assert.same({ "info eve: forged", "info mallory: forged", "info eve: expired" }, lines)
  end)

  it("tells only so much of thousands of peers, and how much it left out", function()
    for i = 1, 5000 do r:note("forged", "peer" .. i, "%s", i) end
    assert.is_true(#lines <= 21)
    r.lines.tokens = 1
    r:note("forged", "new", "%s", "new")
    assert.matches("^info new %(and %d+ refusals since the last line%)$", lines[#lines])
    assert.equal(5001, r.counts.forged)
  end)
end)
