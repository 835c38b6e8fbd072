-- Each NAT of the lab is recognised, by real packets through the kernel's rules and real servers.
local helper = require "spec.helper"
local json = require "dkjson"
local lab = require "p2pd.testbed.lab"
local nat = require "p2pd.nat"
local nats = require "spec.lab.nats"
local task = helper.task

local can, why = lab.is_possible()

describe("p2pd.classify in the lab", function()
  if not can then
    pending("needs namespaces: " .. why)
    return
  end

  local l

  setup(function()
    local description = nats.description({ latency = 0.005 })
    description.hosts.two_ways = { interfaces = {
      { nats = { { type = "full cone", delta = "independent", value = 1 } }, latency = 0.005 },
      { nats = { { type = "symmetric" } }, latency = 0.005 },
    } }
    description.hosts.six = { ipv6 = true, nats = { { type = "port-restricted" } }, latency = 0.005 }
    l = assert(lab.open(description))
  end)

  teardown(function() if l then l:close() end end)

  local function classify(name)
    local inside <close> = nats.agent(l, name)
    return nats.classify(inside, l.settings)
  end

  local function check(expected, found)
    local difference = nats.difference(expected, found)
    if difference then error(("%s\nin %s"):format(difference, json.encode(found)), 0) end
  end

  for _, one in ipairs(nats.CASES) do
    it("knows " .. one.name, task(function()
      local result = classify(one.name)
      assert.equal(1, #result.routes)
      check(one.expected, result.routes[1].nat)
      assert.equal(l:external(one.name), result.routes[1].external)
      assert.same({}, result.notes)
    end))
  end

  it("knows two interfaces with different NATs", task(function()
    local result = classify "two_ways"
    assert.equal(2, #result.routes)
    for i, expected in ipairs { { "full cone", "independent" }, { "symmetric", "random" } } do
      local route = result.routes[i]
      assert.same(expected, { nat.TYPES[route.nat.type], nat.DELTAS[route.nat.delta] })
      assert.equal(l:external("two_ways", route.name), route.external)
      assert.equal(l:address("two_ways", route.name), route.nic)
    end
  end))

  it("leaves out an interface that vanishes in the middle, and says so", task(function()
    local inside <close> = nats.agent(l, "two_ways")
    local result = nats.classify(inside, l.settings, "ip addr flush dev eth1")
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
