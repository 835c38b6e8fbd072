local core = require "p2pd.core"
local reach = require "p2pd.net.reach"

local TRUSTED = { is_trusted = true }
local OUTSIDE = "203.0.113.1"

local function route(fields)
  local r = { family = "ipv4", nic = "192.168.1.2", prefix = 24, external = OUTSIDE, external_known = true,
    loopback = false }
  for key, value in pairs(fields or {}) do r[key] = value end
  return r
end

local V6 = { family = "ipv6", nic = "2001:db8::2", prefix = 64, external = "2001:db8::2" }
local GLOBAL_V6 = { family = "ipv6", nic = "2606:4700::2", prefix = 64, external = "2606:4700::2" }
local LO = { nic = "127.0.0.1", prefix = 8, external = "127.0.0.1", loopback = true }

describe("p2pd.net.reach", function()
  local function check(ours, who, external, allowed, refused)
    return function()
      for _, ip in ipairs(allowed) do assert.is_true(reach.check(route(ours), ip, who, external), ip) end
      for _, ip in ipairs(refused) do
        local ok, reason, code = reach.check(route(ours), ip, who, external)
        assert.is_nil(ok, ip)
        assert.matches("^%S* is ", reason)
        assert.equal("EACCES", code)
      end
    end
  end

  it("allows a stranger the internet, and nothing of ours", check({}, nil, OUTSIDE,
    { "198.51.100.1", "8.8.8.8" },
    { "192.168.1.77", "192.168.2.1", "10.0.0.1", "172.16.0.1", "100.64.0.1", "169.254.169.254",
      "192.168.1.2", OUTSIDE }))
  it("allows a trusted peer our LAN when he is seen where we are", check({}, TRUSTED, OUTSIDE,
    { "198.51.100.1", "192.168.1.77", OUTSIDE }, { "192.168.2.1", "10.0.0.1", "192.168.1.2" }))
  it("does not when he is seen elsewhere", check({}, TRUSTED, "198.51.100.7", {},
    { "192.168.1.77", OUTSIDE, "192.168.1.2" }))
  it("refuses this machine", check({}, TRUSTED, OUTSIDE, {}, { "127.0.0.1", "127.9.9.9", "192.168.1.2" }))
  it("allows this machine to a node that uses lo", check(LO, nil, nil, { "127.0.0.1", "127.0.0.5" }, {}))
  it("refuses what is many machines, or none", check({}, TRUSTED, OUTSIDE, {},
    { "224.0.0.1", "255.255.255.255", "0.0.0.0", "0.1.2.3", "239.1.2.3", "192.168.1.255", "192.168.1.0",
      "240.0.0.1", "250.1.2.3" }))
  it("refuses another family and what is no address", check({}, TRUSTED, nil, {},
    { "2001:db8::1", "localhost", "" }))
  it("knows the same of IPv6", check(V6, nil, "2001:db8:1::1", { "2001:db8:1::1" },
    { "2001:db8::5", "fe80::5%eth0", "::1", "ff02::1", "::", "fd00::1", "8.8.8.8", "2001:db8::2" }))
  it("and of its LAN", check(V6, TRUSTED, "2001:db8::5", { "2001:db8::5", "fe80::5%eth0" }, {}))
  it("allows inner addresses where they are the outside", check({ external = "10.9.0.1" }, nil, nil,
    { "10.7.7.7" }, { "127.0.0.1", "10.9.0.1", "192.168.1.9" }))
  it("refuses what nobody routes, but for the addresses of examples", check({}, nil, nil,
    { "8.8.8.8", "203.0.113.77", "192.0.2.1" }, { "240.0.0.1", "192.0.0.8", "198.18.0.1", "0.1.2.3" }))
  it("refuses IPv6 addresses that lead to inner IPv4 ones", check(GLOBAL_V6, nil, nil,
    { "64:ff9b::808:808", "2002:808:808::1" }, { "::ffff:127.0.0.1", "::7f00:1", "64:ff9b::7f00:1",
      "64:ff9b::c0a8:701", "64:ff9b:1::a00:1", "2002:7f00:1::", "2002:c0a8:701::1", "fec0::1",
      "2001:0:808:808::f5ff:fffe", "2001:0:a00:1::f7f7:f7f7", "2001:db8:1::5efe:10.0.0.1" }))
  it("refuses them when nobody has said so",
    check({ external = "192.168.1.2", external_known = false }, nil, nil, {}, { "10.7.7.7" }))
  it("allows what our user has typed, but for this machine's loopback and what is many machines",
    check({}, { typed = { ["192.168.1.2"] = true, ["127.0.0.1"] = true, ["192.168.1.255"] = true } }, nil,
      { "192.168.1.2" }, { "127.0.0.1", "192.168.1.255", "192.168.1.3" }))

  it("knows the addresses of interfaces that the node does not use", function()
    for _, netif in ipairs(core.netif.list()) do
      for _, record in ipairs(netif.ipv4) do
        assert.is_nil((reach.check(route(), record.ip, TRUSTED, OUTSIDE)))
      end
    end
  end)
end)
