local core = require "p2pd.core"
local discovery = require "p2pd.net.discovery"
local helper = require "spec.helper"
local stuns = require "spec.stuns"
local task = helper.task

local ROUTE = { nic = "127.0.0.1", name = "lo", family = "ipv4" }

local function open(servers, timeout)
  local entries = {}
  for i, server in ipairs(servers) do entries[i] = server.entry or server end
  return discovery.open { servers = entries, timeout = timeout or 10 }
end

describe("p2pd.net.discovery", function()
  it("takes the first good answer", task(function()
    local server <close> = stuns.open { mapped = stuns.nat("none", stuns.allot.equal()) }
    local found <close> = open { { host = "127.0.0.1", port = helper.free_port() }, server }
    assert.equal(stuns.OUTSIDE, found:find_external(ROUTE))
  end))

  it("tells each server's reason, and that some were asked", task(function()
    local found <close> = open { { host = "127.0.0.1", port = helper.free_port() } }
    local ip, reasons, asked = found:find_external(ROUTE)
    assert.same({ nil, true }, { ip, asked })
    assert.matches("^127.0.0.1: .*refused", reasons)
  end))

  it("does not count servers of the other family", task(function()
    local found <close> = open { { host = "::1", port = helper.free_port() } }
    local ip, reasons, asked = found:find_external(ROUTE)
    assert.same({ nil, false }, { ip, asked })
    assert.equal("::1: no IPv4 address", reasons)
  end))

  it("has nobody to ask without servers", task(function()
    local found <close> = open {}
    assert.same({ nil, "no STUN server to ask", true }, { found:find_external(ROUTE) })
  end))

  it("looks a name up once", task(function()
    local count, real = 0, core.inet.resolve
    local _ <close> = setmetatable({}, { __close = function() core.inet.resolve = real end })
    core.inet.resolve = function(...)
      count = count + 1
      return real(...)
    end
    local found <close> = open {}
    assert.same({ "127.0.0.1" }, found:lookup("localhost", "ipv4"))
    assert.same({ "127.0.0.1" }, found:lookup("localhost", "ipv4"))
    assert.equal(1, count)
  end))

  it("keeps its deadline", task(function()
    local silent <close> = assert(core.udp.bind { ip = "127.0.0.1" })
    local _, port = silent:getsockname()
    local found <close> = open({ { host = "127.0.0.1", port = port } }, 0.02)
    assert.matches("timed out", (select(2, found:find_external(ROUTE))))
    assert.is_true(found.limit:has_passed())
  end))

  it("binds sockets to their interface where there are several", function()
    local one <close> = discovery.open { servers = {}, timeout = 1, is_multihomed = true }
    local other <close> = open {}
    assert.same({ ip = "127.0.0.1", interface = "lo" }, one:binding(ROUTE))
    assert.same({ ip = "127.0.0.1" }, other:binding(ROUTE))
  end)
end)
