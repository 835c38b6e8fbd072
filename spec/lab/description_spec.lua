local description = require "p2pd.lab.description"
local words = require "p2pd.lab.words"

describe("p2pd.lab.description", function()
  local function check_nat(nat)
    local checked, fault = description.check { hosts = { a = { nats = { nat } } } }
    return checked and checked.hosts[1].interfaces[1].nats[1], fault
  end

  it("takes words in any spelling, and numbers", function()
    for _, kind in ipairs { "port-restricted", "port restricted", "Port-Restricted", 5 } do
      assert.equal("port-restricted", check_nat({ type = kind }).type)
    end
    assert.equal("symmetric UDP firewall", check_nat({ type = "symmetric-udp-firewall" }).type)
    assert.equal("open internet", check_nat({ type = "open" }).type)
    assert.equal("independent", check_nat({ type = 3, delta = 4 }).delta)
  end)

  it("fills in what a NAT leaves out", function()
    local nat = check_nat { type = "port-restricted" }
    assert.same({ "equal", 0, "drop", false, true, true },
      { nat.delta, nat.value, nat.unsolicited, nat.hairpin, nat.udp, nat.translates })
    assert.equal("random", check_nat({ type = "symmetric" }).delta)
    assert.equal("not applicable", check_nat({ type = "open" }).delta)
    assert.is_false(check_nat({ type = "blocked" }).udp)
    assert.equal(1, check_nat({ type = "full cone", delta = "dependent" }).value)
  end)

  it("lets TCP differ", function()
    local tcp = { type = "port-restricted", delta = "dependent", value = 2 }
    local nat = check_nat { type = "symmetric", tcp = tcp }
    assert.same({ "symmetric", "random", "port-restricted", "dependent", 2 },
      { nat.type, nat.delta, nat.tcp.type, nat.tcp.delta, nat.tcp.value })
  end)

  it("reads latencies both ways", function()
    local lab = assert(description.check { hosts = { a = { latency = 0.02, down = 0.01, jitter = 0.001 } } })
    local link = lab.hosts[1].interfaces[1]
    assert.same({ 0.02, 0.01, 0.001, 0 }, { link.up, link.down, link.jitter, link.loss })
    assert.same({ up = 0.05, down = 0.05, jitter = 0.001, loss = 0.5 },
      description.check_link({ latency = 0.05, loss = 0.5 }, link))
    assert.same({ nil, "link.latency: -1 is not a number from 0 to 60" },
      { description.check_link({ latency = -1 }, link) })
  end)

  local function nats(nat) return { hosts = { a = { nats = { nat } } } } end

  it("takes hosts of IPv6 alone, and NATs that lead them to IPv4", function()
    local checked = assert(description.check { hosts = {
      a = { ipv4 = false, ipv6 = true, nats = { { type = "port-restricted", nat64 = true } } }, b = {} },
      servers = { stuns = 1 } })
    assert.same({ false, true, true, true }, { checked.hosts[1].ipv4, checked.hosts[2].ipv4,
      checked.hosts[1].interfaces[1].nats[1].nat64, checked.servers.ipv6 })
    assert.is_false(description.check({ hosts = { b = {} } }).servers.ipv6)
    assert.same({ { type = "symmetric", nat64 = true } }, words.parse "symmetric/nat64")
  end)

  -- fault -> description
  local FAULTS = {
    ["hosts.a.ipv4: without IPv6 there is no address left"] = { hosts = { a = { ipv4 = false } } },
    ['hosts.a.nats[1].nat64: "open internet" translates nothing, so IPv6 cannot become IPv4 there'] =
      nats { type = "open", nat64 = true },
    ["servers.ipv6: 1 is not true or false"] = { hosts = { a = {} }, servers = { ipv6 = 1 } },
    ["hosts: nil is not a table"] = {},
    ["hosts: a lab has at least one"] = { hosts = {} },
    ['lab: no field is called "host"'] = { host = {} },
    ['hosts: "a b" is not a name of letters, digits and _'] = { hosts = { ["a b"] = {} } },
    ['hosts.a: no field is called "nat"'] = { hosts = { a = { nat = {} } } },
    ["hosts.a.nats: 3 entries are more than 2"] = { hosts = { a = { nats = { {}, {}, {} } } } },
    ['hosts.a.nats: "type" is no place in a list'] = { hosts = { a = { nats = { type = 5 } } } },
    ["hosts.a.nats[1].type: no NAT type is called nil"] = nats {},
    ['hosts.a.nats[1].type: no NAT type is called "odd"'] = nats { type = "odd" },
    ["hosts.a.nats[1].type: no NAT type is called 8"] = nats { type = 8 },
    ['hosts.a.nats[1].delta: no delta is called "odd"'] = nats { type = 5, delta = "odd" },
    ['hosts.a.nats[1].delta: "open internet" translates no port, so it has no delta'] =
      nats { type = 1, delta = 2 },
    ['hosts.a.nats[1].delta: a NAT of the type "full cone" translates ports, so it has a delta'] =
      nats { type = 3, delta = 1 },
    ["hosts.a.nats[1].value: a delta that is independent has a value"] =
      nats { type = 3, delta = 4, value = 0 },
    ["hosts.a.nats[1].value: a delta that is random has no value"] = nats { type = 3, delta = 6, value = 2 },
    ["hosts.a.nats[1].value: 1.5 is not an integer from -1000 to 1000"] =
      nats { type = 3, delta = 4, value = 1.5 },
    ['hosts.a.nats[1].unsolicited: "tarpit" is not "drop", "rst" or "icmp"'] =
      nats { type = 5, unsolicited = "tarpit" },
    ['hosts.a.nats[1].port_mapping: "upnp" is not igd, natpmp or pcp'] =
      nats { type = 5, port_mapping = "igd,upnp" },
    ['hosts.a.nats[1].port_mapping: 1 is not a list such as "igd,natpmp,pcp"'] =
      nats { type = 5, port_mapping = 1 },
    ["hosts.a.nats[1].hairpin: 1 is not true or false"] = nats { type = 5, hairpin = 1 },
    ['hosts.a.nats[1].hairpin: "open internet" translates nothing, so there is nothing to turn back'] =
      nats { type = 1, hairpin = true },
    ["hosts.a.nats[1].ports: with a delta that is equal the local port decides"] =
      nats { type = 5, ports = { 1024, 2048 } },
    ["hosts.a.nats[1].ports[2]: 0 is not an integer from 2048 to 65535"] =
      nats { type = 5, delta = 6, ports = { 2048 } },
    ["hosts.a.nats[1].tcp.type: a NAT translates both UDP and TCP, or neither"] =
      nats { type = 5, tcp = { type = 1 } },
    ['hosts.a.nats[1].tcp: no field is called "unsolicited"'] =
      nats { type = 5, tcp = { unsolicited = "rst" } },
    ["hosts.a.latency: -1 is not a number from 0 to 60"] = { hosts = { a = { latency = -1 } } },
    ["hosts.a.loss: 2 is not a number from 0 to 1"] = { hosts = { a = { loss = 2 } } },
    ["hosts.a.firewall: stands for `nats`, and can't be beside it"] =
      { hosts = { a = { firewall = true, nats = {} } } },
    ["hosts.a.latency: belongs into each of `interfaces`"] =
      { hosts = { a = { interfaces = { {} }, latency = 1 } } },
    ["hosts.a.interfaces: a host has at least one"] = { hosts = { a = { interfaces = {} } } },
    ['hosts.a.interfaces[2].nats[1].type: no NAT type is called "odd"'] =
      { hosts = { a = { interfaces = { {}, { nats = { { type = "odd" } } } } } } },
    ['hosts.d.lan: no host is called "a"'] = { hosts = { d = { lan = "a" } } },
    ['hosts.d.lan: "a" has a public address, and no LAN'] = { hosts = { a = {}, d = { lan = "a" } } },
    ['hosts.e.lan: "d" is on the LAN of "a": name that one'] =
      { hosts = { a = { nats = { { type = 5 } } }, d = { lan = "a" }, e = { lan = "d" } } },
    ["hosts.d.latency: a host on another's LAN has what that one has"] =
      { hosts = { a = { nats = { { type = 5 } } }, d = { lan = "a", latency = 1 } } },
    ['servers: no field is called "stun"'] = { hosts = { a = {} }, servers = { stun = 1 } },
    ["servers.stuns: -1 is not an integer from 0 to 32"] = { hosts = { a = {} }, servers = { stuns = -1 } },
  }
  for fault, wanted in pairs(FAULTS) do
    it("refuses, saying: " .. fault, function()
      assert.same({ nil, fault }, { description.check(wanted) })
    end)
  end

  it("refuses what a symmetric NAT can't do", function()
    for _, delta in ipairs { "equal", "preserving", "dependent" } do
      local _, fault = check_nat { type = "symmetric", delta = delta }
      assert.matches("^hosts.a.nats%[1%].delta: a symmetric NAT has a new port for each destination", fault)
    end
  end)
end)

