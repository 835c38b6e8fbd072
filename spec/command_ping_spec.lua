-- The command ping.
local commands = require "spec.commands"
local core = require "p2pd.core"
local helper = require "spec.helper"
local task = helper.task

describe("the command", function()
  local world = commands.world(setup, teardown, before_each)

  describe("ping", function()
    it("measures and ends with 0", task(function()
      local _ <close>, text = world:spawn_echo()
      local status, out = world:run("ping", text, "-c", "2")
      assert.equal(0, status)
      assert.matches("^signalling 1: [%d.]+ ms\nsignalling 2: [%d.]+ ms\nsignalling: 2 sent, 0 lost", out)
      assert.matches("\npipe: %w+ to %S+\npipe 1: [%d.]+ ms\npipe 2: [%d.]+ ms\n", out)
      assert.matches("\npipe: 2 sent, 0 lost, min/avg/max [%d.]+/[%d.]+/[%d.]+ ms\n$", out)
    end))

    it("goes on until it is interrupted, and sums up then", task(function()
      local _ <close>, text = world:spawn_echo()
      local child <close> = world:spawn("ping", text, "-i", "0.01")
      for line in function() return (child:stdout():read "l") end do
        if line:find "^pipe 5: " then break end
      end
      commands.check_interrupted(child)
      assert.matches("\npipe: %d+ sent, [01] lost, min/avg/max [%d./]+ ms\n$",
        "\n" .. child:stdout():read "a")
    end))

    it("tells of a peer that does not echo, and of one that vanishes", task(function()
      local alice <close> = world:start()
      local status, out = world:run("ping", alice.address, "-c", "1")
      assert.equal(0, status)
      assert.matches("\npipe: [%d.]+ ms by the kernel's measure %(the peer does not echo%)\n$", out)
      local node <close>, text = world:spawn_echo()
      local child <close> = world:spawn("ping", text, "-i", "0.01", "--resume", "0")
      for line in function() return (child:stdout():read "l") end do
        if line:find "^pipe 1: " then break end
      end
      node:kill "KILL"
      assert.same({ "exit", 2 }, { child:wait(commands.WAIT) })
      assert.matches("pipe %d+: the peer vanished.*\npipe: %d+ sent, 1 lost", child:stdout():read "a")
    end))

    it("ends with 2 when there is no way", task(function()
      local alice <close> = world:start()
      local text = commands.nobody(alice)
      local status, out = world:run("ping", text, "--timeout", "0.2")
      assert.equal(2, status)
      assert.matches("^signalling 1: the peer does not answer\npipe: no connection to ", out)
      assert.equal(2, (world:run("ping", "nonsense")))
    end))

    it("ends with 130 at SIGINT", task(function()
      local alice <close> = world:start()
      local text, peer_id = commands.nobody(alice)
      local peer <close> = core.mqtt.open { host = world.broker.host, port = world.broker.port }
      peer:subscribe(peer_id)
      assert(peer:wait_online(commands.WAIT))
      local child <close> = world:spawn("ping", text)
      assert(peer:receive(commands.WAIT))
      commands.check_interrupted(child)
    end))
  end)
end)
