local core = require "p2pd.core"
local lab = require "p2pd.lab"
local labs = require "spec.lab.labs"
local peers = require "spec.lab.peers"
local helper = require "spec.helper"

local SIZE = 20000000

-- Sends a lot, has it echoed, and compares: both directions at once.
local EXCHANGE = [[
  local address, size = ...
  local pipe, err = state.node:connect(address, { strategies = { "relay" }, timeout = 20, exclusive = true })
  if not pipe then return tostring(err) end
  local held <close> = task.hold(pipe)
  local line = ("0123456789abcdef"):rep(1024):sub(1, -2) .. "\n"
  local count = size // #line
  local writer <close> = task.spawn(function()
    for _ = 1, count do assert(pipe:write(line)) end
    assert(pipe:shutdown())
  end)
  for i = 1, count do
    local got, reason = pipe:read "L"
    if got ~= line then return ("line %d of %d: %s"):format(i, count, reason or "not what was sent") end
  end
  return pipe:read "l" == nil and pipe.strategy or "more than was sent"
]]

labs.describe("p2pd.strategy.relay, in the lab", function()
  local l

  setup(function()
    core.task.run(function()
      local dice = { type = "symmetric", delta = "random" }
      l = assert(lab.open {
        hosts = {
          a = { nats = { dice } }, b = { nats = { dice } },
          mute = { nats = { { type = "blocked" } } },
        },
        servers = { brokers = 1, stuns = 1, turns = 1 },
      })
    end)
  end)

  teardown(function() core.task.run(function() if l then l:close() end end) end)

  local function settings_for(transport)
    local turns = transport and { l.turns[1]:turn(transport) } or {}
    return select(2, helper.settings { brokers = l.brokers, stuns = l.stuns, turn = turns })
  end

  local function check(from, to, transport)
    return helper.task(function()
      local a <close> = peers.start(l, from, { node = { settings = settings_for(transport) } })
      local b <close> = peers.start(l, to, { node = { settings = settings_for() } })
      assert.equal("relay", a:call(EXCHANGE, b.address, SIZE))
    end, 60)
  end

  it("brings two symmetric NATs together, by TCP", check("a", "b", "tcp"))
  it("brings them together by datagrams", check("a", "b", "udp"))
  it("brings one together with a network that blocks UDP", check("a", "mute", "tcp"))
  it("brings a network that blocks UDP together with one, by TLS", check("mute", "a", "tls"))
end)
