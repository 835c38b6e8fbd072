local core = require "p2pd.core"
local interfaces = require "p2pd.net.interfaces"
local netifs = require "spec.netifs"

local netif, ip = netifs.new, netifs.ip

-- What list() makes of these interfaces: their names.
local function choice(list)
  local real = core.netif.list
  core.netif.list = function() return list end
  local _ <close> = setmetatable({}, { __close = function() core.netif.list = real end })
  local names = {}
  for i, one in ipairs(assert(interfaces.list())) do names[i] = one.name end
  return names
end

describe("p2pd.net.interfaces", function()
  describe("list()", function()
    local LO = netif { name = "lo", loopback = true, ipv4 = { ip("127.0.0.1", "loopback") } }

    it("takes the interfaces with a default route, the lowest metric first", function()
      assert.same({ "b", "a", "c" }, choice {
        LO,
        netif { name = "a", index = 2, default4 = true, metric4 = 600, ipv4 = { ip "10.0.0.1" } },
        netif { name = "b", index = 3, default4 = true, metric4 = 100, ipv4 = { ip "10.0.1.1" } },
        netif { name = "c", index = 4, default6 = true, metric6 = 1024, ipv6 = { ip "fd00::1" } },
        netif { name = "d", index = 5, ipv4 = { ip "10.0.2.1" } },
        netif { name = "e", index = 6, up = false, default4 = true, metric4 = 0 },
      })
    end)

    it("says which ones are left out, and why", function()
      local real = core.netif.list
      core.netif.list = function()
        return { LO,
          netif { name = "a", index = 2, default4 = true, ipv4 = { ip "10.0.0.1" } },
          netif { name = "b", index = 3, ipv4 = { ip "10.0.2.1" } },
          netif { name = "c", index = 4, up = false, ipv4 = { ip "10.0.3.1" } },
          netif { name = "d", index = 5, ipv6 = { ip("fe80::1%d", "link-local") } } }
      end
      local _ <close> = setmetatable({}, { __close = function() core.netif.list = real end })
      local chosen, left_out = interfaces.list()
      assert.equal(1, #chosen)
      assert.same({ "b has no route out", "c is down", "d has no address" }, left_out)
    end)

    it("takes those with an address when none has a default route", function()
      assert.same({ "b" }, choice {
        LO,
        netif { name = "a", index = 2, ipv6 = { ip("fe80::1%a", "link-local") } },
        netif { name = "b", index = 3, ipv4 = { ip "10.0.0.1" } },
      })
    end)

    it("takes loopback when there is nothing else", function()
      assert.same({ "lo" }, choice { LO, netif { name = "a", index = 2 } })
    end)

    it("takes neither bridges of containers nor tunnels when none has a default route", function()
      assert.same({ "b" }, choice {
        LO,
        netif { name = "docker0", index = 2, inner = true, kind = "bridge", ipv4 = { ip "172.17.0.1" } },
        netif { name = "tun0", index = 3, kind = "tun", ipv4 = { ip "10.8.0.2" } },
        netif { name = "b", index = 4, ipv4 = { ip "10.0.0.1" } },
      })
      assert.same({ "lo" }, choice {
        LO, netif { name = "docker0", index = 2, inner = true, kind = "bridge",
          ipv4 = { ip "172.17.0.1" } } })
    end)

    it("puts the kernel's way to the servers before any metric", function()
      local real = core.netif.way
      core.netif.way = function(target) if target == "11.1.1.1" then return "10.9.0.2", "vpn" end end
      local _ <close> = setmetatable({}, { __close = function() core.netif.way = real end })
      local list = core.netif.list
      core.netif.list = function()
        return { LO,
          netif { name = "a", index = 2, default4 = true, metric4 = 0, ipv4 = { ip "10.0.0.1" } },
          netif { name = "vpn", index = 3, kind = "tun", ipv4 = { ip "10.9.0.2" } } }
      end
      local chosen = interfaces.list { targets = { "11.1.1.1" } }
      core.netif.list = list
      assert.same({ "vpn", "a" }, { chosen[1].name, chosen[2].name })
      assert.same({ { ipv4 = 1 }, { ipv4 = "10.9.0.2" } }, { chosen[1].ways, chosen[1].sources })
    end)

    it("takes the named ones, each once, in their order", function()
      local list = assert(interfaces.list { names = { "lo", "lo" } })
      assert.equal(1, #list)
      assert.equal("lo", list[1].name)
    end)

    it("refuses an unknown name", function()
      assert.same({ nil, 'no interface "nosuch"', "ENODEV" },
        { interfaces.list { names = { "lo", "nosuch" } } })
    end)

    it("refuses what no interface can be called, also when it is patient", function()
      for _, name in ipairs { "", ("x"):rep(16), "a/b", "a b", 7 } do
        local found, message, code = interfaces.list { names = { name }, is_patient = true }
        assert.same({ nil, "EINVAL" }, { found, code })
        assert.matches("cannot be the name of an interface", message)
      end
    end)

    it("leaves out a named one that is not there, when it is patient", function()
      local chosen, left_out = interfaces.list { names = { "nosuch", "lo" }, is_patient = true }
      assert.same({ "lo", 'no interface "nosuch"' }, { chosen[1].name, left_out[1] })
    end)

    it("raises when names is no list", function()
      assert.has_error(function() interfaces.list { names = "lo" } end)
    end)
  end)

  describe("addresses()", function()
    local function order(sources, ...)
      local one = netif { ipv6 = { ... }, sources = sources }
      local ips = {}
      for i, entry in ipairs(interfaces.addresses(one, "ipv6")) do ips[i] = entry.ip end
      return ips
    end

    local function six(text, fields)
      local entry = ip(text, "global")
      for key, value in pairs(fields or {}) do entry[key] = value end
      return entry
    end

    it("puts addresses that stay before temporary ones, and deprecated ones last", function()
      assert.same({ "2606::2", "2606::1", "fd00::1", "2606::3" }, order(nil,
        six("2606::3", { deprecated = true }), six("2606::1", { temporary = true }), six "2606::2",
        ip("fd00::1", "private")))
    end)

    it("leaves out those that can't be bound", function()
      assert.same({ "2606::3" }, order(nil, six("2606::1", { tentative = true }),
        six("2606::2", { failed = true }), six "2606::3", ip("fe80::1%x", "link-local")))
    end)

    it("prefers the network of the kernel's source, and in it the address that stays", function()
      assert.same({ "2606:0:0:2::2", "2606:0:0:2::1", "2606:0:0:1::1" }, order({ ipv6 = "2606:0:0:2::1" },
        six "2606:0:0:1::1", six("2606:0:0:2::1", { temporary = true }), six "2606:0:0:2::2"))
    end)
  end)
end)
