-- Two homes with the same network inside: the peer's inner address is a neighbour's, or our own, and so is
-- its port. It is reached by its outer address all the same.
local agent = require "spec.lab.agent"
local core = require "p2pd.core"
local helper = require "spec.helper"
local lab = require "p2pd.lab"
local labs = require "spec.lab.labs"
local peers = require "spec.lab.peers"

local PORT = 4000
local ONLY_DIRECT = { strategies = { "direct" }, timeout = 8 }

labs.describe("a neighbour who has the peer's inner address, in the lab", function()
  local l

  local function run(host, text) assert(l:run(host, { "sh", "-c", text }, 10)) end

  local FORWARD = [[
    nft add table ip fw
    nft add chain ip fw pre '{ type nat hook prerouting priority -150; }'
    nft add rule ip fw pre iifname wan tcp dport %d dnat to %s
  ]]

  -- a and c share a LAN; b's router forwards its port.
  setup(function()
    core.task.run(function()
      l = assert(lab.open {
        hosts = {
          a = { nats = { { type = "port-restricted" } }, latency = 0.005 }, c = { lan = "a" },
          b = { nats = { { type = "port-restricted" } }, latency = 0.005 },
        },
        servers = { brokers = 1, stuns = 1, ntps = 1 },
      })
      local command = l.keeper:prefix "b.nat1"
      table.move({ "sh", "-c", FORWARD:format(PORT, l:address "b") }, 1, 3, #command + 1, command)
      local child <close> = assert(core.process.spawn(command))
      assert(child:wait(10))
    end)
  end)

  teardown(function() core.task.run(function() if l then l:close() end end) end)

  -- From now on a host has an address that it sees all of 10.0.0.0/16 from.
  local function move(host, address)
    run(host, ("ip addr flush dev eth0; ip addr add %s/16 dev eth0; ip route add default via 10.0.1.1")
      :format(address))
  end

  local NEIGHBOUR = [[
    local ip, port, hangs_up = ...
    state.listener = assert(core.tcp.listen { ip = ip, port = port })
    state.kept = {}
    state.serving = task.spawn(function()
      while true do
        local stream = state.listener:accept()
        if hangs_up and stream then stream:close() else table.insert(state.kept, stream) end
      end
    end)
  ]]

  local function check(hangs_up)
    return helper.task(function()
      local inner = l:address "b"
      move("a", l:address "a")
      move("c", inner)
      local neighbour <close> = agent.start(l, "c")
      neighbour:call(NEIGHBOUR, inner, PORT, hangs_up)
      local b <close> = peers.start(l, "b", { node = { port = PORT } })
      local a <close> = peers.start(l, "a")
      local result = a:dial(b, ONLY_DIRECT)
      assert.is_true(result.ok, result.reason)
      assert.matches("^" .. l:external "b":gsub("%.", "%%."), result.theirs)
    end, 60)
  end

  it("is left when he hangs up", check(true))
  it("is left when he says nothing", check(false))

  it("may be we", helper.task(function()
    move("a", l:address "a")
    local b <close> = peers.start(l, "b", { node = { port = PORT } })
    b.address = b.address:gsub(l:address "b":gsub("%.", "%%."), l:address "a")
    local a <close> = peers.start(l, "a", { node = { port = PORT } })
    local result = a:dial(b, ONLY_DIRECT)
    assert.is_true(result.ok, result.reason)
    assert.matches("^" .. l:external "b":gsub("%.", "%%."), result.theirs)
  end, 60))
end)
