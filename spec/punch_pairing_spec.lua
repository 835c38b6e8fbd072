local nat = require "p2pd.nat"
local pairing = require "p2pd.punch.pairing"

local RANDOM = { type = nat.SYMMETRIC, delta = nat.DELTA_RANDOM, value = 0 }
local EQUAL = { type = nat.TYPES["port-restricted"], delta = nat.DELTA_EQUAL, value = 0 }

-- A pair behind two routers, but for the fields given.
local function pair(route, remote, family)
  local result = {
    family = family or "ipv4",
    route = { family = family or "ipv4", nic = "192.168.1.2", external = "8.8.4.4", external_known = true,
      prefix = 24, nat = EQUAL },
    remote = { internal = "10.0.0.5", external = "9.9.9.9", nat = EQUAL },
  }
  for key, value in pairs(route or {}) do result.route[key] = value end
  for key, value in pairs(remote or {}) do result.remote[key] = value end
  return result
end

describe("p2pd.punch.pairing", function()
  it("shares_router() knows an external address and a subnet", function()
    assert.is_false(pairing.shares_router(pair()))
    assert.is_true(pairing.shares_router(pair({}, { external = "8.8.4.4" })))
    assert.is_true(pairing.shares_router(pair({}, { external = "192.168.1.9" })))
  end)

  it("shares_lan() looks at the internal address too", function()
    assert.is_false(pairing.shares_lan(pair()))
    assert.is_true(pairing.shares_lan(pair({}, { internal = "192.168.1.9" })))
    assert.is_false(pairing.shares_lan(pair({ prefix = 30 }, { internal = "192.168.1.9" })))
  end)

  describe("meeting()", function()
    local function check(expected, purpose, one, birthday)
      assert.same({ expected, purpose }, { pairing.meeting(one, birthday) })
    end

    it("is that of the NATs", function()
      check("simultaneous", "internet", pair())
      check("birthday remote", "internet", pair({}, { nat = RANDOM }), true)
      local meeting, reason = pairing.meeting(pair({}, { nat = RANDOM }))
      assert.is_nil(meeting)
      assert.matches("^not predictable: ", reason)
    end)

    it("needs none behind one router", function()
      check("simultaneous", "lan", pair({ nat = RANDOM }, { nat = RANDOM, external = "8.8.4.4" }))
      check("simultaneous", "lan", pair({}, { nat = RANDOM, external = "8.8.4.4" }), true)
      check("simultaneous", "internet", pair({}, { external = "8.8.4.4" }))
    end)

    it("needs none on one machine", function()
      local address = { external = "127.0.0.1", nic = "127.0.0.1", nat = RANDOM }
      check("simultaneous", "machine", pair(address, address))
    end)

    it("does not take two homes behind one carrier for one machine", function()
      check("simultaneous", "internet", pair({}, { external = "8.8.4.4", internal = "192.168.1.2" }))
    end)
  end)

  describe("check_address()", function()
    local function refusal(one, ip)
      local ok, reason, code = pairing.check_address(one, ip)
      if not ok then assert.equal("EACCES", code) end
      return reason
    end

    it("lets the internet and our LAN through", function()
      assert.is_nil(refusal(pair(), "9.9.9.9"))
      local near = pair({}, { internal = "192.168.1.9", external = pair().route.external })
      near.who = { is_trusted = true }
      assert.is_nil(refusal(near, "192.168.1.9"))
      assert.is_nil(refusal(pair({ external = "10.1.0.2" }), "10.0.0.5"))
      assert.is_nil(refusal(pair({ loopback = true }), "127.0.0.1"))
      assert.is_nil(refusal(pair({}, {}, "ipv6"), "2600::1"))
    end)

    it("keeps the rest out", function()
      assert.equal("10.0.0.5 is not on our LAN", refusal(pair(), "10.0.0.5"))
      assert.equal("127.0.0.1 is on this machine", refusal(pair(), "127.0.0.1"))
      for _, ip in ipairs { "224.0.0.1", "0.0.0.0", "255.255.255.255", "2600::1" } do
        assert.equal(ip .. " is no address to connect to", refusal(pair(), ip))
      end
      assert.equal("::1 is on this machine", refusal(pair({}, {}, "ipv6"), "::1"))
    end)
  end)

  describe("check()", function()
    it("is the meeting, or why there is none", function()
      assert.same({ "simultaneous", "internet" }, { pairing.check(pair()) })
      assert.same({ n = 3, nil, "10.0.0.5 is not on our LAN", "EACCES" },
        table.pack(pairing.check(pair({}, { external = "10.0.0.5" }))))
      local _, reason, code = pairing.check(pair({}, { nat = RANDOM }))
      assert.matches("^not predictable: ", reason)
      assert.equal("EHOSTUNREACH", code)
    end)

    it("can't say while our NAT is being looked at", function()
      local one = pair()
      one.route.nat = nil
      assert.same({ n = 3, nil, "our NAT is not known yet", "EAGAIN" }, table.pack(pairing.check(one)))
    end)
  end)

  describe("believe()", function()
    local SOME = { { local_port = 1, reply_port = 0, external_port = 1 } }

    it("takes ports for knowledge, and none for ignorance", function()
      local one = pair({}, { nat = RANDOM })
      pairing.believe(one, SOME)
      assert.equal("simultaneous", (pairing.meeting(one)))
      pairing.believe(one, {})
      assert.is_nil((pairing.meeting(one)))
    end)

    it("leaves an address that fits alone", function()
      local one = pair()
      pairing.believe(one, SOME)
      assert.equal(EQUAL, one.remote.nat)
    end)
  end)

  it("record_of() finds a record by its interface", function()
    local list = { { interface = 0 }, { interface = 2 } }
    assert.equal(list[2], pairing.record_of(list, 2))
    assert.is_nil(pairing.record_of(list, 1))
  end)
end)
