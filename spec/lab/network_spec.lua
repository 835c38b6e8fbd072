-- A node lives with its network: what changes, comes, goes, or is odd from the start.
local lab = require "p2pd.lab"
local labs = require "spec.lab.labs"
local list = require "p2pd.list"
local peers = require "spec.lab.peers"
local task = require "spec.helper".task

local HOME = { { type = "port-restricted" } }
local PATIENCE_S = 19 -- of an agent's call

-- Waits until the node's address has a text in it, and nothing of it is about to change.
local AWAIT = [[
  local text, seconds = ...
  local node = state.node
  local events <close> = node:events()
  local limit = core.clock.monotonic() + seconds
  while node.discovering or not node.address:find(text, 1, true) do
    local left = limit - core.clock.monotonic()
    if left <= 0 or not events:next(left) then break end
  end
  return node.address
]]

local INTERFACES = [[
  local chosen = require "p2pd.net.interfaces".list()
  local names = {}
  for i, netif in ipairs(chosen) do names[i] = netif.name end
  return names
]]

local ROUTES = [[
  local found = {}
  for i, route in ipairs(require "p2pd.net.routes".plain(require "p2pd.net.interfaces".list())) do
    found[i] = route.nic
  end
  return found
]]

labs.describe("p2pd.node and its network:", function()
  local function open(a, b)
    return assert(lab.open {
      hosts = { a = { nats = a, latency = 0.005 }, b = { nats = b, latency = 0.005 } },
      servers = { brokers = 2, stuns = 2, ntps = 1 },
    })
  end

  local function sh(l, host, ...)
    local result = assert(l:run(host, { "sh", "-ec", (...):format(select(2, ...)) }))
    assert.equal("", result.err)
    assert.equal(0, result.status)
  end

  local function await(node, text)
    node.address = node:call(AWAIT, text, PATIENCE_S)
    assert.matches(text, node.address, 1, true)
  end

  local function reach(from, to, ...)
    for _, strategy in ipairs { ... } do
      local result = from:dial(to, { strategies = { strategy }, timeout = 15 })
      assert.same({ strategy, nil }, { result.strategy, result.reason })
    end
  end

  local function move(l, host, number)
    local old = l:address(host)
    local net = old:match "^(.*%.)%d+$"
    sh(l, host, "ip addr del %s/24 dev eth0; ip addr add %s%d/24 dev eth0; ip route add default via %s1", old,
      net, number, net)
    return net .. number
  end

  it("a host's new address is the node's, and peers that know the old one reach it", task(function()
    local l <close> = open({}, {})
    local a <close> = peers.start(l, "a")
    local b <close> = peers.start(l, "b")
    local new, old = move(l, "a", 77), a.address
    await(a, new)
    local stale = { address = old }
    reach(b, stale, "direct", "reverse", "punch")
    reach(a, b, "direct")
  end))

  it("behind a NAT, too", task(function()
    local l <close> = open(HOME, HOME)
    local a <close> = peers.start(l, "a")
    local b <close> = peers.start(l, "b")
    local new = move(l, "a", 77)
    await(a, new)
    await(a, l:external "a")
    reach(b, a, "punch")
  end))

  it("a pipe in use stays while others come and go", task(function()
    local l <close> = open({}, {})
    local a <close> = peers.start(l, "a")
    local b <close> = peers.start(l, "b")
    b:call([[
      state.pipe = assert(state.node:connect((...), { strategies = { "direct" } }))
      state.pipe:settimeout(10)]], a.address)
    local second = l:address "a":gsub("%d+$", "88")
    sh(l, "a", "ip addr add %s/24 dev eth0; ip link add d0 type bridge; ip link set d0 up", second)
    local said = b:call 'state.pipe:write "still there\\n" return state.pipe:read "l"'
    assert.equal("still there", said)
  end))

  it("a router with a new address outside is noticed, though the host sees nothing", task(function()
    local l <close> = open(HOME, HOME)
    local a <close> = peers.start(l, "a")
    local b <close> = peers.start(l, "b")
    local new = assert(l:renumber "a")
    await(a, new)
    reach(b, a, "punch")
  end))

  for _, protocol in ipairs { "pcp", "natpmp", "igd" } do
    local home = { { type = "port-restricted", port_mapping = protocol } }

    it("a host's new address is mapped like its last one, by " .. protocol, task(function()
      local l <close> = open(home, HOME)
      local a <close> = peers.start(l, "a")
      local b <close> = peers.start(l, "b")
      await(a, ",3,2,0]") -- what peers are told of a mapped port
      local new = move(l, "a", 77)
      await(a, new)
      await(a, ",3,2,0]")
      reach(b, a, "direct")
    end))

    it("a router's new address outside is that of its mappings, by " .. protocol, task(function()
      local l <close> = open(home, HOME)
      local a <close> = peers.start(l, "a")
      local b <close> = peers.start(l, "b")
      await(a, ",3,2,0]")
      local new = assert(l:renumber "a")
      await(a, new)
      await(a, ",3,2,0]")
      reach(b, a, "direct")
    end, 40))
  end

  it("a node that starts without an address gets one when there is one", task(function()
    local l <close> = open(HOME, HOME)
    local ip = l:address "a"
    sh(l, "a", "ip addr flush dev eth0")
    local a <close> = peers.start(l, "a")
    local b <close> = peers.start(l, "b")
    assert.not_matches(ip, a.address, 1, true)
    sh(l, "a", "ip addr add %s/24 dev eth0; ip route add default via %s", ip, (ip:gsub("%d+$", "1")))
    await(a, l:external "a")
    reach(b, a, "punch")
  end))

  it("a node waits for its interface, which is down or not there yet", task(function()
    local l <close> = open({}, HOME)
    local b <close> = peers.start(l, "b")
    local ip = l:address "a"
    local up = "ip link set eth0 up; ip route add default via " .. ip:gsub("%d+$", "1")
    for down, mend in pairs {
      ["ip link set eth0 down"] = up,
      ["ip link set eth0 down; ip link set eth0 name away"] = "ip link set away name eth0; " .. up,
    } do
      sh(l, "a", down)
      local a <close> = peers.start(l, "a", { node = { interfaces = { "eth0" } } })
      assert.matches("^[%d,]*%-0%-0%-", a.address)
      sh(l, "a", mend)
      await(a, ip)
      reach(b, a, "direct")
    end
  end))

  it("a node that starts while the line is cut is reached once it is mended", task(function()
    local l <close> = open(HOME, HOME)
    assert(l:cut "a")
    local a <close> = peers.start(l, "a")
    local b <close> = peers.start(l, "b")
    assert.not_matches(l:external "a", a.address, 1, true)
    assert(l:mend "a")
    await(a, l:external "a")
    reach(b, a, "punch")
  end))

  it("a link that goes down and comes back is the old network again", task(function()
    local l <close> = open(HOME, HOME)
    local a <close> = peers.start(l, "a")
    local b <close> = peers.start(l, "b")
    local ip = l:address "a"
    sh(l, "a", "ip link set eth0 down")
    await(a, "127.0.0.1")
    sh(l, "a", "ip link set eth0 up; ip route add default via %s", (ip:gsub("%d+$", "1")))
    await(a, l:external "a")
    reach(b, a, "punch")
  end))

  it("a VPN that comes up is the first record at once, and leaves no trace when it goes", task(function()
    local l <close> = assert(lab.open { hosts = { a = { interfaces = { {}, {} } }, b = {} },
      servers = { brokers = 1, stuns = 2 } })
    local vpn = l:address("a", "eth1")
    sh(l, "a", "ip rule flush; ip rule add lookup main; ip link set eth1 down")
    local a <close> = peers.start(l, "a")
    local b <close> = peers.start(l, "b")
    local before = a.address
    sh(l, "a", "ip link set eth1 up; ip route add 0.0.0.0/1 via %s; ip route add 128.0.0.0/1 via %s",
      (vpn:gsub("%d+$", "1")), (vpn:gsub("%d+$", "1")))
    await(a, vpn)
    assert.matches("^0%-%[1,11%.", a.address)
    reach(b, a, "direct")
    sh(l, "a", "ip link set eth1 down")
    await(a, "0-[0,")
    assert.equal(before, a.address)
    reach(b, a, "direct")
  end))

  it("a tentative IPv6 address joins when it is sure, and a duplicate one never does", task(function()
    local l <close> = assert(lab.open { hosts = { a = { ipv6 = true } },
      servers = { brokers = 1, stuns = 1 } })
    sh(l, "a", "ip -6 addr flush dev eth0 scope global; "
      .. "sysctl -qw net.ipv6.conf.eth0.accept_dad=1 net.ipv6.conf.eth0.dad_transmits=2; "
      .. "ip -6 addr add 2f00:1:0::77/64 dev eth0")
    local a <close> = peers.start(l, "a")
    await(a, "2f00:1::77")
  end))

  describe("the way out", function()
    local l
    setup(function()
      l = assert(lab.open { hosts = { a = { interfaces = { {}, {} } } } })
    end)
    teardown(function() l:close() end)

    local function gateway(interface)
      return (l:address("a", interface):gsub("%d+$", "1"))
    end

    -- What interfaces, or routes, there are, with these commands done before and those after.
    local function look(what, before, after)
      sh(l, "a", before)
      local a <close> = require "spec.lab.agent".start(l, "a")
      local found = a:call(what)
      sh(l, "a", after)
      return found
    end

    it("is the default route with the lowest metric", task(function()
      assert.same({ "eth0", "eth1" }, look(INTERFACES, "true", "true"))
      local route = ("default via %s dev eth1 metric 10"):format(gateway "eth1")
      assert.same({ "eth1", "eth0" }, look(INTERFACES, "ip route add " .. route, "ip route del " .. route))
    end))

    it("is by half routes, as VPNs have them", task(function()
      local halves = "ip route %s 0.0.0.0/1 dev eth1; ip route %s 128.0.0.0/1 dev eth1"
      assert.same({ "eth1", "eth0" },
        look(INTERFACES, halves:format("add", "add"), halves:format("del", "del")))
      assert.same({ l:address("a", "eth1"), l:address "a" },
        look(ROUTES, halves:format("add", "add"), halves:format("del", "del")))
    end))

    it("is what a rule says", task(function()
      assert.same({ "eth1", "eth0" }, look(INTERFACES,
        "ip route add default dev eth1 table 51820; ip rule add not fwmark 0xca6c table 51820",
        "ip rule del not fwmark 0xca6c table 51820; ip route flush table 51820"))
    end))

    it("is by a device without a gateway", task(function()
      assert.same({ "eth1", "eth0" },
        look(INTERFACES, "ip route add default dev eth1 metric 5", "ip route del default dev eth1 metric 5"))
    end))

    it("is not by a bridge of containers, with or without others", task(function()
      local bridge = "ip link add docker0 type bridge; ip addr add 172.17.0.1/16 dev docker0; "
        .. "ip link add va type veth peer name vb; ip link set va master docker0; ip link set va up; "
        .. "ip link set vb up; ip link set docker0 up"
      local gone = "ip link del va; ip link del docker0"
      assert.same({ "eth0", "eth1" }, look(INTERFACES, bridge, gone))
      local without = "ip route flush default; ip rule flush; ip rule add lookup main"
      local names = look(INTERFACES, bridge .. "; " .. without, gone)
      assert.same({}, list.filter(names, function(name) return name == "docker0" end))
    end))
  end)
end)
