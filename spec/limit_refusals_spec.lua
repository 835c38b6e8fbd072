local refusals = require "p2pd.limit.refusals"

describe("p2pd.limit.refusals", function()
  local lines, r, room

  before_each(function()
    lines, room = {}, 20
    r = refusals.new {
      write = function(level, line) lines[#lines + 1] = level .. " " .. line end,
      may_write = function()
        room = room - 1
        return room >= 0
      end,
    }
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
    assert.equal(20, #lines)
    room = 1
    r:note("forged", "new", "%s", "new")
    assert.matches("^info new %(and %d+ refusals since the last line%)$", lines[#lines])
    assert.equal(5001, r.counts.forged)
  end)

  it("tells of an error with its traceback once a minute", function()
    for i = 1, 200 do r:note_error("strategy punch failed", "no idea " .. i .. "\nstack traceback: ...") end
    assert.same({ "error strategy punch failed: no idea 1\nstack traceback: ..." }, lines)
    assert.equal(200, r.counts.error)
  end)

  it("prints nothing that a terminal would act on", function()
    r:note("forged", "eve", "%s", "\27[2Ja\u{9b}2J\u{202e}b\xffc\n")
    assert.same({ "info ?[2Ja?2J?b?c?" }, lines)
  end)
end)
