local list = require "p2pd.list"

local function is_even(n) return n % 2 == 0 end

describe("p2pd.list", function()
  it("filter() keeps the order, and leaves the list alone", function()
    local numbers = { 1, 4, 3, 2 }
    assert.same({ 4, 2 }, list.filter(numbers, is_even))
    assert.same({ 1, 4, 3, 2 }, numbers)
    assert.same({}, list.filter({}, is_even))
  end)

  it("map() tells the length although there are holes", function()
    local votes, n = list.map({ 1, 2, 3 }, function(v) return is_even(v) and v * 10 or nil end)
    assert.equal(3, n)
    assert.same({ nil, 20, nil }, { votes[1], votes[2], votes[3] })
  end)

  it("append() appends", function()
    local to = { 1 }
    assert.equal(to, list.append(to, { 2, 3 }))
    assert.same({ 1, 2, 3 }, to)
  end)
end)
