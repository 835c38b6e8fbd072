local core = require "p2pd.core"
local helper = require "spec.helper"
local interfaces = require "p2pd.net.interfaces"
local netifs = require "spec.netifs"
local routes = require "p2pd.net.routes"
local stuns = require "spec.stuns"

local task = helper.task
local netif, ip = netifs.new, netifs.ip

local PATIENT = { timeout = 10 }

local function loopback()
  return assert(interfaces.list { names = { "lo" } })
end

local function find(found, family)
  for _, route in ipairs(found) do
    if route.family == family then return route end
  end
end

-- A port on loopback that takes requests and never answers; closed by the caller.
local function silence()
  local socket = assert(core.udp.bind { ip = "127.0.0.1" })
  local _, port = socket:getsockname()
  return socket, { host = "127.0.0.1", port = port }
end

-- A STUN server that answers its first request by that address; closed by the caller.
local function naming(mapped)
  local socket, place = silence()
  core.task.spawn(function()
    local data, from, port = socket:recvfrom()
    local request = assert(core.stun.decode(data))
    socket:sendto(core.stun.encode { class = "success", id = request.id, mapped = { ip = mapped, port = 5 } },
      from, port)
  end)
  return socket, place
end

-- Loopback under another name, with these addresses.
local function pretend(...)
  local all = {}
  for i, addresses in ipairs { ... } do
    all[i] = netif { name = "lo", index = i, default4 = true, ipv4 = addresses }
  end
  return all
end

