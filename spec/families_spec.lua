local families = require "p2pd.families"

describe("p2pd.families", function()
  it("names both", function()
    for _, family in ipairs(families.ALL) do
      assert.is_string(families.TITLES[family])
      assert.equal(family, families.of(families.ANY[family]))
    end
  end)

  it("tells the family of an address", function()
    assert.same({ "ipv4", "ipv6", "ipv6" },
      { families.of "192.0.2.1", families.of "2001:db8::1", families.of "fe80::1%lo" })
    assert.is_nil(families.of "p2pd.example")
  end)
end)
