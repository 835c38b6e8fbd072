local choice = require "p2pd.stun.choice"

local function servers(capable, others)
  local result = {}
  for i = 1, capable + others do
    result[i] = { host = "h" .. i, port = 1, behaviour = i <= capable or nil }
  end
  return result
end

local function count(order, first, last)
  local n = 0
  for i = first, last do n = n + (order[i].behaviour and 1 or 0) end
  return n
end

describe("p2pd.stun.choice", function()
  it("leaves a few as they are", function()
    local few = servers(1, 3)
    assert.equal(few, choice.order(few))
  end)

  it("takes all of them, once each", function()
    local seen, all = {}, servers(5, 4)
    for _, one in ipairs(choice.order(all)) do seen[one] = (seen[one] or 0) + 1 end
    for _, one in ipairs(all) do assert.equal(1, seen[one]) end
  end)

  it("begins with some that are said to tell behaviour, and some others", function()
    for _ = 1, 20 do
      assert.equal(2, count(choice.order(servers(5, 4)), 1, 4))
      assert.equal(3, count(choice.order(servers(5, 1)), 1, 4))
      assert.equal(0, count(choice.order(servers(0, 9)), 1, 9))
      assert.equal(1, count(choice.order(servers(1, 9)), 1, 4))
      assert.equal(9, count(choice.order(servers(9, 0)), 1, 9))
    end
  end)

  it("gives each its turn", function()
    local all, firsts = servers(4, 4), {}
    for _ = 1, 400 do firsts[choice.order(all)[1]] = true end
    for i = 1, 4 do assert.is_true(firsts[all[i]]) end
  end)
end)
