local burst = require "p2pd.nat.burst"
local core = require "p2pd.core"
local deadline = require "p2pd.deadline"
local delta = require "p2pd.nat.delta"
local helper = require "spec.helper"
local nat = require "p2pd.nat"
local stuns = require "spec.stuns"
local task = helper.task

local OURS = { ip = "127.0.0.1" }
local WAIT = 10

local function limit() return deadline.after(WAIT) end

local function serve(allot, script)
  script = script or {}
  script.mapped = stuns.nat("none", allot)
  return stuns.open(script)
end

local function target(server) return { ip = server.entry.host, port = server.entry.port } end

describe("p2pd.nat.burst", function()
  it("tcp() probes from a port of our choice", task(function()
    local server <close> = serve(stuns.allot.preserving())
    local port = helper.free_port()
    local probe, stream = burst.tcp(OURS, target(server), port, WAIT)
    assert.same({ port, port - 9000, stuns.OUTSIDE }, { probe.port, probe.external, probe.ip })
    assert.same(server.other, probe.other)
    stream:close()
  end))

  it("tcp() fails with the reason", task(function()
    local probe, message, code = burst.tcp(OURS, { ip = "127.0.0.1", port = helper.free_port() }, nil, WAIT)
    assert.same({ nil, "ECONNREFUSED" }, { probe, code })
    assert.is_string(message)
    local silent <close> = assert(core.tcp.listen { ip = "127.0.0.1" })
    local _, port = silent:getsockname()
    _, _, code = burst.tcp(OURS, { ip = "127.0.0.1", port = port }, nil, 0.02)
    assert.equal("ETIMEDOUT", code)
  end))

  it("udp() probes as well", task(function()
    local server <close> = serve(stuns.allot.preserving())
    local port = helper.free_port()
    local probe, socket = burst.udp(OURS, target(server), port)
    assert.same({ port, port - 9000, stuns.OUTSIDE }, { probe.port, probe.external, probe.ip })
    socket:close()
  end))

  it("run() fires until the rule shows", task(function()
    for _, transport in ipairs { "tcp", "udp" } do
      local server <close> = serve(stuns.allot.independent(2))
      local bursts = burst.run(burst[transport], OURS, target(server), 0.05, limit())
      assert.same({ nat.DELTA_INDEPENDENT, 2 }, { delta.infer(bursts) })
      assert.equal(1, #bursts)
    end
  end))

  it("run() does not begin with a second burst ahead when the first one shows the rule", task(function()
    local server <close> = serve(stuns.allot.equal())
    local bursts = burst.run(burst.tcp, { ip = "127.0.0.1", is_eager = true }, target(server), WAIT, limit())
    assert.equal(1, #bursts)
    assert.is_true(server.connections <= delta.RUNS * delta.RUN_LENGTH)
  end))

  it("run() has a second burst ahead where there may be no rule", task(function()
    local server <close> = serve(stuns.allot.random())
    local bursts = burst.run(burst.tcp, { ip = "127.0.0.1", is_eager = true }, target(server), 0.01, limit())
    assert.same({ nat.DELTA_RANDOM, 0 }, { delta.infer(bursts) })
    assert.equal(2, #bursts)
  end))

  it("run() gives up in time when nothing comes back", task(function()
    local server <close> = stuns.open { mapped = function() end }
    local bursts = burst.run(burst.tcp, OURS, target(server), 0.001, deadline.after(0.02))
    assert.is_nil((delta.infer(bursts)))
    assert.equal(1, #bursts)
  end))

  it("shared() connects to several servers from one port", task(function()
    local server <close> = stuns.open { mapped = stuns.nat("address", stuns.allot.random()) }
    local targets = {}
    for _, ip in ipairs(server.ips) do
      for _, port in ipairs(server.ports) do targets[#targets + 1] = { ip = ip, port = port } end
    end
    local seen = burst.shared(OURS, targets, 0.05, limit())
    assert.equal(nat.BEHAVIOURS[2], (nat.mapping(seen)))
  end))
end)
