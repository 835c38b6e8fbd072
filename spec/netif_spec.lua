local core = require "p2pd.core"

local netif = core.netif

local function by_name(name)
  for _, one in ipairs(assert(netif.list())) do
    if one.name == name then return one end
  end
end

-- What the kernel's own table says about IPv4 default routes: interface to lowest metric.
local function kernel_defaults()
  local metrics = {}
  for line in io.lines "/proc/net/route" do
    local name, target, flags, metric, mask =
      line:match "^(%S+)%s+(%x+)%s+%x+%s+(%x+)%s+%d+%s+%d+%s+(%d+)%s+(%x+)"
    local is_up = flags and tonumber(flags, 16) % 2 == 1
    if is_up and target == "00000000" and mask == "00000000" then
      metrics[name] = math.min(metrics[name] or math.huge, tonumber(metric))
    end
  end
  return metrics
end

describe("p2pd.core.netif", function()
  describe("list()", function()
    it("has the loopback interface", function()
      local lo = assert(by_name "lo")
      assert.is_true(lo.up and lo.loopback)
      assert.is_false(lo.point_to_point or lo.default4 or lo.default6)
      assert.same({ ip = "127.0.0.1", prefix = 8, class = "loopback" }, lo.ipv4[1])
      assert.is_true(lo.index > 0 and lo.mtu > 0)
    end)

    it("is in the order of the indices", function()
      local last = 0
      for _, one in ipairs(assert(netif.list())) do
        assert.is_true(one.index > last)
        last = one.index
      end
    end)

    it("has addresses that can be parsed, with a scope where one is needed", function()
      for _, one in ipairs(assert(netif.list())) do
        for _, family in ipairs { "ipv4", "ipv6" } do
          for _, entry in ipairs(one[family]) do
            local parsed = assert(core.inet.parse(entry.ip))
            assert.equal(family, parsed.family)
            local is_scoped = entry.class == "link-local" and family == "ipv6"
            assert.equal(is_scoped and one.name or nil, parsed.scope)
            assert.is_true(entry.prefix >= 0 and entry.prefix <= 128)
          end
        end
      end
    end)

    it("marks the interfaces with an IPv4 default route as the kernel does", function()
      local expected = kernel_defaults()
      for _, one in ipairs(assert(netif.list())) do
        assert.equal(expected[one.name] ~= nil, one.default4)
        assert.equal(expected[one.name], one.metric4)
      end
    end)
  end)

  describe("on_link()", function()
    it("names the interface of our own subnets", function()
      assert.equal("lo", netif.on_link "127.1.2.3")
    end)

    it("is false for addresses elsewhere, and on another link", function()
      assert.is_false(netif.on_link "240.0.0.1")
      assert.is_false(netif.on_link "fe80::1%lo")
    end)

    it("refuses what is no address", function()
      local name, message, code = netif.on_link "lo"
      assert.same({ nil, "not an IPv4 or IPv6 address", "EINVAL" }, { name, message, code })
    end)
  end)

  describe("way()", function()
    it("is loopback for ourselves", function()
      assert.same({ "127.0.0.1", "lo" }, { netif.way "127.0.0.1" })
      assert.same({ "127.0.0.1", "lo" }, { netif.way("127.0.0.1", "127.0.0.1") })
    end)

    it("is none where the kernel knows none", function()
      local source, message, code = netif.way("2001:db8::1", "127.0.0.1")
      assert.same({ nil, "EAFNOSUPPORT" }, { source, code })
      assert.matches("^a way to 2001:db8::1: ", message)
    end)

    it("raises for what is no address", function()
      assert.error_matches(function() netif.way "localhost" end, "an IP address expected")
    end)
  end)

  describe("watch()", function()
    local task = require "spec.helper".task

    it("waits for no longer than it is told to", task(function()
      local watch <close> = assert(netif.watch())
      assert.same({ nil, "timed out", "ETIMEDOUT" }, { watch:wait(0.01) })
    end))

    it("ends a wait when it is closed", task(function()
      local watch = assert(netif.watch())
      local waiting <close> = core.task.spawn(function() return select(3, watch:wait()) end)
      core.task.sleep(0)
      watch:close()
      watch:close()
      assert.equal("EBADF", waiting:join(5))
    end))
  end)
end)
