-- Each NAT behaves as its description says: real packets through the kernel's rules.
local core = require "p2pd.core"
local helper = require "spec.helper"
local lab = require "p2pd.lab"
local labs = require "spec.lab.labs"
local probe = require "spec.lab.probe"
local agent = require "spec.lab.agent"
local task = helper.task

local A, B = probe.PORTS[1], probe.PORTS[2]

-- name of the host -> its router
local NATS = {
  open = { type = "open internet" },
  firewall = { type = "symmetric UDP firewall" },
  full = { type = "full cone" },
  full_random = { type = "full cone", delta = "random" },
  address = { type = "address-restricted" },
  address_independent = { type = "address-restricted", delta = "independent", value = 1 },
  port = { type = "port-restricted" },
  port_preserving = { type = "port-restricted", delta = "preserving" },
  port_independent1 = { type = "port-restricted", delta = "independent", value = 1 },
  port_independent3 = { type = "port-restricted", delta = "independent", value = 3 },
  port_dependent1 = { type = "port-restricted", delta = "dependent", value = 1 },
  port_dependent2 = { type = "port-restricted", delta = "dependent", value = 2 },
  port_dependent_minus1 = { type = "port-restricted", delta = "dependent", value = -1 },
  port_random = { type = "port-restricted", delta = "random" },
  port_range = { type = "port-restricted", delta = "random", ports = { 40000, 40099 } },
  symmetric = { type = "symmetric", delta = "random" },
  symmetric_independent = { type = "symmetric", delta = "independent", value = 2 },
  blocked = { type = "blocked", delta = "independent", value = 1 },
  rst = { type = "port-restricted", unsolicited = "rst" },
  icmp = { type = "full cone", unsolicited = "icmp" },
  mixed = { type = "symmetric", tcp = { type = "port-restricted", delta = "equal" } },
}

