-- The default dial between hosts behind NATs: what is known of both decides who waits for whom, and what is
-- not known is found all the same.
local address = require "p2pd.address"
local core = require "p2pd.core"
local helper = require "spec.helper"
local lab = require "p2pd.lab"
local labs = require "spec.lab.labs"
local nat = require "p2pd.nat"
local peers = require "spec.lab.peers"

local ALL = { "direct", "reverse", "punch", "relay" }

labs.describe("the default dial, in the lab", function()
  local l

  local function host(type, delta) return { latency = 0.005, nats = { { type = type, delta = delta } } } end

  setup(function()
    core.task.run(function()
      l = assert(lab.open {
        hosts = {
          home = host("port-restricted", "equal"),
          home2 = host("port-restricted", "equal"),
          random = host("symmetric", "random"),
          random2 = host("symmetric", "random"),
          open = { latency = 0.005 },
        },
        servers = { brokers = 1, stuns = 1, ntps = 1, turns = 1 },
      })
    end)
  end)

  teardown(function() core.task.run(function() if l then l:close() end end) end)

  local function dial(from, to, change, options)
    return helper.in_task(function()
      local a <close> = peers.start(l, from)
      local b <close> = peers.start(l, to, options)
      if change then b.address = change(b.address) end
      local result = a:dial(b, { strategies = ALL, timeout = 20 })
      assert.is_true(result.ok, result.reason)
      return result
    end, 60)
  end

  it("goes to the peer that lets everybody in", function()
    assert.equal("direct", dial("home", "open").strategy)
  end)

  it("has the peer come where it can", function()
    assert.equal("reverse", dial("open", "random").strategy)
  end)

  it("punches where both sides keep others out", function()
    assert.equal("punch", dial("home", "home2").strategy)
  end)

  it("is relayed where nothing else is to be expected, without waiting for it", function()
    assert.equal("relay", dial("random", "random2").strategy)
  end)

  it("finds a port that somebody has forwarded by hand, though the address tells of a strict NAT", function()
    local strict = { type = nat.TYPES["port-restricted"], delta = nat.DELTAS["equal"], value = 0 }
    assert.equal("direct", dial("home", "open", nil, { nats = { strict } }).strategy)
  end)

  it("punches to a peer of whom only the id and the brokers are known", function()
    local function without_records(text)
      local own = address.parse(text)
      own.ipv4, own.ipv6 = {}, {}
      return address.format(own)
    end
    assert.equal("punch", dial("home", "home2", without_records).strategy)
  end)
end)