describe("p2pd.lab.words", function()
  it("reads NATs, the inner one first", function()
    assert.same({}, words.parse "open")
    assert.same({ { type = "symmetric" } }, words.parse "symmetric")
    local cone = { type = "full-cone", delta = "independent", value = 3, unsolicited = "rst", hairpin = true }
    assert.same({ cone, { type = "firewall" } }, words.parse "full-cone/independent/3/rst/hairpin+firewall")
  end)

  it("reads by which protocols ports are mapped", function()
    assert.same({ { type = "full-cone", port_mapping = "igd,pcp" } }, words.parse "full-cone/igd/pcp")
  end)

  it("says what it does not understand", function()
    assert.same({ nil, "a NAT has a type" }, { words.parse "" })
    assert.same({ nil, "a NAT has a type" }, { words.parse "symmetric+" })
    assert.same({ nil, '"symetric" is no type of NAT; there are: open, firewall, full-cone, '
      .. "address-restricted, port-restricted, symmetric, blocked" }, { words.parse "symetric" })
    assert.same({ nil, '"loud" is no delta, value, drop, rst, icmp, hairpin, igd, natpmp, pcp or nat64' },
      { words.parse "symmetric/loud" })
  end)

  it("describes them", function()
    local nats = words.parse "full-cone/dependent/2+firewall/rst"
    local lab = assert(description.check { hosts = { a = { nats = nats } } })
    assert.equal("full cone, dependent delta of 2, drop; then symmetric UDP firewall, rst",
      words.describe(lab.hosts[1].interfaces[1].nats))
    assert.equal("no NAT", words.describe {})
  end)
end)
