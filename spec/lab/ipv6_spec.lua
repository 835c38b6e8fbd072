-- IPv6 by itself, beside IPv4, and as the way to IPv4: firewalls, punching, NAT64.
local control = require "spec.lab.control"
local core = require "p2pd.core"
local helper = require "spec.helper"
local json = require "dkjson"
local lab = require "p2pd.lab"
local labs = require "spec.lab.labs"
local nat = require "p2pd.nat"
local nats = require "spec.lab.nats"
local peers = require "spec.lab.peers"

local LATENCY = 0.005

-- Waits until the node's address has a record of each of these families and the types behind it.
local ADDRESS = [[
  local families = ...
  local deadline = core.clock.monotonic() + 10
  local address = require "p2pd.address"
  while core.clock.monotonic() < deadline do
    local parsed, done = assert(address.parse(state.node.address)), true
    for family, kind in pairs(families) do
      local first = parsed[family][1]
      done = done and (first and first.nat.type) == (kind ~= 0 and kind or nil)
    end
    if done then return state.node.address end
    task.sleep(0.01)
  end
  return nil, state.node.address
]]

local function settled(peer, families)
  local address, last = peer:call(ADDRESS, families)
  peer.address = assert(address, last)
  return peer
end

local function dials(from, to, strategy)
  local result = from:dial(to, { strategies = { strategy }, exclusive = true })
  assert.is_true(result.ok, result.reason)
  assert.equal(strategy, result.strategy)
  return result
end

local function fails(from, to, strategy)
  assert.is_false(from:dial(to, { strategies = { strategy }, timeout = 1.5, exclusive = true }).ok)
end

