local endpoint = require "p2pd.endpoint"

describe("p2pd.endpoint", function()
  it("writes and reads both families", function()
    local cases = { { "192.0.2.1", 3478, "192.0.2.1:3478" }, { "2001:db8::1", 1, "[2001:db8::1]:1" } }
    for _, case in ipairs(cases) do
      local ip, port, text = table.unpack(case)
      assert.equal(text, endpoint.format(ip, port))
      assert.same({ ip, port }, { endpoint.parse(text) })
    end
  end)

  it("writes names too", function()
    assert.equal("stun.example:3478", endpoint.format("stun.example", 3478))
  end)

  it("reads an address in its canonical form, and the port as an integer", function()
    assert.same({ "2001:db8::1", 80 }, { endpoint.parse "[2001:0db8:0::0001]:80" })
    assert.equal("integer", math.type(select(2, endpoint.parse "192.0.2.1:80")))
  end)

  it("reads the port 0 where that is wanted", function()
    assert.same({ "127.0.0.1", 0 }, { endpoint.parse("127.0.0.1:0", 0) })
    assert.is_nil((endpoint.parse("127.0.0.1:65536", 0)))
  end)

  it("reads nothing else", function()
    for _, text in ipairs { "", "192.0.2.1", "192.0.2.1:", "192.0.2.1:0", "192.0.2.1:65536", "192.0.2.256:1",
      "2001:db8::1:80", "[192.0.2.1]:", "[zz]:1", "name:80", "192.0.2.1:8x", " 192.0.2.1:80",
      "[fe80::1%lo]:1" } do
      assert.is_nil((endpoint.parse(text)))
    end
  end)
end)
