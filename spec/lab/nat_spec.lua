-- Each NAT of the lab is recognised, by real packets through the kernel's rules and real servers.
local control = require "spec.lab.control"
local helper = require "spec.helper"
local json = require "dkjson"
local lab = require "p2pd.lab"
local labs = require "spec.lab.labs"
local nat = require "p2pd.nat"
local nats = require "spec.lab.nats"
local task = helper.task

-- Takes ports of a NAT, one after the other.
local CROWD = [[
local ip, port = ...
state.crowd = task.spawn(function()
  while true do
    local socket = core.udp.bind {}
    socket:sendto("nothing", ip, port)
    socket:close()
    task.sleep(0.001)
  end
end)
return true]]

labs.describe("p2pd.nat.classify in the lab", function()
  local l

  setup(function()
    local description = nats.description({ latency = 0.005 })
    description.hosts.guest = { lan = "independent_3" }
    description.hosts.six = { ipv6 = true, nats = { { type = "port-restricted" } }, latency = 0.005 }
    l = assert(lab.open(description))
  end)

  teardown(function() if l then l:close() end end)

  local function classify(name)
    local inside <close> = nats.agent(l, name)
    return nats.classify(inside, l.settings, true)
  end

  for _, one in ipairs(nats.CASES) do
    it("knows " .. one.name, task(function()
      local result = classify(one.name)
      local difference = nats.difference(one, result)
      if difference then error(("%s\nin %s"):format(difference, json.encode(result)), 0) end
      for _, route in ipairs(result.routes) do
        assert.equal(l:external(one.name, route.name), route.external)
        assert.equal(l:address(one.name, route.name), route.nic)
      end
      assert.same({}, result.notes)
    end))
  end

  it("has hosts that can not reach each other without help", task(function()
    control.unreachable(l, "port_restricted", "symmetric")
  end))

  it("knows a counter although another host on the LAN takes ports in between", task(function()
    local other <close> = nats.agent(l, "guest")
    other:call(CROWD, l.stuns[1].host, l.stuns[1].port)
    for _ = 1, 3 do
      local found = classify("independent_3").routes[1].nat
      assert.same({ "independent", 3 }, { nat.DELTAS[found.delta], found.value })
    end
  end))

  it("leaves out an interface that vanishes in the middle, and says so", task(function()
    local inside <close> = nats.agent(l, "two_interfaces")
    local result = nats.classify(inside, l.settings, false, "ip addr flush dev eth1")
    assert.equal("full cone", nat.TYPES[result.routes[1].nat.type])
    assert.is_true(#result.routes == 1 or result.routes[2].nat.type == nat.BLOCKED)
    assert.matches("eth1", table.concat(result.notes, "; "))
  end))

  it("knows a global IPv6 address behind a firewall", task(function()
    local result = classify "six"
    local six = result.routes[2]
    assert.equal("ipv6", six.family)
    assert.equal(l:address("six", "eth0", "ipv6"), six.external)
    assert.equal("symmetric UDP firewall", nat.TYPES[six.nat.type])
  end))
end)
