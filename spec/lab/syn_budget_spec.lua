-- What strangers can have a node send to somebody else, as it is counted on the wire.
local core = require "p2pd.core"
local helper = require "spec.helper"
local lab = require "p2pd.lab"
local labs = require "spec.lab.labs"
local limits = require "p2pd.limit.budgets"
local peers = require "spec.lab.peers"

local CROWD, ROUNDS, DIAL_S = 6, 3, 4

-- The victim answers nothing, so that every connection takes all of its SYNs.
local COUNT = [[nft -f - <<'END'
table ip wire {
 chain in { type filter hook input priority 0; tcp flags & (syn | ack) == syn counter drop; }
}
END]]

-- Strangers, each with a new key, whose addresses name the victim; all dial at once, again and again.
local ATTACK = [[
  local target, victim, crowd, rounds, seconds = ...
  local p2pd, address = require "p2pd", require "p2pd.address"
  core.log.level "error"
  local all <close> = task.group()
  for _ = 1, crowd do
    all:spawn(function()
      local node <close> = assert(p2pd.node { settings = os.getenv "P2PD_SETTINGS" })
      local own = address.parse(node.address)
      own.ipv4[1].external, own.ipv4[1].internal = victim, victim
      node.signal.address = function()
        own.ipv4[1].port = math.random(1024, 65535)
        return address.format(own)
      end
      for _ = 1, rounds do
        node:connect(target, { strategies = { "reverse", "punch" }, timeout = seconds })
      end
    end)
  end
  for child in pairs(all) do child:join() end
]]

labs.describe("SYNs to a third party, in the lab", function()
  local l

  setup(function()
    core.task.run(function()
      l = assert(lab.open {
        hosts = { bob = { nats = { { type = "port-restricted" } } }, eve = {}, victim = {} },
        servers = { brokers = 1, stuns = 2 },
      })
      local result = l:run("victim", { "sh", "-ec", COUNT })
      assert(result.status == 0, result.err)
    end)
  end)

  teardown(function() core.task.run(function() if l then l:close() end end) end)

  local function counted()
    local result = assert(l:run("victim", { "nft", "list", "chain", "ip", "wire", "in" }))
    return tonumber(result.out:match "counter packets (%d+)")
  end

  -- How many SYNs reach the victim, and how many seconds it took.
  local function attack(options)
    local bob <close> = peers.start(l, "bob", { node = options })
    local eve <close> = peers.start(l, "eve")
    local before, began = counted(), core.clock.monotonic()
    eve:call(ATTACK, bob.address, l:address "victim", CROWD, ROUNDS, DIAL_S)
    return counted() - before, core.clock.monotonic() - began
  end

  local function budget(name)
    for _, one in ipairs(limits) do
      if one.name == name then return one end
    end
  end

  it("are within the budget, whoever asks for them", helper.task(function()
    local syns, seconds = attack { limits = {} }
    local one = budget "syns_to_target"
    local most = one.burst + math.ceil(one.number * seconds / one.seconds)
    assert.is_true(syns > 0)
    assert.is_true(syns <= most, ("%d SYNs in %.1f s, not %d"):format(syns, seconds, most))
  end, 60))

  it("are many without it: the twin", helper.task(function()
    local free = { syns_to_target = 1e6, syns_of_peer = 1e6, connects_of_peer = 1e6 }
    local syns, seconds = attack { limits = free }
    local one = budget "syns_to_target"
    assert.is_true(syns > 2 * (one.burst + one.number * seconds / one.seconds), syns .. " SYNs")
  end, 60))
end)
