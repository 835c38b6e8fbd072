local core = require "p2pd.core"
local helper = require "spec.helper"
local network = require "p2pd.node.network"
local task = helper.task

-- Loopback under another name, with these addresses.
local function machine(...)
  local addresses = {}
  for i, ip in ipairs { ... } do
    addresses[i] = type(ip) == "table" and ip or { ip = ip, prefix = 8, class = "private" }
  end
  return { { name = "n0", index = 1, up = true, loopback = false, inner = false, kind = "", default4 = true,
    metric4 = 0, default6 = false, ipv4 = addresses, ipv6 = {} } }
end

describe("p2pd.node.network", function()
  local real = core.netif.list
  local present, warnings
  local write = core.log.write

  before_each(function()
    warnings = {}
    core.netif.list = function() return present end
    core.log.write = function(level, line) -- luacheck: ignore
      if level == "warn" then warnings[#warnings + 1] = line end
    end
  end)
  after_each(function() core.netif.list, core.log.write = real, write end) -- luacheck: ignore

  local function open(options)
    local all = { on_listener = function() end, on_change = function() end }
    for key, value in pairs(options or {}) do all[key] = value end
    return network.open(all)
  end

  it("listens on a new address by the port of the last one, and not on the old one", task(function()
    present = machine "127.0.0.1"
    local one <close> = assert(open())
    local port, list = one.routes[1].port, one.routes
    present = machine "127.0.0.2"
    assert.is_true(one:look())
    assert.same({ "127.0.0.2", port, 1 }, { one.routes[1].nic, one.routes[1].port, #one.routes })
    assert.equal(list, one.routes)
    local again <close> = assert(core.tcp.listen { ip = "127.0.0.1", port = port })
    assert.is_truthy(again)
  end))

  it("listens on a mapped port too, as long as the route is there", task(function()
    present = machine "127.0.0.1"
    local one <close> = assert(open())
    local route = one.routes[1]
    local free = assert(core.tcp.listen { ip = "127.0.0.1" })
    local _, port = free:getsockname()
    free:close()
    assert.is_true(one.mapping.listen(route, port))
    assert.is_true(one.mapping.listen(route, port))
    assert.is_nil(core.tcp.listen { ip = "127.0.0.1", port = port })
    present = machine "127.0.0.2"
    assert.is_true(one:look())
    local again <close> = assert(core.tcp.listen { ip = "127.0.0.1", port = port })
    assert.is_nil(one.mapping.listen(route, port))
    assert.is_truthy(again)
  end))

  it("keeps what is still there, and says that nothing has changed", task(function()
    present = machine "127.0.0.1"
    local one <close> = assert(open())
    local route, port = one.routes[1], one.routes[1].port
    route.external, route.external_known = "11.0.0.1", true
    present = machine "127.0.0.1"
    assert.is_false(one:look())
    assert.same({ route, port, "11.0.0.1" }, { one.routes[1], one.routes[1].port, one.routes[1].external })
  end))

  it("keeps an interface's number when others come before it", task(function()
    present = machine "127.0.0.1"
    local one <close> = assert(open())
    local first, second = present[1], machine("127.0.0.2")[1]
    second.name, second.index, first.metric4 = "n1", 2, 100
    present = { first, second }
    assert.is_true(one:look())
    assert.same({ { "n1", 1 }, { "n0", 0 } },
      { { one.routes[1].name, one.routes[1].interface }, { one.routes[2].name, one.routes[2].interface } })
  end))

  it("leaves out what is tentative, a duplicate, or deprecated while there is another", task(function()
    present = machine({ ip = "127.0.0.9", prefix = 8, class = "global", tentative = true },
      { ip = "127.0.0.8", prefix = 8, class = "global", failed = true },
      { ip = "127.0.0.7", prefix = 8, class = "global", deprecated = true }, "127.0.0.1")
    local one <close> = assert(open())
    assert.equal("127.0.0.1", one.routes[1].nic)
  end))

  it("leaves out a record that can't be listened on, and says so once", task(function()
    present = machine "127.0.0.1"
    local other = machine("192.0.2.77")[1]
    other.name, other.index = "n1", 2
    present[2] = other
    local one <close> = assert(open())
    assert.same({ 1, true }, { #one:records().ipv4, one:is_short() })
    one:look()
    assert.equal(1, #warnings)
    assert.matches("^192.0.2.77 is not in the address: ", warnings[1])
  end))

  it("fails when none can be had, or a port that is asked for is taken", task(function()
    present = machine "192.0.2.77"
    assert.equal("EADDRNOTAVAIL", select(3, open()))
    local taken <close> = assert(core.tcp.listen { ip = "127.0.0.1" })
    local _, port = taken:getsockname()
    present = machine "127.0.0.1"
    assert.equal("EADDRINUSE", select(3, open { port = port }))
  end))

  it("waits for a named interface that is down, or not there, and says so once", task(function()
    local nowhere, down = {}, machine "127.0.0.1"
    down[1].up = false
    for line, missing in pairs { ['no interface "n0"'] = nowhere, ['the interface "n0" is down'] = down } do
      present, warnings = missing, {}
      local one <close> = assert(open { interfaces = { "n0" } })
      one:look()
      assert.same({ line .. ": it is waited for" }, warnings)
      assert.same({ ipv4 = {}, ipv6 = {} }, one:records())
      present = machine "127.0.0.1"
      assert.is_true(one:look())
      assert.equal(1, #one:records().ipv4)
      present = missing
      one:look()
      assert.equal(2, #warnings)
    end
  end))

  it("fails when no interface can be called so", task(function()
    present = {}
    assert.equal("EINVAL", select(3, open { interfaces = { "a/b" } }))
  end))

  it("goes on without a network, and finds it later", task(function()
    present = machine "127.0.0.1"
    local one <close> = assert(open { interfaces = { "n0" } })
    present = {}
    assert.is_true(one:look())
    assert.same({ ipv4 = {}, ipv6 = {} }, one:records())
    present = machine "127.0.0.1"
    assert.is_true(one:look())
    assert.equal(1, #one:records().ipv4)
  end))
end)
