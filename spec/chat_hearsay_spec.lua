local hearsay = require "p2pd.chat.hearsay"

describe("p2pd.chat.hearsay", function()
  local known

  before_each(function() known = hearsay.new() end)

  local function learn(via, id, nick)
    local who, what, was = known:learn(via, { id = id, nick = nick or id, hops = 1 })
    return who and who.via, what, was
  end

  it("knows a line that it has seen", function()
    assert.same({ true, false, true }, { known:is_new("a", 0), known:is_new("a", 1), known:is_new("b", 1) })
  end)

  it("remembers no more lines than so many", function()
    for i = 1, 10000 do known:is_new("line" .. i, 0) end
    assert.is_true(known:is_new("line1", 0))
    assert.is_false(known:is_new("line10000", 0))
  end)

  it("takes somebody's word who was the first to tell", function()
    assert.same({ "A", "joined" }, { learn("A", "C") })
    assert.same({ "A" }, { learn("A", "C") })
    assert.same({ "A" }, { learn("B", "C", "other") })
    assert.same({ "A", "renamed", "C" }, { learn("A", "C", "Cy") })
    assert.is_nil(known:forget("C", "B"))
    assert.equal("Cy", known:forget("C", "A").nick)
    assert.is_nil(known:forget "C")
    assert.same({ "B", "joined" }, { learn("B", "C") })
  end)

  it("loses those whom somebody has told of", function()
    learn("A", "C")
    learn("B", "D")
    local lost = known:lose "A"
    assert.same({ 1, "C" }, { #lost, lost[1].id })
    assert.same({}, known:lose "A")
    assert.equal("D", known.others.D.id)
  end)

  it("knows no more people than so many", function()
    for i = 1, 256 do learn("A", "N" .. i) end
    assert.is_nil((learn("A", "one-more")))
    known:forget "N1"
    assert.same({ "A", "joined" }, { learn("A", "one-more") })
  end)
end)
