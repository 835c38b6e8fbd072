-- A node: how it is made and closed, what it accepts and tells. Its listener has spec/node_listener_spec.lua.
local address = require "p2pd.address"
local core = require "p2pd.core"
local helper = require "spec.helper"
local loopback = require "spec.loopback"
local nodes = require "spec.nodes"
local p2pd = require "p2pd"
local task, wait_until = helper.task, helper.wait_until

local WAIT = 5

describe("p2pd.node", function()
  local world = loopback.new(setup, teardown, { stun = true })

  describe("node()", function()
    it("refuses options of a wrong kind", task(function()
      local function starting(options)
        return function() world:try_start(options) end
      end
      for _, port in ipairs { -1, 65536, 1.5, "80", {} } do
        assert.error_matches(starting { port = port }, "node: port is .*, and not an integer")
      end
      assert.error_matches(starting { secure = 0 }, "node: secure is 0, and not true or false")
      assert.error_matches(starting { interfaces = "lo" }, "node: interfaces is lo, and not a list")
      assert.error_matches(starting { policy = "slow" }, "node: policy is slow, and not the name")
      assert.error_matches(starting { nmae = "x" }, "node: no option is called nmae")
      assert.error_matches(starting { strategies = {} }, "strategies is not a list of one or more")
      assert.error_matches(starting { strategies = { "teleport" } }, 'no strategy "teleport"')
      assert.error_matches(function() p2pd.node "alice" end, "node: options are a table, and not alice")
    end))

    it("waits for an interface that is not there", task(function()
      local node <close> = world:start { interfaces = { "nic7" } }
      assert.equal("0-0-0-" .. node.id, node.address)
      assert.same({}, node.routes)
    end))

    it("names what can be no interface", task(function()
      local node, reason, code = world:try_start { interfaces = { "no/nic" } }
      assert.same({ nil, '"no/nic" cannot be the name of an interface', "EINVAL" }, { node, reason, code })
    end))

    it("names a port that is taken", task(function()
      local first <close> = world:start()
      local node, reason, code = world:try_start { port = nodes.port_of(first) }
      assert.is_nil(node)
      assert.matches(tostring(nodes.port_of(first)), reason)
      assert.equal("EADDRINUSE", code)
    end))

    it("takes the port that it is told", task(function()
      local port = helper.free_port()
      local node <close> = world:start { port = port }
      assert.equal(port, nodes.port_of(node))
    end))

    it("names what is wrong with the settings", task(function()
      assert.equal("settings: mqtt[1].port: missing",
        select(2, world:try_start { settings = { mqtt = { { host = "h" } } } }))
      assert.equal("the settings name no MQTT broker",
        select(2, world:try_start { settings = { mqtt = {} } }))
      assert.equal("ENOENT", select(3, world:try_start { settings = "/no/such/file" }))
    end))

    it("has a legal address", task(function()
      local node <close> = world:start { name = "alice" }
      local parsed = assert(address.parse(node.address, world.settings))
      assert.equal(node.id, parsed.node_id)
      assert.same({ 0 }, parsed.mqtt)
      assert.equal("127.0.0.1", parsed.ipv4[1].external)
      assert.equal("node alice (open)", tostring(node))
    end))

    it("has the id of the key that is kept under its name", task(function()
      local first <close> = world:start { name = "bob" }
      local second <close> = world:start { name = "bob", force = true }
      local other <close> = world:start {}
      assert.equal(first.id, second.id)
      assert.is_true(core.keys.is_id(other.id))
      assert.not_equal(first.id, other.id)
    end))

    it("is refused a name while another node has it", task(function()
      local first <close> = world:start { name = "carol" }
      local second, reason, code = world:try_start { name = "carol" }
      assert.same({ nil, "EBUSY" }, { second, code })
      assert.matches("^a node named carol is running already: key file .*/carol.key is locked by", reason)
      first:close()
      local third <close> = world:start { name = "carol" }
      assert.equal(first.id, third.id)
    end))

    it("has the id of a key that it is given", task(function()
      local key <close> = core.keys.generate()
      local node <close> = world:start { key = key }
      assert.equal(key:id(), node.id)
    end))

    it("refuses a name that cannot be a file's", task(function()
      assert.equal("EINVAL", select(3, world:try_start { name = "../alice" }))
      assert.has_error(function() p2pd.node { name = 5 } end, "node: name is 5, and not a string")
    end))

    local function silent_stun()
      local socket = assert(core.udp.bind { ip = "127.0.0.1" })
      return socket, { host = "127.0.0.1", port = select(2, socket:getsockname()) }
    end

    it("starts no later for one dead STUN server", task(function()
      local socket <close>, entry = silent_stun()
      local _, both = helper.settings { brokers = { world.broker }, stuns = { entry, world.stun } }
      local started = core.clock.monotonic()
      local node <close> = world:start { settings = both }
      assert.is_true(core.clock.monotonic() - started < 0.9)
      assert(address.parse(node.address))
      assert(socket)
    end))

    it("starts without STUN and brokers, and tells", task(function()
      local socket <close>, entry = silent_stun()
      local dead = { host = "127.0.0.1", port = helper.free_port() }
      local path = helper.settings { brokers = { dead }, stuns = { entry } }
      local child <close> = helper.p2pd("node", "--settings", path, "--interface", "lo")
      child:stdout():settimeout(WAIT)
      assert(address.parse((child:stdout():read "l"):match "^address: (.*)"))
      child:kill "INT"
      local said = child:stderr():read "a"
      assert.matches("external IPv4 address of lo %(127%.0%.0%.1%) is unknown: 127%.0%.0%.1: ", said)
      assert.matches("no broker answers", said)
      assert(socket)
    end))
  end)

  describe("accept()", function()
    it("gives up after its timeout", task(function()
      local node <close> = world:start()
      local pipe, reason, code = node:accept(0.01)
      assert.is_nil(pipe)
      assert.equal("timed out", reason)
      assert.equal("ETIMEDOUT", code)
    end))

    it("hands pipes out in the order in which they came", task(function()
      local alice <close> = world:start()
      local bob <close> = world:start()
      local first <close> = assert(alice:connect(bob.address, { strategies = { "direct" } }))
      local one <close> = assert(bob:accept(WAIT))
      local second <close> = assert(alice:connect(bob.address, { strategies = { "direct" } }))
      local two <close> = assert(bob:accept(WAIT))
      assert.same({ first.id, second.id }, { one.id, two.id })
      assert.same({ accepted = 2, waiting = 0, turned_away = 0 }, { accepted = bob:stats().accepted,
        waiting = bob:stats().waiting, turned_away = bob:stats().turned_away })
    end))
  end)

  describe("a protocol", function()
    it("has pipes of its own", task(function()
      local alice <close> = world:start()
      local bob <close> = world:start { protocols = { "chat/1" } }
      local plain <close> = assert(alice:connect(bob.address, { strategies = { "direct" } }))
      local talk <close> = assert(alice:connect(bob.address, { protocol = "chat/1" }))
      local accepted <close> = assert(bob:accept("chat/1", WAIT))
      local other <close> = assert(bob:accept(WAIT))
      assert.same({ talk.id, "chat/1", plain.id }, { accepted.id, accepted.protocol, other.id })
      assert.equal("chat/1", talk:info().protocol)
    end))

    it("that the peer does not speak is refused", task(function()
      local alice <close> = world:start()
      local bob <close> = world:start()
      local pipe <close> = assert(alice:connect(bob.address, { protocol = "chat/1" }))
      local data, reason, code = pipe:read()
      assert.is_nil(data)
      assert.matches("nobody here speaks chat/1", reason)
      assert.equal("EACCES", code)
    end))

    it("has a name", task(function()
      local node <close> = world:start()
      assert.error_matches(function() node:accept "a b" end, "no protocol's name")
      assert.error_matches(function() node:connect(node.address, { protocol = "" }) end, "protocol")
      assert.error_matches(function() world:start { protocols = { "" } } end, "protocols")
    end))
  end)

  describe("close()", function()
    it("ends those who wait for a pipe", task(function()
      local node = world:start()
      local waiting <close> = p2pd.spawn(node.accept, node)
      local loop <close> = p2pd.spawn(function()
        for _ in node:pipes() do error "no pipe was expected" end
        return "ended"
      end)
      p2pd.sleep(0)
      node:close()
      assert.same({ n = 3, nil, "the node is closed", "EBADF" }, table.pack(waiting:join(1)))
      assert.equal("ended", loop:join(1))
    end))

    it("closes what nobody has accepted, and may be called twice", task(function()
      local alice <close> = world:start()
      local bob = world:start()
      local pipe <close> = assert(alice:connect(bob.address, { strategies = { "direct" } }))
      wait_until(function() return bob:stats().waiting == 1 end)
      local stranger <close> = nodes.call(bob)
      wait_until(function() return bob:stats().unverified == 1 end)
      bob:close()
      bob:close()
      pipe:settimeout(WAIT)
      assert.is_nil((pipe:read "l"))
      assert.is_nil((stranger:read "l"))
      assert.equal("EBADF", select(3, bob:accept()))
    end))

    it("leaves pipes in use alone", task(function()
      local alice, bob = world:start(), world:start()
      local pipe <close> = assert(alice:connect(bob.address, { strategies = { "direct" } }))
      local accepted <close> = assert(bob:accept(WAIT))
      alice:close()
      bob:close()
      pipe:write "still here\n"
      assert.equal("still here", accepted:read "l")
    end))

    it("makes later calls fail at once", task(function()
      local node = world:start()
      local own = node.address
      node:close()
      assert.equal("EBADF", select(3, node:echo(own, "x")))
      assert.equal("EBADF", select(3, node:get_address(own)))
      assert.equal("EBADF", select(2, node:connect(own)).code)
    end))
  end)

  describe("events()", function()
    -- Events by type, until there is one of the last type.
    local function collect(events, last)
      local found = {}
      repeat
        local event = assert(events:next(WAIT))
        found[event.type] = event
      until event.type == last
      return found
    end

    it("tell the present state first", task(function()
      local node <close> = world:start()
      local events <close> = node:events()
      local found = collect(events, "address")
      assert.equal(node.address, found.address.address)
      assert.same({ "lo", 0, { "127.0.0.1" } },
        { found.interface.name, found.interface.number, found.interface.ipv4 })
      assert.equal("lo", found.nat.interface)
      assert.same({ 0, "online" }, { found.broker.offset, found.broker.state })
    end))

    it("tell of pipes, and of brokers that go", task(function()
      local own = helper.mosquitto {}
      local options = { settings = select(2, helper.settings { brokers = { own }, stuns = { world.stun } }) }
      local bob <close> = world:start(options)
      local alice <close> = world:start(options)
      local heard <close>, said = bob:events(), alice:events()
      local pipe <close> = assert(alice:connect(bob.address))
      local accepted, made = collect(heard, "pipe").pipe, collect(said, "pipe").pipe
      assert.same({ alice.id, true, pipe.id }, { accepted.peer, accepted.accepted, accepted.id })
      assert.same({ bob.id, false, pipe.id }, { made.peer, made.accepted, made.id })
      own:stop()
      assert.equal("offline", collect(heard, "broker").broker.state)
    end))

    it("tell of what is refused", task(function()
      local node <close> = world:start()
      local events <close> = node:events()
      local stream <close> = nodes.call(node, "nonsense\n")
      assert.same({ "no peer", "127.0.0.1" },
        { collect(events, "refusal").refusal.reason, "127.0.0.1" })
      assert.is_truthy(stream)
    end))

    it("end with the node", task(function()
      local node = world:start()
      local count = 0
      core.task.spawn(function()
        for _ in node:events() do count = count + 1 end
        count = -count
      end)
      core.task.sleep(0)
      node:close()
      wait_until(function() return count < 0 end)
    end))
  end)

  describe("echo() and get_address()", function()
    it("refuse bad addresses and too much data", task(function()
      local node <close> = world:start()
      assert.equal("the address is not a string", select(2, node:echo(nil, "x")))
      assert.equal("not a peer address: address: empty", select(2, node:get_address ""))
      local beyond = node.address:gsub("^%d", "7")
      assert.matches("mqtt%[1%]: offset 7 is beyond", select(2, node:echo(beyond, "x")))
      assert.equal("EMSGSIZE", select(3, node:echo(node.address, ("x"):rep(7001))))
    end))

    it("end after their timeout", task(function()
      local node <close> = world:start()
      local nobody = node.address:gsub("%w+$", nodes.new_id())
      assert.equal("ETIMEDOUT", select(3, node:echo(nobody, "x", 0.05)))
      assert.equal("ETIMEDOUT", select(3, node:get_address(nobody, 0.05)))
    end))
  end)
end)
