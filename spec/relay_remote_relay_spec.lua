local remote_relay = require "p2pd.relay.remote_relay"

describe("p2pd.relay.remote_relay", function()
  local V4 = { ip = "192.0.2.1", port = 7, family = "ipv4" }
  local V6 = { ip = "2001:db8::1", port = 8, family = "ipv6" }

  describe("endpoints()", function()
    it("gives the addresses that a message names", function()
      assert.same({ V4 }, remote_relay.endpoints { relayed = "192.0.2.1:7" })
      assert.same({ V4, V6 }, remote_relay.endpoints { relayed = "192.0.2.1:7", also = "[2001:db8::1]:8" })
      assert.same({ V6, V4 }, remote_relay.endpoints { also = "192.0.2.1:7", relayed = "[2001:db8::1]:8" })
    end)

    it("gives one of a family, and none of nothing", function()
      assert.same({ V4 }, remote_relay.endpoints { relayed = "192.0.2.1:7", also = "192.0.2.2:9" })
      assert.same({}, remote_relay.endpoints {})
    end)
  end)

  describe("check()", function()
    local node = {
      routes = { { family = "ipv6", nic = "2606:4700::2", internal = "fe80::1", prefix = 64 } },
      standing = function() return {} end,
    }

    it("lets us go to a relay by the family that we speak", function()
      local m = { relayed = "8.8.8.8:7", also = "[2a00::1]:8" }
      assert.is_true(remote_relay.check(node, m))
      local endpoints = remote_relay.endpoints(m)
      assert.is_true(remote_relay.check(node, m, endpoints[2]))
      assert.same({ nil, "no address family in common with the relay" },
        { (function(ok, why) return ok, why end)(remote_relay.check(node, m, endpoints[1])) })
    end)

    it("refuses what is inside", function()
      local _, reason, code = remote_relay.check(node, { relayed = "[fd00::1]:8" })
      assert.equal("EACCES", code)
      assert.matches("is not on our LAN", reason)
    end)
  end)
end)