labs.describe("p2pd.lab.nat_rules", function()
  local l, mirror, other
  local insides = {}

  setup(function()
    local hosts = { mirror = {}, other = {} }
    for name, nat in pairs(NATS) do hosts[name] = { nats = { nat } } end
    l = assert(lab.open { hosts = hosts })
    core.task.run(function()
      mirror, other = probe.mirror(l, "mirror"), probe.mirror(l, "other")
      for name in pairs(NATS) do insides[name] = agent.start(l, name) end
    end)
  end)

  teardown(function() if l then l:close() end end)

  local next_port = {}

  -- Ports of a host that it has not used yet, `step` apart, the first one a multiple of 1024.
  local function fresh_ports(name, n, step)
    local ports, from = {}, next_port[name] or 20480
    for i = 1, n do ports[i] = from + (i - 1) * step end
    next_port[name] = (ports[n] // 1024 + 1) * 1024
    return ports
  end

  local function fresh_port(name) return fresh_ports(name, 1, 1)[1] end

  local function see(name, protocol, port, host, to)
    local ip, seen = probe.see(insides[name], protocol, port, l:address(host or "mirror"), to or A)
    assert.equal(l:external(name), ip)
    return seen
  end

  local function see_all(name, protocol, ports)
    local seen = {}
    for i, port in ipairs(ports) do seen[i] = see(name, protocol, port) end
    return seen
  end

  local function differences(list)
    local result = {}
    for i = 2, #list do result[i - 1] = list[i] - list[i - 1] end
    return result
  end

  local function for_each_protocol(fn)
    for _, protocol in ipairs { "udp", "tcp" } do fn(protocol) end
  end

  local function fill(n, value)
    local list = {}
    for i = 1, n do list[i] = value end
    return list
  end

  describe("delta", function()
    for _, name in ipairs { "open", "firewall", "full", "address", "port", "rst", "icmp" } do
      it(name .. " leaves the port as it is", task(function()
        for_each_protocol(function(protocol)
          local ports = fresh_ports(name, 4, 7)
          assert.same(ports, see_all(name, protocol, ports))
        end)
      end))
    end

    it("preserving keeps distances, and no port", task(function()
      for_each_protocol(function(protocol)
        local ports = fresh_ports("port_preserving", 6, 777)
        local seen = see_all("port_preserving", protocol, ports)
        assert.same(differences(ports), differences(seen))
        assert.not_equal(ports[1], seen[1])
      end)
    end))

    for name, value in pairs { port_independent1 = 1, port_independent3 = 3, address_independent = 1,
      symmetric_independent = 2 } do
      it(name .. " adds its value to the last port, whatever the local one", task(function()
        for_each_protocol(function(protocol)
          assert.same(fill(7, value), differences(see_all(name, protocol, fresh_ports(name, 8, 13))))
        end)
      end))
    end

    for name, value in pairs { port_dependent1 = 1, port_dependent2 = 2, port_dependent_minus1 = -1 } do
      it(name .. " adds its value for the next local port", task(function()
        for_each_protocol(function(protocol)
          local ports = fresh_ports(name, 8, 1)
          local seen = see_all(name, protocol, ports)
          assert.same(fill(7, value), differences(seen))
          assert.not_same(ports, seen)
        end)
      end))
    end

    it("dependent 1 does not keep the distances of ports that are far apart", task(function()
      for_each_protocol(function(protocol)
        local ports = fresh_ports("port_dependent1", 5, 1100)
        assert.not_same(differences(ports), differences(see_all("port_dependent1", protocol, ports)))
      end)
    end))

    local function has_pattern(steps)
      for i = 2, #steps do
        if steps[i] ~= steps[1] then return false end
      end
      return true
    end

    for _, name in ipairs { "full_random", "port_random", "symmetric", "port_range" } do
      it(name .. " has no pattern, and no port twice", task(function()
        for_each_protocol(function(protocol)
          local seen, known = see_all(name, protocol, fresh_ports(name, 8, 1)), {}
          assert.is_false(has_pattern(differences(seen)))
          for _, port in ipairs(seen) do
            assert.is_nil(known[port])
            known[port] = true
          end
        end)
      end))
    end

    it("stays in the range of ports", task(function()
      for _, port in ipairs(see_all("port_range", "udp", fresh_ports("port_range", 20, 3))) do
        assert.is_true(port >= 40000 and port <= 40099)
      end
    end))
  end)

  describe("mapping", function()
    local INDEPENDENT = { "open", "firewall", "full", "full_random", "address", "address_independent", "port",
      "port_preserving", "port_independent3", "port_dependent1", "port_dependent2", "port_random" }

    -- As whom three destinations see one port.
    local function see_thrice(name, protocol)
      local port = fresh_port(name)
      return see(name, protocol, port, "mirror", A), see(name, protocol, port, "mirror", B),
        see(name, protocol, port, "other", A)
    end

    for _, name in ipairs(INDEPENDENT) do
      it(name .. " is the same for all destinations", task(function()
        for_each_protocol(function(protocol)
          local first, second, third = see_thrice(name, protocol)
          assert.same({ first, first }, { second, third })
        end)
      end))
    end

    for _, name in ipairs { "symmetric", "symmetric_independent" } do
      it(name .. " is another for each destination", task(function()
        for_each_protocol(function(protocol)
          local first, second, third = see_thrice(name, protocol)
          assert.is_true(first ~= second and second ~= third and first ~= third)
        end)
      end))
    end

    it("may differ for TCP", task(function()
      local first, second = see_thrice("mixed", "udp")
      assert.not_equal(first, second)
      local port = fresh_port "mixed"
      assert.equal(port, see("mixed", "tcp", port))
    end))
  end)

  describe("filtering", function()
    -- Whose datagrams arrive at a port that has spoken to the mirror's port A alone.
    local function who_gets_in(name)
      local port = fresh_port(name)
      local outside = see(name, "udp", port)
      local ip = l:external(name)
      probe.tell(other, A, ip, outside, "other host")
      probe.tell(mirror, B, ip, outside, "other port")
      probe.tell(mirror, A, ip, outside, "invited")
      return probe.hear(insides[name], port, "invited")
    end

    local ADMITS = {
      [{ "open", "full", "full_random", "icmp" }] = { "other host", "other port", "invited" },
      [{ "address", "address_independent" }] = { "other port", "invited" },
      [{ "firewall", "port", "port_preserving", "port_independent1", "port_dependent1", "port_random",
        "symmetric", "symmetric_independent", "rst" }] = { "invited" },
    }
    for names, admitted in pairs(ADMITS) do
      for _, name in ipairs(names) do
        it(("%s admits: %s"):format(name, table.concat(admitted, ", ")), task(function()
          assert.same(admitted, who_gets_in(name))
        end))
      end
    end

    it("admits connections to a full cone's port", task(function()
      for _, name in ipairs { "full", "full_random" } do
        local port = fresh_port(name)
        local outside = see(name, "tcp", port)
        probe.listen(insides[name], port)
        assert.equal("welcome", (probe.knock(other, l:external(name), outside)))
      end
    end))

    it("admits connections from an address that an address-restricted NAT knows", task(function()
      local port = fresh_port "address_independent"
      local outside = see("address_independent", "tcp", port)
      probe.listen(insides.address_independent, port)
      assert.equal("welcome", (probe.knock(mirror, l:external "address_independent", outside, 9000)))
      assert.is_nil((probe.knock(other, l:external "address_independent", outside, 9000)))
    end))

    local ENDS = { port = "ETIMEDOUT", firewall = "ETIMEDOUT", symmetric = "ETIMEDOUT", rst = "ECONNREFUSED",
      icmp = "EHOSTUNREACH" }
    for name, code in pairs(ENDS) do
      it(("%s answers an unsolicited SYN with %s"):format(name, code), task(function()
        local _, _, got = probe.knock(other, l:external(name), 12345)
        assert.equal(code, got)
      end))
    end

    it("lets no UDP through when it is blocked, but TCP", task(function()
      assert.has_error(function() insides.blocked:call([[
        local socket <close> = assert(core.udp.bind {})
        assert(socket:sendto("hello", ...))
        assert(socket:recvfrom(0.1))]], l:address "mirror", A)
      end)
      assert.is_number(see("blocked", "tcp", fresh_port "blocked"))
    end))
  end)
end)
