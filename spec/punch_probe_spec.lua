local core = require "p2pd.core"
local helper = require "spec.helper"
local probe = require "p2pd.punch.probe"
local task = helper.task

local ROUTE = { nic = "127.0.0.1", external = "127.0.0.1", family = "ipv4", name = "lo", loopback = true }
local NONE = { rule = "equal", count = 2, probes = 0 }
local EACH = { rule = "held", count = 2, probes = 2, each = true }
local LAST = { rule = "counter", count = 4, probes = 1, neighbours = true }

describe("p2pd.punch.probe", function()
  local stun, server

  setup(function()
    stun = helper.coturn {}
    server = { host = stun.host, port = stun.port }
  end)

  teardown(function() helper.close_all() end)

  local function route(fields)
    local result = {}
    for key, value in pairs(ROUTE) do result[key] = value end
    for key, value in pairs(fields or {}) do result[key] = value end
    return result
  end

  describe("ports()", function()
    it("are distinct and free", task(function()
      local ports = assert(probe.ports("127.0.0.1", 8))
      local seen = {}
      for _, port in ipairs(ports) do
        assert.is_nil(seen[port])
        seen[port] = true
        assert(core.tcp.listen { ip = "127.0.0.1", port = port }):close()
      end
    end))

    it("are neighbours where that is wanted", task(function()
      local ports = assert(probe.ports("127.0.0.1", 5, true))
      for i = 2, 5 do assert.equal(ports[1] + i - 1, ports[i]) end
    end))

    it("are none of those to be avoided", task(function()
      local avoid = {}
      for port = 33000, 60000 do avoid[port] = true end
      local ports, reason, code = probe.ports("127.0.0.1", 1, false, avoid)
      assert.same({ nil, "no free port on 127.0.0.1", "EADDRINUSE" }, { ports, reason, code })
      assert.is_true(avoid[33000])
    end))

    it("say when there is no such address", task(function()
      local ports, _, code = probe.ports("192.0.2.1", 1)
      assert.same({ nil, "EADDRNOTAVAIL" }, { ports, code })
    end))
  end)

  describe("observe()", function()
    it("asks nobody where nothing is to be seen", task(function()
      local seen <close> = assert(probe.observe(route(), NONE, probe.servers {}))
      assert.equal(2, #seen.ports)
      assert.same({}, seen.held)
      assert.is_nil(seen.last)
    end))

    it("holds a mapping of each port", task(function()
      local seen <close> = assert(probe.observe(route(), EACH, probe.servers { server }))
      assert.equal(2, #seen.streams)
      for _, port in ipairs(seen.ports) do assert.equal(port, seen.held[port]) end
    end))

    it("looks at the port before the others", task(function()
      local seen <close> = assert(probe.observe(route(), LAST, probe.servers { server }))
      assert.equal(4, #seen.ports)
      assert.same({ seen.ports[1] - 1, seen.ports[1] - 1 }, { seen.last.port, seen.last.external })
    end))

    it("lets a port be used beside the probe", task(function()
      local seen <close> = assert(probe.observe(route(), EACH, probe.servers { server }))
      local listener <close> = assert(core.tcp.listen { ip = "127.0.0.1" })
      local _, port = listener:getsockname()
      local stream <close> = assert(core.tcp.connect("127.0.0.1", port,
        { ip = "127.0.0.1", port = seen.ports[1], reuse_port = true }))
      assert.equal(seen.ports[1], select(2, stream:getsockname()))
    end))

    it("passes over a silent and a dead server", task(function()
      local silent <close> = assert(core.tcp.listen { ip = "127.0.0.1" })
      local _, port = silent:getsockname()
      local servers = probe.servers { { host = "127.0.0.1", port = port },
        { host = "127.0.0.1", port = helper.free_port() }, server }
      local seen <close> = assert(probe.observe(route(), EACH, servers))
      assert.equal(seen.ports[1], seen.held[seen.ports[1]])
      assert.equal(server.port, servers:targets("ipv4", 1)[1].port)
    end))

    it("says when no server answers", task(function()
      local dead = { host = "127.0.0.1", port = helper.free_port() }
      local seen, reason, code = probe.observe(route(), EACH, probe.servers { dead })
      assert.is_nil(seen)
      assert.matches("^no STUN server answers over TCP: connect to ", reason)
      assert.equal("ECONNREFUSED", code)
    end))

    it("says when there is none to ask", task(function()
      local seen, reason, code = probe.observe(route(), LAST, probe.servers {})
      assert.same({ nil, "no STUN server to ask", "ENOENT" }, { seen, reason, code })
    end))

    it("says when our address has changed", task(function()
      local seen, reason, code = probe.observe(route { external = "192.0.2.7" }, LAST,
        probe.servers { server })
      assert.is_nil(seen)
      assert.matches("our address is 127.0.0.1 for a STUN server, not 192.0.2.7", reason)
      assert.equal("ESTALE", code)
    end))

    it("leaves nothing open when it is cancelled", task(function()
      local silent <close> = assert(core.tcp.listen { ip = "127.0.0.1" })
      local _, port = silent:getsockname()
      local asking = core.task.spawn(probe.observe, route(), EACH,
        probe.servers { { host = "127.0.0.1", port = port } })
      assert(silent:accept(5)):close()
      asking:cancel()
    end))
  end)
end)
