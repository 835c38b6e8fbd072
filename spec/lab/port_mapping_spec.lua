local labs = require "spec.lab.labs"
local parse = require("p2pd.address").parse
local core = require "p2pd.core"
local lab = require "p2pd.lab"
local peers = require "spec.lab.peers"
local helper = require "spec.helper"

local PORT = 40404

-- What has become of the mapping of a node's route, once that is known.
local SETTLED = [[
  local family, verified = ...
  local port_mapping = require "p2pd.port_mapping"
  local deadline = core.clock.monotonic() + 10
  while true do
    for _, route in ipairs(state.node.routes) do
      local found = route.family == family and port_mapping.describe(route)
      local is_verified = found and port_mapping.is_verified(route)
      if found and found.state ~= "asking" and (not verified or is_verified) then
        found.verified = is_verified or false
        found.listens = route.port
        return found
      end
    end
    if core.clock.monotonic() > deadline then return { state = "unsettled" } end
    task.sleep(0.01)
  end
]]

local function home(protocols)
  return { nats = { { type = "port-restricted", port_mapping = protocols } }, latency = 0.01 }
end

labs.describe("p2pd.port_mapping, in the lab", function()
  local l

  setup(function()
    core.task.run(function()
      l = assert(lab.open {
        hosts = {
          pcp = home "pcp", natpmp = home "natpmp", igd = home "igd", all = home(true),
          plain = home(), other = home(), guest = { lan = "all" }, rival = { lan = "igd" },
          carrier = { nats = { { type = "port-restricted", port_mapping = "pcp" },
            { type = "port-restricted" } } },
          six_pcp = { nats = { { type = "port-restricted", port_mapping = "pcp" } }, ipv6 = true },
          six_igd = { nats = { { type = "port-restricted", port_mapping = "igd" } }, ipv6 = true },
          six = { ipv6 = true },
        },
        servers = { brokers = 1, stuns = 2 },
      })
    end)
  end)

  teardown(function() core.task.run(function() if l then l:close() end end) end)

  local function start(host, options)
    return peers.start(l, host, { node = options })
  end

  local function settled(peer, family)
    local found = peer:call(SETTLED, family or "ipv4", true)
    peer.address = peer:call "return state.node.address"
    return found
  end

  -- The ports that a router lets in, as its rules have them.
  local function ports_of(host, chain)
    local said = assert(l.keeper:run(("nsenter --net=/run/netns/%s.nat1 nft list chain inet guard %s"):format(
      host, chain or "mapped")))
    local ports = {}
    for port in said:gmatch "dport (%d+)" do ports[tonumber(port)] = true end
    return ports
  end

  local function dial(from, to, strategies)
    return from:dial(to, { strategies = strategies, timeout = 8 })
  end

  for host, name in pairs { pcp = "PCP", natpmp = "NAT-PMP", igd = "UPnP" } do
    it("by " .. name .. " makes a host behind a NAT reachable directly", helper.task(function()
      local peer <close> = start(host)
      local dialer <close> = start "plain"
      local found = settled(peer)
      assert.same({ "mapped", name, l:external(host), found.listens },
        { found.state, found.protocol, found.ip, found.port })
      assert.matches("%-%[0,[%d.]+,[%d.]+," .. found.port .. ",3,2,0%]%-", peer.address)
      local result = dial(dialer, peer, { "direct" })
      assert.same({ true, "direct" }, { result.ok, result.strategy })
      result = dialer:call([[
        local pipe <close> = assert(state.node:connect(...))
        return pipe.strategy]], peer.address)
      assert.equal("direct", result)
      peer:call "state.node:close()"
      helper.wait_until(function() return not ports_of(host)[found.port] end)
    end, 40))
  end

  it("does it, not the network: the twin behind another router is not reached", helper.task(function()
    local peer <close> = start "other"
    local dialer <close> = start "plain"
    local found = peer:call(SETTLED, "ipv4")
    assert.same({ "none", {} }, { found.state, found.reasons })
    assert.is_false(dial(dialer, peer, { "direct" }).ok)
    assert.is_true(dial(dialer, peer, { "punch" }).ok)
  end, 40))

  it("is told by events(), also to who listens late", helper.task(function()
    local peer <close> = start "pcp"
    local states = peer:call [[
      local states, told = {}, {}
      local events <close> = state.node:events()
      repeat
        local event = assert(events:next(10))
        if event.type == "mapping" then
          table.insert(states, event.state)
          told = event
        end
      until told.verified
      local late <close> = state.node:events()
      local again
      repeat again = assert(late:next(0)) until again.type == "mapping"
      return { states = states, told = told, is_same = again.port == told.port and again.verified,
        port = state.node.routes[1].port }
    ]]
    local told = states.told
    assert.equal("mapped", states.states[#states.states])
    assert.same({ "PCP", l:external "pcp", states.port, "ipv4" },
      { told.protocol, told.ip, told.port, told.family })
    assert.is_true(states.is_same)
  end, 40))

  it("is not asked for by p2pd node --no-port-mapping", helper.task(function()
    local function run(flag)
      local child = assert(l:p2pd("all", { "node", flag, stdout = "pipe" }))
      child:stdout():settimeout(10)
      local text = child:stdout():read "l":match "^address: (.*)"
      return child, assert(parse(text)).ipv4[1].port
    end
    local without <close> = run "--no-port-mapping"
    local with <close>, port = run "--echo"
    helper.wait_until(function() return ports_of("all")[port] end)
    assert.same({ [port] = true }, ports_of "all")
    for _, child in ipairs { without, with } do
      child:kill "TERM"
      child:wait(10)
    end
  end, 40))

  it("is not asked for with port_mapping = false", helper.task(function()
    local peer <close> = start("all", { port_mapping = false })
    assert.is_nil(peer:call "return state.node.routes[1].mapping")
    assert.same({}, ports_of "all")
  end))

  it("has the peer connect back to who is mapped", helper.task(function()
    local peer <close> = start "plain"
    local dialer <close> = start "pcp"
    settled(dialer)
    local result = dial(dialer, peer, { "reverse" })
    assert.same({ true, "reverse" }, { result.ok, result.strategy })
  end, 40))

  for host, chain in pairs { six_pcp = "opened", six_igd = "opened" } do
    it("opens an IPv6 firewall: " .. host, helper.task(function()
      local peer <close> = start(host)
      local dialer <close> = start "six"
      local found = settled(peer, "ipv6")
      assert.same({ true, l:address(host, nil, "ipv6") }, { found.verified, found.ip })
      local address = peer.address:gsub("%-%[.-%]%-%[", "-0-[")
      local result = dial(dialer, { address = address }, { "direct" })
      assert.same({ true, "direct" }, { result.ok, result.strategy })
      peer:call "state.node:close()"
      helper.wait_until(function() return not ports_of(host, chain)[found.port] end)
    end, 40))
  end

  -- Two hosts on one LAN want the same port.
  local function check_conflict(first, second)
    return helper.task(function()
      local a <close> = start(first, { port = PORT })
      assert.equal(PORT, settled(a).port)
      local b <close> = start(second, { port = PORT })
      local found = settled(b)
      assert.same({ PORT, true }, { found.listens, found.port ~= PORT })
      assert.is_nil(found.fault)
      local dialer <close> = start "plain"
      assert.is_true(dial(dialer, a, { "direct" }).ok)
      assert.is_true(dial(dialer, b, { "direct" }).ok)
      assert.is_true(dial(a, b, { "direct" }).ok, "on the LAN, by the port in the address")
      a:call "state.node:close()"
      b:call "state.node:close()"
      helper.wait_until(function() return not next(ports_of(first)) end)
    end, 60)
  end

  it("takes another port, and listens there too, when the router gives another",
    check_conflict("all", "guest"))
  it("does so with UPnP", check_conflict("igd", "rival"))

  local function check_restart(host)
    return helper.task(function()
      local peer <close> = start(host)
      local found = settled(peer)
      l:mapper(host):stop()
      assert(l.keeper:run(("nsenter --net=/run/netns/%s.nat1 nft 'flush chain inet guard mapped; "
        .. "flush chain inet guard opened'"):format(host)))
      l:mapper(host):start()
      -- UPnP has no announcement.
      if host == "igd" then peer:call "state.node.network.mapping:refresh()" end
      helper.wait_until(function() return ports_of(host)[found.port] end)
      peer:call "state.node:close()"
      helper.wait_until(function() return not ports_of(host)[found.port] end)
    end, 60)
  end

  it("comes back after the router has restarted, by PCP", check_restart "pcp")
  it("comes back after the router has restarted, by NAT-PMP", check_restart "natpmp")
  it("comes back after the router has restarted, by UPnP, when it is looked at", check_restart "igd")

  for _, host in ipairs { "pcp", "natpmp", "igd" } do
    it("is removed by the next start after a crash: " .. host, helper.task(function()
      local crashed <close> = start(host)
      local before = settled(crashed)
      crashed.agent.child:kill "KILL"
      crashed.agent.child:wait(5)
      assert.is_true(ports_of(host)[before.port])
      local next_one <close> = start(host)
      local after = settled(next_one)
      helper.wait_until(function() return not ports_of(host)[before.port] end)
      assert.is_true(ports_of(host)[after.port])
      next_one:call "state.node:close()"
      helper.wait_until(function() return not next(ports_of(host)) end)
    end, 40))
  end

  it("opens it where there is IPv6 alone, and the gateway is link-local", helper.task(function()
    assert(l.keeper:run [[
      gateway=$(nsenter --net=/run/netns/six_igd.nat1 ip -6 -o addr show dev lan scope link |
        sed 's,.* \(fe80[0-9a-f:]*\)/.*,\1,')
      nsenter --net=/run/netns/six_igd ip -6 route replace default via "$gateway" dev eth0
      nsenter --net=/run/netns/six_igd ip -4 route del default
    ]])
    local peer <close> = start "six_igd"
    local found = settled(peer, "ipv6")
    assert.same({ true, "UPnP" }, { found.verified, found.protocol })
    assert.is_true(ports_of("six_igd", "opened")[found.port])
    peer:call "state.node:close()"
    helper.wait_until(function() return not ports_of("six_igd", "opened")[found.port] end)
  end, 40))

  it("says why a router opens nothing", helper.task(function()
    assert(l.keeper:run [[
      nsenter --net=/run/netns/six_igd.nat1 nft insert rule inet guard asking \
        meta nfproto ipv6 meta l4proto tcp reject with tcp reset
    ]])
    local gateway = l:address("six_igd"):gsub("%d+$", "1")
    assert(l.keeper:run("nsenter --net=/run/netns/six_igd ip -4 route replace default via " .. gateway))
    local peer <close> = start "six_igd" -- who asks by IPv4 gets no pinhole for an IPv6 address
    local found = peer:call(SETTLED, "ipv6")
    assert.same({ "none", { "UPnP: refused: error 606 Action not authorized" } },
      { found.state, found.reasons })
  end, 40))

  it("says what a router behind a carrier's NAT refuses", helper.task(function()
    local peer <close> = start "carrier"
    local found = peer:call(SETTLED, "ipv4")
    assert.equal("none", found.state)
    assert.matches("PCP: refused: ", found.reasons[1])
    local said = assert(l:run("carrier", { os.getenv "P2PD_EXE" or "./p2pd", "nat" })).out
    assert.matches("port mapping: refused\n +PCP: refused: ", said)
  end, 40))

  it("is shown by p2pd nat", helper.task(function()
    local said = assert(l:run("igd", { os.getenv "P2PD_EXE" or "./p2pd", "nat" })).out
    assert.matches("port mapping: by UPnP: peers can connect\n", said, 1, true)
    assert.matches("IPv4: every peer can connect to this host.", said, 1, true)
    helper.wait_until(function() return not next(ports_of "igd") end)
  end, 40))
end)
