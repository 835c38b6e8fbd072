local core = require "p2pd.core"
local helper = require "spec.helper"
local interface = require "p2pd.net.interfaces"
local stuns = require "spec.stuns"

local task = helper.task

local LOOPBACK = { "lo" }
local PATIENT = { timeout = 10 }

local function loopback()
  return assert(interface.list { names = LOOPBACK })
end

local function find(routes, family)
  for _, route in ipairs(routes) do
    if route.family == family then return route end
  end
end

-- A port on loopback that takes requests and never answers; closed by the caller.
local function silence()
  local socket = assert(core.udp.bind { ip = "127.0.0.1" })
  local _, port = socket:getsockname()
  return socket, { host = "127.0.0.1", port = port }
end

-- An interface as core.netif lists it.
local function netif(fields)
  local result = { name = "x", index = 1, up = true, loopback = false, ipv4 = {}, ipv6 = {}, default4 = false,
    default6 = false }
  for key, value in pairs(fields) do result[key] = value end
  return result
end

local function ip(text, class)
  return { ip = text, prefix = 24, class = class or "private" }
end

-- What list() makes of these interfaces: their names.
local function choice(list)
  local real = core.netif.list
  core.netif.list = function() return list end
  local _ <close> = setmetatable({}, { __close = function() core.netif.list = real end })
  local names = {}
  for i, one in ipairs(assert(interface.list())) do names[i] = one.name end
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
      local chosen, left_out = interface.list()
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

    it("takes the named ones, each once, in their order", function()
      local list = assert(interface.list { names = { "lo", "lo" } })
      assert.equal(1, #list)
      assert.equal("lo", list[1].name)
    end)

    it("refuses an unknown name", function()
      assert.same({ nil, 'no interface "nosuch"', "ENODEV" },
        { interface.list { names = { "lo", "nosuch" } } })
    end)

    it("raises when names is no list", function()
      assert.has_error(function() interface.list { names = "lo" } end)
    end)
  end)

  describe("routes()", function()
    local coturn

    setup(function() coturn = helper.coturn() end)
    teardown(helper.close_all)

    local function live()
      return { host = coturn.host, port = coturn.port }
    end

    it("asks a real server for the external address", task(function()
      local routes, notes = interface.routes(loopback(), { live() })
      local route = find(routes, "ipv4")
      assert.is_true(route.external_known)
      assert.same({ "127.0.0.1", "127.0.0.1", "127.0.0.1" }, { route.nic, route.external, route.internal })
      assert.same({ 0, "lo", 8 }, { route.interface, route.name, route.prefix })
      assert.same({ type = 1, delta = 1, value = 0 }, route.nat)
      assert.same({}, notes)
    end))

    it("asks a server by its name", task(function()
      local routes = interface.routes(loopback(), { { host = "localhost", port = coturn.port } })
      assert.is_true(find(routes, "ipv4").external_known)
    end))

    it("takes the live one among dead servers and dead names", task(function()
      local socket <close>, silent = silence()
      local refused = { host = "127.0.0.1", port = 1 }
      local nameless = { host = ("a"):rep(64), port = 3478 }
      local routes = interface.routes(loopback(), { silent, refused, nameless, live() }, { timeout = 15 })
      assert.is_true(find(routes, "ipv4").external_known)
      assert.is_truthy(socket)
    end))

    it("gives the NIC's address when all servers are dead, and says why", task(function()
      local socket <close>, silent = silence()
      local routes, notes = interface.routes(loopback(),
        { silent, { host = "127.0.0.1", port = 1 } }, { timeout = 0.1 })
      local route = find(routes, "ipv4")
      assert.is_false(route.external_known)
      assert.equal("127.0.0.1", route.external)
      assert.equal(1, #notes)
      assert.matches("IPv4 address of lo %(127.0.0.1%) is unknown: .*Connection refused.*timed out", notes[1])
      assert.is_truthy(socket)
    end))

    it("promises nothing when it does not know", task(function()
      local pretended = loopback()
      pretended[1].loopback = false
      local routes, notes = interface.routes(pretended, {})
      assert.same({ type = 6, delta = 6, value = 0 }, find(routes, "ipv4").nat)
      assert.matches("no STUN server to ask", notes[1])
    end))

    it("does not believe a server that names no unicast address", task(function()
      local server <close> = assert(core.udp.bind { ip = "127.0.0.1" })
      local _, port = server:getsockname()
      local _ <close> = core.task.spawn(function()
        local data, from, from_port = server:recvfrom()
        local request = assert(core.stun.decode(data))
        server:sendto(core.stun.encode { class = "success", id = request.id,
          mapped = { ip = "224.0.0.1", port = 5 } }, from, from_port)
      end)
      local routes, notes = interface.routes(loopback(), { { host = "127.0.0.1", port = port } })
      assert.is_false(find(routes, "ipv4").external_known)
      assert.matches("says that our address is 224.0.0.1", notes[1])
    end))

    it("tells a NAT from none by the address that the server sees", task(function()
      local server <close> = assert(core.udp.bind { ip = "127.0.0.1" })
      local _, port = server:getsockname()
      local _ <close> = core.task.spawn(function()
        local data, from, from_port = server:recvfrom()
        local request = assert(core.stun.decode(data))
        server:sendto(core.stun.encode { class = "success", id = request.id,
          mapped = { ip = "11.0.0.1", port = 5 } }, from, from_port)
      end)
      local pretended = loopback()
      pretended[1].loopback = false
      local route = find(interface.routes(pretended, { { host = "127.0.0.1", port = port } }), "ipv4")
      assert.same({ "11.0.0.1", "127.0.0.1", true }, { route.external, route.internal, route.external_known })
      assert.same({ 6, 6, 0 }, { route.nat.type, route.nat.delta, route.nat.value })
    end))

    -- Loopback under another name, with these addresses.
    local function pretend(...)
      local netifs = {}
      for i, addresses in ipairs { ... } do
        netifs[i] = netif { name = "lo", index = i, default4 = true, ipv4 = addresses }
      end
      return netifs
    end

    it("classifies the NAT of an interface that is not loopback", task(function()
      local mapped = stuns.nat("none", stuns.allot.equal())
      local server <close> = stuns.open { mapped = mapped, filter = "address" }
      local routes, notes = interface.routes(pretend { ip "127.0.0.1" }, { server.entry }, PATIENT)
      assert.same({ 4, 2, 0 }, { routes[1].nat.type, routes[1].nat.delta, routes[1].nat.value })
      assert.same({ stuns.OUTSIDE, true }, { routes[1].external, routes[1].external_known })
      assert.same({}, notes)
    end))

    it("makes one route of the addresses that share an external one", task(function()
      local server <close> = stuns.open { mapped = stuns.nat("none", stuns.allot.equal()) }
      local routes = interface.routes(pretend { ip "127.0.0.1", ip "127.0.0.2", ip "127.0.0.3" },
        { server.entry }, PATIENT)
      assert.equal(1, #routes)
      table.sort(routes[1].shared)
      assert.same({ "127.0.0.2", "127.0.0.3" }, routes[1].shared)
    end))

    it("makes a route of each external address, three at most", task(function()
      local outside = {}
      local server <close> = stuns.open { mapped = function(kind, port, at, _, from)
        outside[from] = outside[from] or stuns.nat("none", stuns.allot.equal())
        local mapped = outside[from](kind, port, at)
        return { ip = "127.200." .. from:match "%d+$" .. ".1", port = mapped.port }
      end }
      local netifs = pretend { ip "127.0.0.1", ip "127.0.0.2", ip "127.0.0.3", ip "127.0.0.4" }
      local routes = interface.routes(netifs, { server.entry }, PATIENT)
      assert.equal(3, #routes)
      for i, route in ipairs(routes) do
        assert.equal(route.nic:gsub("127.0.0.(%d)", "127.200.%1.1"), route.external)
        assert.same({ 5, 2, 0, 0 }, { route.nat.type, route.nat.delta, route.nat.value, route.interface })
        assert.is_true(i > 1 or route.nic == "127.0.0.1")
      end
    end))

    it("leaves out an interface that has vanished, and says so", task(function()
      local server <close> = stuns.open { mapped = stuns.nat("none", stuns.allot.equal()) }
      local routes, notes = interface.routes(pretend({ ip "127.0.0.1" }, { ip "192.0.2.77" }),
        { server.entry }, PATIENT)
      assert.same({ 1, "127.0.0.1" }, { #routes, routes[1].nic })
      assert.matches("lo %(192.0.2.77%) is left out: .*192.0.2.77", table.concat(notes, "; "))
    end))

    it("keeps the only interface there is, blocked, with the reason", task(function()
      local routes, notes = interface.routes(pretend { ip "192.0.2.77" }, { live() }, PATIENT)
      assert.same({ 7, 1, 0, false }, { routes[1].nat.type, routes[1].nat.delta, routes[1].nat.value,
        routes[1].external_known })
      assert.matches("192.0.2.77", routes[1].nat.reason)
      assert.equal(1, #notes)
    end))

    it("makes at most three routes of a family, and none of link-local addresses", task(function()
      local list = {}
      for i = 1, 5 do
        list[i] = netif { name = "n" .. i, loopback = true, ipv4 = { ip("127.0.0." .. i, "loopback") },
          ipv6 = { ip("fe80::1%lo", "link-local") } }
      end
      local routes = interface.routes(list, {})
      assert.equal(3, #routes)
      assert.same({ 0, 1, 2 }, { routes[1].interface, routes[2].interface, routes[3].interface })
    end))

    it("prefers global addresses, and the link-local one as the internal one of IPv6", task(function()
      local routes = interface.routes({ netif { name = "n", default6 = true, ipv6 = {
        ip("fe80::1%n", "link-local"), ip "fd00::1", ip("2606:4700::1", "global") } } }, {})
      assert.equal(1, #routes)
      assert.same({ "2606:4700::1", "fe80::1", "n" }, { routes[1].nic, routes[1].internal, routes[1].scope })
    end))
  end)
end)
