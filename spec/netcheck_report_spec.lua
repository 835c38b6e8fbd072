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
      "        NAT: blocked (type 7); ports: not applicable (delta 1)",
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
    assert.matches('"name":"eth1"', text, 1, true)
    assert.matches('"ipv6":null', text, 1, true)
    assert.same({ { "eth2 is down" }, { "a note" } }, { object.left_out, object.notes })
    assert.equal(6, #object.expect.ipv4)
    assert.equal("timed out", object.brokers[2].reason)
  end)
end)
