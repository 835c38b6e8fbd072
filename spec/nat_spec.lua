local nat = require "p2pd.nat"

local INDEPENDENT, ADDRESS, PORT = table.unpack(nat.BEHAVIOURS)

-- What a server at ip:port saw of us.
local function saw(ip, port, mapped)
  return { ip = ip, port = port, mapped = { ip = "192.0.2.1", port = mapped } }
end

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

  describe("vote()", function()
    it("gives what most have, and how many", function()
      assert.same({ "b", 2 }, { nat.vote({ "a", "b", "b" }, 3) })
      assert.same({ true, 2 }, { nat.vote({ true, nil, false, true }, 4) })
      assert.same({ false, 1 }, { nat.vote({ nil, false }, 2) })
      assert.same({ "a", 3 }, { nat.vote({ "a", "b", "b", "a", "a" }, 5) })
    end)

    it("gives nothing when it is even, or nobody votes", function()
      for _, list in ipairs { { "a", "b" }, { "a", "b", "b", "a" }, { "a", "a", "b", "c", "b" }, {} } do
        assert.same({ nil, 0 }, { nat.vote(list, #list) })
      end
    end)
  end)

  describe("mapping()", function()
    local CASES = {
      { "the same everywhere", INDEPENDENT, saw("1.1.1.1", 1, 9), saw("2.2.2.2", 1, 9) },
      { "another for each address", ADDRESS, saw("1.1.1.1", 1, 9), saw("1.1.1.1", 2, 9),
        saw("2.2.2.2", 1, 8) },
      { "another for each port", PORT, saw("1.1.1.1", 1, 9), saw("1.1.1.1", 2, 7), saw("2.2.2.2", 1, 8) },
      { "the same for addresses, another for ports", PORT, saw("1.1.1.1", 1, 9), saw("2.2.2.2", 1, 9),
        saw("1.1.1.1", 2, 8) },
    }
    for _, case in ipairs(CASES) do
      it("knows " .. case[1], function()
        assert.same({ case[2] }, { nat.mapping { table.unpack(case, 3) } })
      end)
    end

    it("says what it can't know", function()
      local word, gap = nat.mapping { saw("1.1.1.1", 1, 9), saw("1.1.1.1", 2, 9) }
      assert.is_nil(word)
      assert.matches("only one server address", gap)
      word, gap = nat.mapping { saw("1.1.1.1", 1, 9), saw("2.2.2.2", 1, 8) }
      assert.equal(PORT, word)
      assert.matches("port as well is not known", gap)
      assert.is_nil((nat.mapping {}))
    end)

    it("is conclusive when nothing is missing", function()
      assert.is_true(nat.is_conclusive { saw("1.1.1.1", 1, 9), saw("2.2.2.2", 1, 9) })
      assert.is_false(nat.is_conclusive { saw("1.1.1.1", 1, 9), saw("2.2.2.2", 1, 8) })
      assert.is_false(nat.is_conclusive { saw("1.1.1.1", 1, 9) })
      assert.is_false(nat.is_conclusive {})
    end)

    it("counts another external address as another mapping", function()
      local other = saw("2.2.2.2", 1, 9)
      other.mapped.ip = "192.0.2.2"
      assert.equal(PORT, (nat.mapping { saw("1.1.1.1", 1, 9), other }))
    end)
  end)

  it("filtering() follows the tests of RFC 5780", function()
    assert.equal(INDEPENDENT, nat.filtering { both = true, port = true })
    assert.equal(ADDRESS, nat.filtering { both = false, port = true })
    assert.equal(PORT, nat.filtering { both = false, port = false })
    assert.is_nil(nat.filtering { both = false })
    assert.is_nil(nat.filtering { port = false })
    assert.is_nil(nat.filtering {})
  end)

  it("classify() follows the tree of RFC 3489", function()
    local TREE = {
      { false, INDEPENDENT, INDEPENDENT, "open internet" },
      { false, INDEPENDENT, ADDRESS, "symmetric UDP firewall" },
      { false, INDEPENDENT, PORT, "symmetric UDP firewall" },
      { false, INDEPENDENT, nil, "symmetric UDP firewall" },
      { true, INDEPENDENT, INDEPENDENT, "full cone" },
      { true, INDEPENDENT, ADDRESS, "address-restricted" },
      { true, INDEPENDENT, PORT, "port-restricted" },
      { true, INDEPENDENT, nil, "port-restricted" },
      { true, ADDRESS, PORT, "symmetric" },
      { true, PORT, INDEPENDENT, "symmetric" },
      { true, nil, nil, "symmetric" },
    }
    for _, row in ipairs(TREE) do
      assert.equal(row[4], nat.TYPES[nat.classify(row[1], row[2], row[3])])
    end
  end)
end)
