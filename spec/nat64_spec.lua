local core = require "p2pd.core"
local helper = require "spec.helper"

local nat64 = core.nat64

-- RFC 6052 section 2.4: 192.0.2.33 by prefixes of every length.
local VECTORS = {
  { "2001:db8::/32", "2001:db8:c000:221::" },
  { "2001:db8:100::/40", "2001:db8:1c0:2:21::" },
  { "2001:db8:122::/48", "2001:db8:122:c000:2:2100::" },
  { "2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::" },
  { "2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100:0" },
  { "2001:db8:122:344::/96", "2001:db8:122:344::c000:221" },
  { "64:ff9b::/96", "64:ff9b::c000:221" },
}

local function raises(pattern, fn, ...)
  local ok, reason = pcall(fn, ...)
  assert.is_false(ok)
  assert.matches(pattern, reason)
end

describe("p2pd.core.nat64", function()
  after_each(nat64.forget)

  it("embeds an IPv4 address and takes it out again", function()
    for _, vector in ipairs(VECTORS) do
      local prefix, made = table.unpack(vector)
      assert.equal(made, nat64.embed(prefix, "192.0.2.33"))
      assert.equal("192.0.2.33", nat64.extract(prefix, made))
    end
  end)

  it("takes nothing out of an address with another prefix", function()
    assert.is_nil(nat64.extract("64:ff9b::/96", "2001:db8::c000:221"))
    assert.is_nil(nat64.extract("64:ff9b::/96", "192.0.2.33"))
    assert.is_nil(nat64.extract("2001:db8:122:344::/64", "2001:db8:122:344:ffc0:2:2100::"))
  end)

  it("finds the prefix of an address that was made for ipv4only.arpa", function()
    for _, vector in ipairs(VECTORS) do
      for _, ip in ipairs { "192.0.0.170", "192.0.0.171" } do
        assert.equal(vector[1], nat64.find(nat64.embed(vector[1], ip)))
      end
      assert.is_nil(nat64.find(vector[2]))
    end
    assert.is_nil(nat64.find "192.0.0.170")
  end)

  it("keeps the network's prefix", function()
    assert.is_nil(nat64.prefix())
    nat64.use "64:ff9b:1::/48"
    assert.equal("64:ff9b:1::/48", nat64.prefix())
    nat64.use(nil)
    assert.is_nil(nat64.prefix())
    nat64.use "64:ff9b::/96"
    nat64.forget()
    assert.is_nil(nat64.prefix())
  end)

  it("refuses what is no prefix or no address", function()
    local bad = { "64:ff9b::", "64:ff9b::/95", "64:ff9b::/128", "1.2.3.0/32", "x/96", "/96",
      ("1"):rep(60) .. "/96" }
    for _, prefix in ipairs(bad) do
      raises("an IPv6 prefix of", nat64.use, prefix)
      raises("an IPv6 prefix of", nat64.embed, prefix, "192.0.2.1")
    end
    raises("an IPv4 address expected", nat64.embed, "64:ff9b::/96", "::1")
    raises("is not an IP address", nat64.find, "host")
    raises("is not an IP address", nat64.extract, "64:ff9b::/96", "::1\0")
  end)

  it("leaves what can be reached as it is, and IPv6 lookups without IPv4", helper.task(function()
    nat64.use "64:ff9b::/96"
    assert.same({ "127.0.0.1" }, core.inet.resolve "127.0.0.1")
    assert.same({ "10.1.2.3" }, core.inet.resolve("10.1.2.3", "any"))
    assert.equal("ENOENT", select(3, core.inet.resolve("127.0.0.1", "ipv6")))
  end))

  it("translates nothing for sockets of IPv4, and no inner address", helper.task(function()
    nat64.use "64:ff9b::/96"
    local socket <close> = assert(core.udp.bind { ip = "::1" })
    assert.equal("EAFNOSUPPORT", select(3, socket:sendto("x", "127.0.0.1", 9)))
    assert.equal("EAFNOSUPPORT", select(3, socket:sendto("x", "10.0.0.1", 9)))
    local plain <close> = assert(core.udp.bind { ip = "127.0.0.1" })
    local other <close> = assert(core.udp.bind { ip = "127.0.0.1" })
    local _, port = other:getsockname()
    assert(plain:sendto("x", "127.0.0.1", port))
    assert.equal("x", (other:recvfrom(1)))
  end))
end)
