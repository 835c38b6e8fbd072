local changes = require "p2pd.node.changes"

describe("p2pd.node.changes", function()
  local node, one, routes

  -- A route's mapping, as port_mapping's keeper describes it.
  local function mapping(fields)
    return { describe = function() return fields end }
  end

  before_each(function()
    routes = { { name = "eth0", interface = 0, family = "ipv4", nic = "10.0.0.2", external = "11.0.0.1",
      external_known = true } }
    node = { routes = routes, address = "0-[x]-0-id", discovering = false,
      signal = { stats = function() return { brokers = {} } end } }
    one = changes.new(node)
  end)

  local function take(kind)
    local found = {}
    for _, event in ipairs(one:take()) do
      if event.type == kind then found[#found + 1] = event end
    end
    return found
  end

  it("tells once what has not changed", function()
    assert.equal(2, #one:take())
    assert.same({}, one:take())
    assert.equal(2, #one:present())
  end)

  it("tells an address with the last one, and not while another is looked for", function()
    one:take()
    node.address, node.discovering = "0-[y]-0-id", true
    assert.same({}, take "address")
    node.discovering = false
    assert.same({ { type = "address", address = "0-[y]-0-id", was = "0-[x]-0-id" } }, take "address")
    node.address = "0-[y]-0-id"
    assert.same({}, take "address")
  end)

  it("tells that an interface has gone", function()
    one:take()
    routes[1] = nil
    assert.same({ { type = "interface", name = "eth0", number = 0, gone = true, ipv4 = {}, ipv6 = {} } },
      take "interface")
  end)

  describe("of mappings", function()
    local function mapped(fields)
      local event = { type = "mapping", interface = "eth0", family = "ipv4", nic = "10.0.0.2" }
      for key, value in pairs(fields) do event[key] = value end
      return { event }
    end

    local MAPPED = { state = "mapped", protocol = "PCP", ip = "11.0.0.1", port = 7, reasons = {} }

    it("tells none where none is asked for", function()
      assert.same({}, take "mapping")
    end)

    it("tells each state, and whether peers are told", function()
      routes[1].mapping = mapping { state = "asking", reasons = {} }
      assert.same(mapped { state = "asking", verified = false }, take "mapping")
      routes[1].mapping = mapping(MAPPED)
      local told = { state = "mapped", protocol = "PCP", ip = "11.0.0.1", port = 7, verified = true }
      assert.same(mapped(told), take "mapping")
      assert.same({}, take "mapping")
      routes[1].external, told.verified = "11.0.0.9", false
      told.reason = "another NAT lies beyond the router: its address is 11.0.0.1, not 11.0.0.9"
      assert.same(mapped(told), take "mapping")
    end)

    it("tells why there is none", function()
      routes[1].mapping = mapping { state = "none", reasons = { "PCP: not authorized" } }
      assert.same(mapped { state = "none", verified = false, reason = "PCP: not authorized" }, take "mapping")
    end)

    it("tells that one has gone with its route", function()
      routes[1].mapping = mapping(MAPPED)
      take "mapping"
      routes[1] = nil
      assert.same(mapped { state = "none", verified = false, gone = true }, take "mapping")
    end)
  end)
end)
