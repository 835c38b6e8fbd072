local strategy = require "p2pd.strategy"

describe("p2pd.strategy", function()
  describe("find()", function()
    it("finds ours by name", function()
      for _, name in ipairs(strategy.NAMES) do
        assert.equal(require("p2pd.strategy." .. name), strategy.find(name))
      end
    end)

    it("takes a module as it is", function()
      local module = { dial = function() end }
      assert.equal(module, strategy.find(module))
    end)

    it("refuses what is no strategy", function()
      assert.error_matches(function() strategy.find "teleport" end, '^no strategy "teleport"$')
      assert.error_matches(function() strategy.find {} end, "^a strategy is a name, or a module")
      assert.error_matches(function() strategy.find(5) end, "^a strategy is a name, or a module")
    end)
  end)

  it("knows which names there are", function()
    for _, name in ipairs { "direct", "reverse", "punch", "relay" } do
      assert.is_true(strategy.exists(name))
    end
    assert.is_false(strategy.exists "teleport")
  end)

  it("has the relay among the usual ones only for who has a TURN server", function()
    local function has_relay(settings)
      return table.concat(strategy.usual(settings), " "):find "relay" ~= nil
    end
    assert.is_false(has_relay { turn = {} })
    assert.is_true(has_relay { turn = { { host = "127.0.0.1", port = 3478 } } })
    assert.same({ "direct", "reverse" }, { table.unpack(strategy.usual {}, 1, 2) })
  end)

  it("names modules", function()
    assert.equal("direct", strategy.name_of "direct")
    assert.equal("mine", strategy.name_of { name = "mine" })
    assert.equal("custom", strategy.name_of {})
  end)
end)
