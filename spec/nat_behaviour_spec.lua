local behaviour = require "p2pd.nat.behaviour"
local core = require "p2pd.core"
local exchange = require "p2pd.stun.exchange"
local helper = require "spec.helper"
local stuns = require "spec.stuns"
local task = helper.task

local OURS = { ip = "127.0.0.1" }

local function open() return assert(exchange.open(OURS)) end

local function greet(socket, server, ips)
  return behaviour.greet(socket, server.entry, ips or { server.entry.host }, "ipv4")
end

describe("p2pd.nat.behaviour", function()
  teardown(helper.close_all)

  it("greets a real server and examines with it", task(function()
    local coturn = helper.coturn()
    local socket <close> = open()
    local server = assert(behaviour.greet(socket, { host = "127.0.0.1", port = coturn.port }, { "127.0.0.1" },
      "ipv4"))
    assert.same({ ip = "127.0.0.1", port = socket.port }, server.mapped)
    assert.same({ ip = coturn.alt_host, port = coturn.alt_port }, server.other)
    assert.is_true(server.is_capable)
    behaviour.examine(socket, server, OURS)
    assert.same({ both = true, port = true }, server.filtering)
    assert.same(server.mapped, server.again)
    assert.equal(4, #server.mapping)
    coturn:stop()
  end))

  it("insists until one try succeeds, or fails for good", task(function()
    local tries = 0
    local function second() tries = tries + 1 return tries == 2 and "here", "not yet", "ETIMEDOUT" end
    assert.equal("here", (behaviour.insist({ 0, 0, 0 }, second)))
    assert.same({ nil, "never", "ECONNREFUSED" },
      { behaviour.insist({ 0, 1e6 }, function() return nil, "never", "ECONNREFUSED" end) })
    assert.same({ nil, "late", "ETIMEDOUT" },
      { behaviour.insist({ 0, 0 }, function() return nil, "late", "ETIMEDOUT" end) })
  end))

  it("greets whichever address of a name answers", task(function()
    local server <close> = stuns.open { mapped = stuns.open_internet }
    local socket <close> = open()
    local found = assert(greet(socket, server, { "127.0.7.7", server.entry.host }))
    assert.equal(server.entry.host, found.ip)
  end))

  it("fails when nobody answers, or names an impossible address", task(function()
    local socket <close> = open()
    local found, message, code = behaviour.greet(socket, { host = "x", port = helper.free_port() },
      { "127.0.0.1" }, "ipv4")
    assert.same({ nil, "ECONNREFUSED" }, { found, code })
    assert.is_string(message)
    local server <close> = stuns.open { mapped = function() return { ip = "0.0.0.0", port = 1 } end }
    found, message = greet(socket, server)
    assert.is_nil(found)
    assert.matches("says that our address is 0.0.0.0", message)
  end))

  for filter, expected in pairs {
    none = { both = true, port = true }, address = { both = false, port = true },
    port = { both = false, port = false },
  } do
    it("examines a filter of " .. filter, task(function()
      local server <close> = stuns.open { mapped = stuns.open_internet, filter = filter }
      local socket <close> = open()
      local found = assert(greet(socket, server))
      behaviour.examine(socket, found, OURS)
      assert.same(expected, found.filtering)
    end))
  end

  it("proves nothing with a server that ignores CHANGE-REQUEST", task(function()
    local server <close> = stuns.open { mapped = stuns.open_internet, ignores_change = true }
    local socket <close> = open()
    local found = assert(greet(socket, server))
    behaviour.examine(socket, found, OURS)
    assert.same({}, found.filtering)
  end))

  it("proves nothing with a server that has fallen silent", task(function()
    local greeted = false
    local server <close> = stuns.open { mapped = stuns.open_internet, reply = function() return greeted end }
    local socket <close> = open()
    local found = assert(greet(socket, server))
    greeted = true
    behaviour.examine(socket, found, OURS)
    assert.same({ filtering = {}, mapping = 1 }, { filtering = found.filtering, mapping = #found.mapping,
      again = found.again })
  end))

  it("takes no other address but one of the same kind", function()
    local here = { ip = "198.51.100.1", port = 3478 }
    local function other(ip, port) return behaviour.other_address({ ip = ip, port = port }, here, "ipv4") end
    assert.is_nil(behaviour.other_address(nil, here, "ipv4"))
    local public = { ip = "8.8.8.8", port = 1 }
    assert.is_table(behaviour.other_address({ ip = "8.8.4.4", port = 2 }, public, "ipv4"))
    for _, bad in ipairs { { "198.51.100.1", 1 }, { "198.51.100.2", 3478 }, { "198.51.100.2", 0 },
      { "10.0.0.1", 1 }, { "127.0.0.1", 1 }, { "::1", 1 }, { "224.0.0.1", 1 } } do
      assert.is_nil(other(bad[1], bad[2]))
    end
  end)

  it("finds a hairpin, or none", task(function()
    local socket <close> = open()
    local silent <close> = assert(core.udp.bind(OURS))
    local ip, port = silent:getsockname()
    assert.is_true(behaviour.hairpin(socket, { ip = socket.ip, port = socket.port }, 0.01, OURS))
    assert.is_false(behaviour.hairpin(socket, { ip = ip, port = port }, 0.01, OURS))
  end))
end)
