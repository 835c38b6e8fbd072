local expiring_map = require "p2pd.expiring_map"

local function count(m)
  local n = 0
  for _, generation in ipairs { m.young, m.old } do
    for _ in pairs(generation) do n = n + 1 end
  end
  return n
end

describe("p2pd.expiring_map", function()
  it("remembers as many as it must, and not many more", function()
    local m = expiring_map.new(100)
    for i = 1, 1000 do m:set(i, -i, 0) end
    for i = 901, 1000 do assert.equal(-i, m:get(i)) end
    assert.is_nil(m:get(700))
    assert.is_true(count(m) <= 200)
  end)

  it("remembers for as long as it must, and not much longer", function()
    local m = expiring_map.new(100, 10)
    m:set("a", 1, 0)
    m:set("b", 2, 9.9)
    m:set("c", 3, 10)
    assert.same({ 1, 2, 3 }, { m:get "a", m:get "b", m:get "c" })
    m:set("d", 4, 20)
    assert.same({ nil, nil, 3, 4 }, { m:get "a", m:get "b", m:get "c", m:get "d" })
    m:set("e", 5, 1000)
    assert.same({ nil, 5 }, { m:get "d", m:get "e" })
  end)

  it("replaces and forgets", function()
    local m = expiring_map.new(2)
    m:set("a", 1, 0)
    m:set("a", 2, 0)
    m:set("b", 3, 0)
    assert.same({ 2, 3 }, { m:get "a", m:get "b" })
    m:set("c", 4, 0)
    m:remove "a"
    m:remove "c"
    m:remove "nothing"
    assert.same({ nil, 3, nil }, { m:get "a", m:get "b", m:get "c" })
  end)
end)
