local json = require "dkjson"
local report = require "p2pd.netcheck.report"

local NAT = { type = 5, delta = 4, value = 3, mapping = "endpoint-independent",
  filtering = "address-and-port-dependent", tcp_mapping = "endpoint-independent", hairpin = false,
  missing = { "something" } }

local function found()
  return {
    interfaces = { { name = "eth0" }, { name = "eth1" } },
    left_out = { "eth2 is down" }, notes = { "a note" },
    routes = {
      { name = "eth0", family = "ipv4", nic = "10.0.0.2", external = "192.0.2.1", external_known = true,
        way = 1, shared = { "10.0.0.3" }, nat = NAT },
      { name = "eth0", family = "ipv4", nic = "10.0.0.4", external = "192.0.2.4", external_known = true,
        shared = {}, nat = NAT },
      { name = "eth0", family = "ipv6", nic = "2001:db8::2", external = "2001:db8::2", external_known = true,
        way = 2, shared = {}, nat = { type = 7, delta = 1, value = 0, reason = "nobody answered" } },
    },
    brokers = { { host = "b", port = 1, ok = true, rtt = 0.02, seconds = 0.08 },
      { host = "c", port = 2, ok = false, reason = "timed out" } },
    stuns = { { host = "s", port = 3, ok = true, udp = 0.02, behaviour = true } },
    turns = { { host = "t", port = 4, ok = true, transport = "tcp", udp = { ok = false, reason = "no" },
      tcp = { ok = true, seconds = 0.1, rtt = 0.02 } } },
    clock = { ok = true, offset = -0.0012, bound = 0.02, servers = 3 },
  }
end