labs.describe("IPv6 in the lab", function()
  local l

  local function firewalled(more)
    local host = { nats = { { type = "port-restricted" } }, ipv6 = true, latency = LATENCY }
    for key, value in pairs(more or {}) do host[key] = value end
    return host
  end

  setup(function()
    l = assert(lab.open {
      hosts = {
        a = firewalled { ipv4 = false }, b = firewalled { ipv4 = false },
        rst = firewalled { ipv4 = false, nats = { { type = "port-restricted", unsolicited = "rst" } } },
        both = firewalled(), other = firewalled(),
        open = { ipv4 = false, ipv6 = true, latency = LATENCY },
        mute = firewalled { ipv4 = false, nats = { { type = "port-restricted", udp = false } } },
        old = { nats = { { type = "port-restricted" } }, latency = LATENCY },
      },
      servers = { brokers = 1, stuns = 2, ntps = 1, turns = 1 },
    })
  end)

  teardown(function() if l then l:close() end end)

  describe("p2pd.lab", function()
    it("gives a host IPv6 alone", helper.task(function()
      assert.is_nil(l:address "a")
      assert.is_nil(l:external "a")
      assert.equal("", l:run("a", { "ip", "-4", "-o", "addr", "show", "eth0" }).out)
      assert.matches(l:address("a", "eth0", "ipv6"), l:report(), 1, true)
    end))

    it("has servers of both families by one name", helper.task(function()
      for _, host in ipairs { "a", "both" } do
        local inside <close> = nats.agent(l, host)
        local CODE = [[return core.inet.resolve("stun1.lab", "ipv4"), core.inet.resolve("stun1.lab", "ipv6")]]
        local four, six = inside:call(CODE)
        assert.same({ { "11.1.2.1" }, { "2f00:ffff::2:1" } }, { four, six })
      end
    end))
  end)

  describe("p2pd.nat.classify", function()
    local CASES = {
      { "a", "symmetric UDP firewall", "address-and-port-dependent" },
      { "both", "symmetric UDP firewall", "address-and-port-dependent" },
      { "open", "open internet", "endpoint-independent" },
    }

    for _, case in ipairs(CASES) do
      it("knows what filters the IPv6 of " .. case[1], helper.task(function()
        local inside <close> = nats.agent(l, case[1])
        local result = nats.classify(inside, l.settings)
        local route = result.routes[#result.routes]
        assert.same({ "ipv6", l:address(case[1], "eth0", "ipv6"), case[2], case[3] },
          { route.family, route.external, nat.TYPES[route.nat.type], route.nat.filtering })
        assert.equal("endpoint-independent", route.nat.tcp_mapping)
        assert.same({}, result.notes)
      end))
    end

    it("knows IPv6 that lets TCP through alone", helper.task(function()
      local inside <close> = nats.agent(l, "mute")
      local route = nats.classify(inside, l.settings).routes[1]
      assert.equal("endpoint-independent", route.nat.tcp_mapping)
      assert.equal(l:address("mute", "eth0", "ipv6"), route.external)
    end))
  end)

  it("is told by a netcheck, as is what servers have of it", helper.task(function()
    local result = l:run("both", { os.getenv "P2PD_EXE" or "./p2pd", "nat", "--json" })
    local found = assert(json.decode(result.out), result.err)
    local eth0, stun, turn = found.interfaces[1], found.stun[1], found.turn[1]
    assert.same({ 5, 2 }, { eth0.ipv4.nat.type, eth0.ipv6.nat.type })
    assert.same({ "number", "number" }, { type(stun.ipv4), type(stun.ipv6) })
    assert.same({ l.turns[1].host, l.turns[1].host6 }, { turn.udp.ipv4, turn.udp.ipv6 })
  end))

  local ALONE, BOTH = { ipv4 = 0, ipv6 = 2 }, { ipv4 = 5, ipv6 = 2 }

  local function start(host, families)
    return settled(peers.start(l, host), families)
  end

  describe("punching", function()
    it("needs help between two firewalls", helper.task(function()
      control.unreachable(l, "a", "b", "ipv6")
      control.reachable(l, "a", "open", "ipv6")
    end))

    for _, to in ipairs { "b", "rst" } do
      it("goes through two firewalls of hosts without IPv4, to " .. to, helper.task(function()
        local a <close> = start("a", ALONE)
        local b <close> = start(to, ALONE)
        assert.matches("^%[2f00:", dials(a, b, "punch").theirs)
        fails(a, b, "direct")
      end, 30))
    end

    it("goes through them by IPv6 between a host without IPv4 and one with both", helper.task(function()
      local a <close> = start("a", ALONE)
      local both <close> = start("both", BOTH)
      assert.matches("^%[2f00:", dials(a, both, "punch").theirs)
      assert.matches("^%[2f00:", dials(both, a, "punch").theirs)
    end, 30))

    it("goes through between two hosts that have both", helper.task(function()
      local both <close> = start("both", BOTH)
      local other <close> = start("other", BOTH)
      dials(both, other, "punch")
    end, 30))
  end)

  it("connects hosts without IPv4 directly where nothing filters", helper.task(function()
    local a <close> = start("a", ALONE)
    local open <close> = start("open", { ipv4 = 0, ipv6 = 1 })
    dials(a, open, "direct")
    dials(open, a, "reverse")
  end, 30))

  describe("a relay", function()
    local PAIRS = { { "a", "old" }, { "old", "a" }, { "a", "both" }, { "both", "a" }, { "a", "b" } }

    for _, pair in ipairs(PAIRS) do
      it(("joins %s to %s"):format(pair[1], pair[2]), helper.task(function()
        local kinds = { a = ALONE, b = ALONE, both = BOTH, old = { ipv4 = 5, ipv6 = 0 } }
        local from <close> = start(pair[1], kinds[pair[1]])
        local to <close> = start(pair[2], kinds[pair[2]])
        dials(from, to, "relay")
      end, 30))
    end

    it("is come to by its other family when one leads nowhere", helper.task(function()
      local from <close> = start("both", BOTH)
      local to <close> = start("other", BOTH)
      local relayed = l.turns[1].host
      l:run("other", { "ip", "route", "add", "blackhole", relayed })
      dials(from, to, "relay")
      l:run("other", { "ip", "route", "del", "blackhole", relayed })
    end, 30))
  end)

  it("says that two hosts have no family in common", helper.task(function()
    local a <close> = start("a", ALONE)
    local old <close> = start("old", { ipv4 = 5, ipv6 = 0 })
    fails(a, old, "punch")
  end, 30))
end)

-- -- NAT64

local function has_tayga()
  local tun <close> = io.open("/dev/net/tun", "r+")
  return tun and os.execute "PATH=$PATH:/usr/sbin command -v tayga >/dev/null"
end

labs.describe("NAT64 in the lab", function()
  if not has_tayga() then return pending "needs tayga (package tayga) and /dev/net/tun" end

  local l

  local EXTERNAL = "11.0.5.2"

  setup(function()
    local home = { type = "port-restricted", nat64 = true }
    l = assert(lab.open {
      hosts = {
        six = { nats = { home }, ipv4 = false, ipv6 = true, latency = LATENCY },
        late = { nats = { home }, ipv4 = false, ipv6 = true, latency = LATENCY },
        without = { nats = { { type = "port-restricted" } }, ipv4 = false, ipv6 = true },
        both = { nats = { home }, ipv6 = true, latency = LATENCY },
        home = { nats = { { type = "port-restricted" } }, latency = LATENCY },
        open = { latency = LATENCY },
      },
      servers = { brokers = 1, stuns = 2, ntps = 1, turns = 1, ipv6 = false },
    })
  end)

  teardown(function() if l then l:close() end end)

  it("is found by a name, when an IPv4 address cannot be reached", helper.task(function()
    local inside <close> = nats.agent(l, "six")
    local CODE = [[
      local before = core.nat64.prefix()
      local ips = assert(core.inet.resolve("11.1.2.1", "any"))
      return before, ips, core.nat64.prefix(), core.inet.resolve("11.1.2.1", "ipv4"),
        (core.inet.resolve("11.1.2.1", "ipv6"))
    ]]
    local before, any, prefix, four, six = inside:call(CODE)
    assert.is_nil(before)
    assert.same({ "64:ff9b::b01:201" }, any)
    assert.equal("64:ff9b::/96", prefix)
    assert.same({ "11.1.2.1" }, four)
    assert.is_nil(six)
  end))

  it("leads to names of IPv4 addresses, and is no IPv6 of its own", helper.task(function()
    local names <close> = assert(io.open(l.names.six, "a"))
    names:write("11.1.2.1 old.lab\n64:ff9b::b01:201 translated.lab\n")
    names:flush()
    local inside <close> = nats.agent(l, "six")
    local any, six, code = inside:call [[
      local any = core.inet.resolve("old.lab", "any")
      return any, core.inet.resolve("translated.lab", "ipv6") or false,
        select(3, core.inet.resolve("translated.lab", "ipv6"))
    ]]
    assert.same({ { "64:ff9b::b01:201" }, false, "ENOENT" }, { any, six, code })
  end))

  for _, host in ipairs { "without", "both", "home" } do
    it("is not made use of by " .. host, helper.task(function()
      local inside <close> = nats.agent(l, host)
      local ips, prefix = inside:call [[return core.inet.resolve("11.1.2.1", "any"), core.nat64.prefix()]]
      assert.same({ "11.1.2.1" }, ips)
      assert.is_nil(prefix)
    end))
  end

  it("is a NAT as others to who classifies it", helper.task(function()
    local inside <close> = nats.agent(l, "six")
    local result = nats.classify(inside, l.settings)
    local route = result.routes[1]
    assert.same({ "ipv4", true, EXTERNAL, "port-restricted", "equal" }, { route.family, route.nat64,
      route.external, nat.TYPES[route.nat.type], nat.DELTAS[route.nat.delta] })
    assert.equal("ipv6", result.routes[2].family)
    local none <close> = nats.agent(l, "without")
    assert.equal(1, #nats.classify(none, l.settings).routes)
  end))

  it("lets sockets of IPv6 talk to IPv4 addresses", helper.task(function()
    local inside <close> = nats.agent(l, "six")
    local CODE = [[
      local ip, port, own = ...
      core.inet.resolve(ip, "any")
      local socket <close> = assert(core.udp.bind { ip = own })
      local answer, reason = stun.query(socket, { { ip = ip, port = port } })
      local stream <close> = assert(core.tcp.connect(ip, port, { ip = own }, 2))
      return answer and answer.ip or reason
    ]]
    local external = inside:call(CODE, l.stuns[1].host, l.stuns[1].port, l:address("six", nil, "ipv6"))
    assert.equal(EXTERNAL, external)
  end))

  describe("a node behind it", function()
    local six, home, open

    setup(function()
      core.task.run(function()
        six = settled(peers.start(l, "six"), { ipv4 = 5, ipv6 = 2 })
        home = settled(peers.start(l, "home"), { ipv4 = 5, ipv6 = 0 })
        open = settled(peers.start(l, "open"), { ipv4 = 1, ipv6 = 0 })
      end)
    end)

    teardown(function()
      core.task.run(function()
        for _, peer in pairs { six, home, open } do peer:close() end
      end)
    end)

    it("connects to an IPv4 peer with a public address", helper.task(function()
      dials(six, open, "direct")
      dials(open, six, "reverse")
      fails(open, six, "direct")
    end, 30))

    it("punches with an IPv4 peer behind a NAT, from both sides", helper.task(function()
      dials(six, home, "punch")
      dials(home, six, "punch")
    end, 30))

    it("meets an IPv4 peer at a relay, from both sides", helper.task(function()
      dials(six, home, "relay")
      dials(home, six, "relay")
    end, 30))

    it("has no IPv4 any more when the NAT64 is gone", helper.task(function()
      l.nat64s["six.nat1"]:stop()
      fails(six, open, "direct")
      l.nat64s["six.nat1"]:start()
      dials(six, open, "direct")
    end, 30))
  end)

  it("is found by a node that was started without a network", helper.task(function()
    l:run("late", { "ip", "link", "set", "eth0", "down" })
    local late <close> = peers.start(l, "late")
    local ip = l:address("late", nil, "ipv6")
    l:run("late", { "sh", "-c", ([[ip link set eth0 up
      ip addr add %s/64 dev eth0 nodad
      ip route replace default via %s1]]):format(ip, ip:match "^(.*::)") })
    settled(late, { ipv4 = 5, ipv6 = 2 })
  end, 30))

  it("is told by a netcheck, with both families", helper.task(function()
    local result = l:run("six", { os.getenv "P2PD_EXE" or "./p2pd", "nat", "--json" })
    local found = assert(json.decode(result.out), result.err)
    local eth0 = found.interfaces[1]
    assert.same({ EXTERNAL, 5 }, { eth0.ipv4.ext, eth0.ipv4.nat.type })
    assert.equal(l:address("six", nil, "ipv6"), eth0.ipv6.ext)
    for _, list in ipairs { found.brokers, found.stun, found.turn } do
      for _, one in ipairs(list) do assert.is_true(one.ok, one.reason) end
    end
    assert.same({ "number", "number", "nil" },
      { type(found.stun[1].udp), type(found.stun[1].ipv4), type(found.stun[1].ipv6) })
    assert.is_true(found.clock.ok)
  end))
end)
