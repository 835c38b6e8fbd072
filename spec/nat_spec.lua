local nat = require "p2pd.nat"

describe("p2pd.nat", function()
  it("names types and deltas both ways", function()
    for _, words in ipairs { nat.TYPES, nat.DELTAS } do
      for number, word in ipairs(words) do assert.equal(number, words[word]) end
    end
    assert.equal(7, #nat.TYPES)
    assert.equal(6, #nat.DELTAS)
    assert.equal("port-restricted", nat.TYPES[5])
    assert.equal("random", nat.DELTAS[6])
  end)

  it("has no NAT and an unknown one", function()
    assert.same({ type = 1, delta = 1, value = 0 }, nat.open())
    assert.same({ type = 6, delta = 6, value = 0 }, nat.unknown())
  end)
end)