describe("p2pd.net.routes", function()
  describe("plain()", function()
    it("asks nobody", function()
      local route = find(routes.plain(pretend { ip "127.0.0.1" }), "ipv4")
      assert.same({ "127.0.0.1", "127.0.0.1", false }, { route.nic, route.external, route.external_known })
      assert.is_nil(route.nat)
    end)

    it("knows that a global IPv6 address is the external one", function()
      local found = routes.plain { netif { name = "n", ipv6 = { ip("2606:4700::1", "global") } } }
      assert.same({ "2606:4700::1", true }, { found[1].external, found[1].external_known })
    end)

    it("knows that nothing translates on loopback", function()
      assert.same({ type = 1, delta = 1, value = 0 }, find(routes.plain(loopback()), "ipv4").nat)
    end)
  end)

  describe("complete()", function()
    it("fills in the external address first, then the NAT, in place", task(function()
      local server <close> = stuns.open { mapped = stuns.nat("none", stuns.allot.equal()) }
      local found = routes.plain(pretend { ip "127.0.0.1" })
      local route, seen = found[1], {}
      local notes = routes.complete(found, { server.entry }, { timeout = 10, changed = function(one)
        assert.equal(route, one)
        seen[#seen + 1] = { one.external, one.external_known, one.nat and one.nat.type }
      end })
      assert.same({ { stuns.OUTSIDE, true }, { stuns.OUTSIDE, true, 5 } }, seen)
      assert.same({ 1, route, {} }, { #found, found[1], notes })
    end))

    it("tells of routes that it adds", task(function()
      local outside = stuns.nat("none", stuns.allot.equal())
      local server <close> = stuns.open { mapped = function(kind, port, at, _, from)
        return { ip = "127.200." .. from:match "%d+$" .. ".1", port = outside(kind, port, at).port }
      end }
      local found, nics = routes.plain(pretend { ip "127.0.0.1", ip "127.0.0.2" }), {}
      assert.equal(1, #found)
      routes.complete(found, { server.entry }, { timeout = 10, changed = function(one)
        nics[one.nic] = true
      end })
      assert.same({ 2, true, true }, { #found, nics["127.0.0.1"], nics["127.0.0.2"] })
    end))

    it("tells that it has removed one", task(function()
      local server <close> = stuns.open { mapped = stuns.nat("none", stuns.allot.equal()) }
      local found, removals = routes.plain(pretend({ ip "127.0.0.1" }, { ip "192.0.2.77" })), 0
      routes.complete(found, { server.entry }, { timeout = 10, changed = function(one)
        if not one then removals = removals + 1 end
      end })
      assert.same({ 1, 1 }, { #found, removals })
    end))
  end)

  describe("find()", function()
    local coturn

    setup(function() coturn = helper.coturn() end)
    teardown(helper.close_all)

    local function live()
      return { host = coturn.host, port = coturn.port }
    end

    it("asks a real server for the external address", task(function()
      local found, notes = routes.find(loopback(), { live() })
      local route = find(found, "ipv4")
      assert.is_true(route.external_known)
      assert.same({ "127.0.0.1", "127.0.0.1", "127.0.0.1" }, { route.nic, route.external, route.internal })
      assert.same({ 0, "lo", 8 }, { route.interface, route.name, route.prefix })
      assert.same({ type = 1, delta = 1, value = 0 }, route.nat)
      assert.same({}, notes)
    end))

    it("asks a server by its name", task(function()
      local found = routes.find(loopback(), { { host = "localhost", port = coturn.port } })
      assert.is_true(find(found, "ipv4").external_known)
    end))

    it("takes the live one among dead servers and dead names", task(function()
      local socket <close>, silent = silence()
      local refused = { host = "127.0.0.1", port = 1 }
      local nameless = { host = ("a"):rep(64), port = 3478 }
      local found = routes.find(loopback(), { silent, refused, nameless, live() }, { timeout = 15 })
      assert.is_true(find(found, "ipv4").external_known)
      assert.is_truthy(socket)
    end))

    it("gives the NIC's address when all servers are dead, and says why", task(function()
      local socket <close>, silent = silence()
      local found, notes = routes.find(loopback(),
        { silent, { host = "127.0.0.1", port = 1 } }, { timeout = 0.1 })
      local route = find(found, "ipv4")
      assert.is_false(route.external_known)
      assert.equal("127.0.0.1", route.external)
      assert.equal(1, #notes)
      assert.matches("IPv4 address of lo %(127.0.0.1%) is unknown: .*Connection refused.*timed out", notes[1])
      assert.is_truthy(socket)
    end))

    it("promises nothing when it does not know", task(function()
      local pretended = loopback()
      pretended[1].loopback = false
      local found, notes = routes.find(pretended, {})
      assert.same({ type = 6, delta = 6, value = 0 }, find(found, "ipv4").nat)
      assert.matches("no STUN server to ask", notes[1])
    end))

    it("does not believe a server that names no unicast address", task(function()
      local _ <close>, place = naming "224.0.0.1"
      local found, notes = routes.find(loopback(), { place })
      assert.is_false(find(found, "ipv4").external_known)
      assert.matches("says that our address is 224.0.0.1", notes[1])
    end))

    it("tells a NAT from none by the address that the server sees", task(function()
      local _ <close>, place = naming "11.0.0.1"
      local pretended = loopback()
      pretended[1].loopback = false
      local route = find(routes.find(pretended, { place }), "ipv4")
      assert.same({ "11.0.0.1", "127.0.0.1", true }, { route.external, route.internal, route.external_known })
      assert.same({ 6, 6, 0 }, { route.nat.type, route.nat.delta, route.nat.value })
    end))

    it("classifies the NAT of an interface that is not loopback", task(function()
      local mapped = stuns.nat("none", stuns.allot.equal())
      local server <close> = stuns.open { mapped = mapped, filter = "address" }
      local found, notes = routes.find(pretend { ip "127.0.0.1" }, { server.entry }, PATIENT)
      assert.same({ 4, 2, 0 }, { found[1].nat.type, found[1].nat.delta, found[1].nat.value })
      assert.same({ stuns.OUTSIDE, true }, { found[1].external, found[1].external_known })
      assert.same({}, notes)
    end))

    it("makes one route of the addresses that share an external one", task(function()
      local server <close> = stuns.open { mapped = stuns.nat("none", stuns.allot.equal()) }
      local found = routes.find(pretend { ip "127.0.0.1", ip "127.0.0.2", ip "127.0.0.3" },
        { server.entry }, PATIENT)
      assert.equal(1, #found)
      table.sort(found[1].shared)
      assert.same({ "127.0.0.2", "127.0.0.3" }, found[1].shared)
    end))

    it("makes a route of each external address, three at most", task(function()
      local outside = {}
      local server <close> = stuns.open { mapped = function(kind, port, at, _, from)
        outside[from] = outside[from] or stuns.nat("none", stuns.allot.equal())
        local mapped = outside[from](kind, port, at)
        return { ip = "127.200." .. from:match "%d+$" .. ".1", port = mapped.port }
      end }
      local pretended = pretend { ip "127.0.0.1", ip "127.0.0.2", ip "127.0.0.3", ip "127.0.0.4" }
      local found = routes.find(pretended, { server.entry }, PATIENT)
      assert.equal(3, #found)
      for i, route in ipairs(found) do
        assert.equal(route.nic:gsub("127.0.0.(%d)", "127.200.%1.1"), route.external)
        assert.same({ 5, 2, 0, 0 }, { route.nat.type, route.nat.delta, route.nat.value, route.interface })
        assert.is_true(i > 1 or route.nic == "127.0.0.1")
      end
    end))

    it("leaves out an interface that has vanished, and says so", task(function()
      local server <close> = stuns.open { mapped = stuns.nat("none", stuns.allot.equal()) }
      local found, notes = routes.find(pretend({ ip "127.0.0.1" }, { ip "192.0.2.77" }),
        { server.entry }, PATIENT)
      assert.same({ 1, "127.0.0.1" }, { #found, found[1].nic })
      assert.matches("lo %(192.0.2.77%) is left out: .*192.0.2.77", table.concat(notes, "; "))
    end))

    it("keeps the only interface there is, blocked, with the reason", task(function()
      local found, notes = routes.find(pretend { ip "192.0.2.77" }, { live() }, PATIENT)
      assert.same({ 7, 1, 0, false }, { found[1].nat.type, found[1].nat.delta, found[1].nat.value,
        found[1].external_known })
      assert.matches("192.0.2.77", found[1].nat.reason)
      assert.equal(1, #notes)
    end))

    it("makes at most three routes of a family, and none of link-local addresses", task(function()
      local list = {}
      for i = 1, 5 do
        list[i] = netif { name = "n" .. i, loopback = true, ipv4 = { ip("127.0.0." .. i, "loopback") },
          ipv6 = { ip("fe80::1%lo", "link-local") } }
      end
      local found = routes.find(list, {})
      assert.equal(3, #found)
      assert.same({ 0, 1, 2 }, { found[1].interface, found[2].interface, found[3].interface })
    end))

    it("prefers global addresses, and the link-local one as the internal one of IPv6", task(function()
      local found = routes.find({ netif { name = "n", default6 = true, ipv6 = {
        ip("fe80::1%n", "link-local"), ip "fd00::1", ip("2606:4700::1", "global") } } }, {})
      assert.equal(1, #found)
      assert.same({ "2606:4700::1", "fe80::1", "n" }, { found[1].nic, found[1].internal, found[1].scope })
    end))
  end)
end)