describe("p2pd.netcheck.report", function()
  it("text() says it all in words and numbers", function()
    local text = report.text(found())
    for _, line in ipairs {
      "interface eth0, the way out by IPv4 and IPv6",
      "  IPv4  10.0.0.2, from outside: 192.0.2.1",
      "        also: 10.0.0.3",
      "        NAT: port-restricted (type 5); ports: independent (delta 4, value 3)",
      "        mapping: endpoint-independent, of TCP: endpoint-independent",
      "        filtering: address-and-port-dependent; hairpin: no",
      "        not known: something",
      "  IPv6  2001:db8::2, from outside: the same",
      "        NAT: not known (assumed blocked, type 7)",
      "        ports: not applicable (delta 1)",
      "        why: nobody answered",
      "interface eth1",
      "  not used",
      "left out: eth2 is down",
      "  b:1  20.0 ms, online in 80.0 ms",
      "  c:2  no: timed out",
      "  s:3  UDP 20.0 ms, TCP: no answer, answers RFC 5780",
      "  t:4  by tcp, TCP relay in 100.0 ms",
      "  1.2 ms ahead of network time, give or take 20.0 ms (3 servers agree)",
      "what to expect",
    } do
      assert.matches("\n" .. line .. "\n", "\n" .. text, 1, true)
    end
  end)

  it("text() begins with a verdict, and has 80 columns whatever it says", function()
    local long = found()
    local reason = ("a long reason "):rep(12) .. ("x"):rep(100)
    long.routes[1].nat = { type = 5, delta = 6, value = 0, mapping = "endpoint-independent",
      is_delta_assumed = true, missing = { reason }, reason = reason }
    long.routes[1].shared = { "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.7", "10.0.0.8" }
    long.routes[3].nic = "2001:db8:1234:5678:9abc:def0:1234:5678"
    long.routes[3].external = "2001:db8:1234:5678:9abc:def0:1234:5679"
    long.left_out = { reason, reason }
    long.brokers[2].reason, long.clock = reason, { ok = false, reason = reason }
    local text = report.text(long)
    assert.matches("^good: every kind of peer can be reached without a relay\n\ninterface eth0", text)
    assert.matches("NAT: not known %(assumed port%-restricted, type 5%)\n", text)
    assert.matches("ports: not known %(assumed random, delta 6%)\n", text)
    for line in text:gmatch "[^\n]*" do assert.is_true(#line <= 80, line) end
    assert.same({ "type", "delta" }, report.object(long).interfaces[1].ipv4.nat.assumed)
    assert.same({}, report.object(found()).interfaces[1].ipv4.nat.assumed)
  end)

  it("text() assumes nothing that was seen, and says so of the rest", function()
    local function nat_of(one)
      local some = found()
      some.routes = { some.routes[1] }
      one.value, one.missing = 0, {}
      some.routes[1].nat = one
      return report.text(some):match "\n +NAT: (.-)\n"
    end
    local INDEPENDENT, PORT = "endpoint-independent", "address-and-port-dependent"
    assert.equal("symmetric (type 6); ports: random (delta 6)",
      nat_of { type = 6, delta = 6, mapping = PORT, tcp_mapping = PORT })
    assert.equal("symmetric (type 6); ports: random (delta 6)", nat_of { type = 6, delta = 6,
      mapping = "unstable", unstable = true })
    assert.equal("not known (assumed symmetric, type 6)", nat_of { type = 6, delta = 6 })
    assert.equal("open internet (type 1); ports: not applicable (delta 1)", nat_of { type = 1, delta = 1 })
    assert.equal("not known (assumed symmetric UDP firewall, type 2)", nat_of { type = 2, delta = 1 })
    assert.equal("blocked (type 7); ports: equal (delta 2)",
      nat_of { type = 7, delta = 2, tcp_mapping = INDEPENDENT })
  end)

  it("text() has both families of each interface", function()
    local one = found()
    one.routes = { one.routes[1] }
    assert.matches("interface eth0, the way out by IPv4\n", report.text(one), 1, true)
    assert.matches("\n  IPv6  none\n", report.text(one), 1, true)
  end)

  it("text() says that there is nothing", function()
    local nothing = found()
    nothing.brokers, nothing.clock, nothing.left_out = {}, { ok = false, reason = "silence" }, {}
    local text = report.text(nothing)
    assert.matches("brokers\n  none in the settings\n", text, 1, true)
    assert.matches("  not compared: silence\n", text, 1, true)
    assert.not_matches("left out", text)
  end)

  it("json() keeps an order, and seconds short", function()
    local one = found()
    one.brokers[1].seconds = 0.08123456789
    local text = report.json(one)
    assert.equal(text, report.json(one))
    assert.matches('^{"interfaces":%[{"name":"eth0","ipv4":{"nic":"10.0.0.2","ext":"192.0.2.1",', text)
    assert.matches('"brokers":[{"host":"b","port":1,"ok":true,"rtt":0.02,"seconds":0.0812346}', text, 1, true)
    assert.matches('"clock":{"ok":true,"offset":-0.0012,"bound":0.02,"servers":3}', text, 1, true)
    assert.equal(0.08123456789, one.brokers[1].seconds)
  end)

  it("json() has what there is to know", function()
    local text = report.json(found())
    local object = json.decode(text)
    local eth0 = object.interfaces[1]
    assert.same({ "eth0", "10.0.0.2", "192.0.2.1", { "10.0.0.3" } },
      { eth0.name, eth0.ipv4.nic, eth0.ipv4.ext, eth0.ipv4.shared })
    assert.same({ 5, "port-restricted", 4, "independent", 3, false },
      { eth0.ipv4.nat.type, eth0.ipv4.nat.type_name, eth0.ipv4.nat.delta, eth0.ipv4.nat.delta_name,
        eth0.ipv4.nat.value, eth0.ipv4.nat.hairpin })
    assert.equal("192.0.2.4", eth0.more[1].ext)
    assert.equal(7, eth0.ipv6.nat.type)
    assert.equal("good: every kind of peer can be reached without a relay", object.expect.verdict)
    assert.matches('"name":"eth1"', text, 1, true)
    assert.matches('"ipv6":null', text, 1, true)
    assert.same({ { "eth2 is down" }, { "a note" } }, { object.left_out, object.notes })
    assert.equal(6, #object.expect.ipv4)
    assert.equal("timed out", object.brokers[2].reason)
  end)
end)
