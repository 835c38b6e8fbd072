local address = require "p2pd.address"
local core = require "p2pd.core"
local handshake = require "p2pd.handshake"
local helper = require "spec.helper"
local id = require "p2pd.id"
local nodes = require "spec.nodes"
local p2pd = require "p2pd"
local task = helper.task
local wait_until = helper.wait_until

local WAIT = 5

-- Waits for something that another task brings about.
describe("p2pd.node", function()
  local broker, stun, settings, level
  local usual_timeout = handshake.TIMEOUT

  setup(function()
    level = core.log.level()
    core.log.level "error"
    broker, stun = helper.mosquitto {}, helper.coturn {}
    settings = select(2, helper.settings { brokers = { broker }, stuns = { stun } })
  end)

  after_each(function() handshake.TIMEOUT = usual_timeout end)

  teardown(function()
    core.log.level(level)
    helper.close_all()
  end)

  local function try_start(options)
    options = options or {}
    options.settings = options.settings or settings
    options.interfaces = options.interfaces or { "lo" }
    return p2pd.node(options)
  end

  local function start(options) return assert(try_start(options)) end

  local function port_of(node) return address.parse(node.address).ipv4[1].port end

  -- A stranger who has sent something to the node's listener.
  local function call(node, text)
    local stream = assert(core.tcp.connect("127.0.0.1", port_of(node)))
    if text then assert(stream:write(text)) end
    stream:settimeout(WAIT)
    return stream
  end

  -- The first line of a stream without TLS.
  local function hello(node, to)
    return ("P2PD/1 dial %s %s %s\n"):format(id.new(), id.new(), to or node.id)
  end

  -- A dialer by hand, up to its go.
  local function dial(node, about)
    local stream = call(node)
    assert(core.tls.client(stream, about.context, node.id, WAIT))
    return stream
  end

  describe("node()", function()
    it("refuses options of a wrong kind", task(function()
      local function starting(options)
        return function() try_start(options) end
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
      local node <close> = start { interfaces = { "nic7" } }
      assert.equal("0-0-0-" .. node.id, node.address)
      assert.same({}, node.routes)
    end))

    it("names what can be no interface", task(function()
      local node, reason, code = try_start { interfaces = { "no/nic" } }
      assert.same({ nil, '"no/nic" cannot be the name of an interface', "EINVAL" }, { node, reason, code })
    end))

    it("names a port that is taken", task(function()
      local first <close> = start()
      local node, reason, code = try_start { port = port_of(first) }
      assert.is_nil(node)
      assert.matches(tostring(port_of(first)), reason)
      assert.equal("EADDRINUSE", code)
    end))

    it("takes the port that it is told", task(function()
      local port = helper.free_port()
      local node <close> = start { port = port }
      assert.equal(port, port_of(node))
    end))

    it("names what is wrong with the settings", task(function()
      assert.equal("settings: mqtt[1].port: missing",
        select(2, try_start { settings = { mqtt = { { host = "h" } } } }))
      assert.equal("the settings name no MQTT broker", select(2, try_start { settings = { mqtt = {} } }))
      assert.equal("ENOENT", select(3, try_start { settings = "/no/such/file" }))
    end))

    it("has a legal address", task(function()
      local node <close> = start { name = "alice" }
      local parsed = assert(address.parse(node.address, settings))
      assert.equal(node.id, parsed.node_id)
      assert.same({ 0 }, parsed.mqtt)
      assert.equal("127.0.0.1", parsed.ipv4[1].external)
      assert.equal("node alice (open)", tostring(node))
    end))

    it("has the id of the key that is kept under its name", task(function()
      local first <close> = start { name = "bob" }
      local second <close> = start { name = "bob", force = true }
      local other <close> = start {}
      assert.equal(first.id, second.id)
      assert.is_true(core.keys.is_id(other.id))
      assert.not_equal(first.id, other.id)
    end))

    it("is refused a name while another node has it", task(function()
      local first <close> = start { name = "carol" }
      local second, reason, code = try_start { name = "carol" }
      assert.same({ nil, "EBUSY" }, { second, code })
      assert.matches("^a node named carol is running already: key file .*/carol.key is locked by", reason)
      first:close()
      local third <close> = start { name = "carol" }
      assert.equal(first.id, third.id)
    end))

    it("has the id of a key that it is given", task(function()
      local key <close> = core.keys.generate()
      local node <close> = start { key = key }
      assert.equal(key:id(), node.id)
    end))

    it("refuses a name that cannot be a file's", task(function()
      assert.equal("EINVAL", select(3, try_start { name = "../alice" }))
      assert.has_error(function() p2pd.node { name = 5 } end, "node: name is 5, and not a string")
    end))

    local function silent_stun()
      local socket = assert(core.udp.bind { ip = "127.0.0.1" })
      return socket, { host = "127.0.0.1", port = select(2, socket:getsockname()) }
    end

    it("starts no later for one dead STUN server", task(function()
      local socket <close>, entry = silent_stun()
      local _, both = helper.settings { brokers = { broker }, stuns = { entry, stun } }
      local started = core.clock.monotonic()
      local node <close> = start { settings = both }
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
      local node <close> = start()
      local pipe, reason, code = node:accept(0.01)
      assert.is_nil(pipe)
      assert.equal("timed out", reason)
      assert.equal("ETIMEDOUT", code)
    end))

    it("hands pipes out in the order in which they came", task(function()
      local alice <close> = start()
      local bob <close> = start()
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
      local alice <close> = start()
      local bob <close> = start { protocols = { "chat/1" } }
      local plain <close> = assert(alice:connect(bob.address, { strategies = { "direct" } }))
      local talk <close> = assert(alice:connect(bob.address, { protocol = "chat/1" }))
      local accepted <close> = assert(bob:accept("chat/1", WAIT))
      local other <close> = assert(bob:accept(WAIT))
      assert.same({ talk.id, "chat/1", plain.id }, { accepted.id, accepted.protocol, other.id })
      assert.equal("chat/1", talk:info().protocol)
    end))

    it("that the peer does not speak is refused", task(function()
      local alice <close> = start()
      local bob <close> = start()
      local pipe <close> = assert(alice:connect(bob.address, { protocol = "chat/1" }))
      local data, reason, code = pipe:read()
      assert.is_nil(data)
      assert.matches("nobody here speaks chat/1", reason)
      assert.equal("EACCES", code)
    end))

    it("has a name", task(function()
      local node <close> = start()
      assert.error_matches(function() node:accept "a b" end, "no protocol's name")
      assert.error_matches(function() node:connect(node.address, { protocol = "" }) end, "protocol")
      assert.error_matches(function() start { protocols = { "" } } end, "protocols")
    end))
  end)

  describe("close()", function()
    it("ends those who wait for a pipe", task(function()
      local node = start()
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
      local alice <close> = start()
      local bob = start()
      local pipe <close> = assert(alice:connect(bob.address, { strategies = { "direct" } }))
      wait_until(function() return bob:stats().waiting == 1 end)
      local stranger <close> = call(bob)
      wait_until(function() return bob:stats().unverified == 1 end)
      bob:close()
      bob:close()
      pipe:settimeout(WAIT)
      assert.is_nil((pipe:read "l"))
      assert.is_nil((stranger:read "l"))
      assert.equal("EBADF", select(3, bob:accept()))
    end))

    it("leaves pipes in use alone", task(function()
      local alice, bob = start(), start()
      local pipe <close> = assert(alice:connect(bob.address, { strategies = { "direct" } }))
      local accepted <close> = assert(bob:accept(WAIT))
      alice:close()
      bob:close()
      pipe:write "still here\n"
      assert.equal("still here", accepted:read "l")
    end))

    it("makes later calls fail at once", task(function()
      local node = start()
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
      local node <close> = start()
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
      local options = { settings = select(2, helper.settings { brokers = { own }, stuns = { stun } }) }
      local bob <close> = start(options)
      local alice <close> = start(options)
      local heard <close>, said = bob:events(), alice:events()
      local pipe <close> = assert(alice:connect(bob.address))
      local accepted, made = collect(heard, "pipe").pipe, collect(said, "pipe").pipe
      assert.same({ alice.id, true, pipe.id }, { accepted.peer, accepted.accepted, accepted.id })
      assert.same({ bob.id, false, pipe.id }, { made.peer, made.accepted, made.id })
      own:stop()
      assert.equal("offline", collect(heard, "broker").broker.state)
    end))

    it("tell of what is refused", task(function()
      local node <close> = start()
      local events <close> = node:events()
      local stream <close> = call(node, "nonsense\n")
      assert.same({ "no peer", "127.0.0.1" },
        { collect(events, "refusal").refusal.reason, "127.0.0.1" })
      assert.is_truthy(stream)
    end))

    it("end with the node", task(function()
      local node = start()
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
      local node <close> = start()
      assert.equal("the address is not a string", select(2, node:echo(nil, "x")))
      assert.equal("not a peer address: address: empty", select(2, node:get_address ""))
      local beyond = node.address:gsub("^%d", "7")
      assert.matches("mqtt%[1%]: offset 7 is beyond", select(2, node:echo(beyond, "x")))
      assert.equal("EMSGSIZE", select(3, node:echo(node.address, ("x"):rep(7001))))
    end))

    it("end after their timeout", task(function()
      local node <close> = start()
      local nobody = node.address:gsub("%w+$", nodes.new_id())
      assert.equal("ETIMEDOUT", select(3, node:echo(nobody, "x", 0.05)))
      assert.equal("ETIMEDOUT", select(3, node:get_address(nobody, 0.05)))
    end))
  end)

  describe("its listener", function()
    local function check_turned_away(text, answer, options)
      return task(function()
        local node <close> = start(options)
        local stranger <close> = call(node, text(node))
        local got = stranger:read "a"
        assert.matches(answer, got or "")
        wait_until(function() return node:stats().turned_away == 1 end)
        assert.same({ 0, 0 }, { node:stats().unverified, node:stats().accepted })
      end)
    end

    it("turns garbage away", check_turned_away(function() return "GET / HTTP/1.1\r\n\r\n" end, "^$"))
    it("turns random bytes away", check_turned_away(function()
      return core.random.bytes(200) .. "\n"
    end, "^$"))
    it("turns endless lines away", check_turned_away(function() return ("x"):rep(100000) end, "^$"))
    it("turns words too many away", check_turned_away(function(node)
      return hello(node):gsub("\n", " more\n")
    end, "^$"))
    it("turns who comes without TLS away, and says why", check_turned_away(hello,
      "^P2PD/1 refused only encrypted pipes here\n$"))
    it("turns who comes for no dial of ours away, without a word", check_turned_away(function()
      return ("P2PD/1 back %s\n"):format(id.new())
    end, "^$"))
    it("without TLS turns who wants another node away, without a word", check_turned_away(function(node)
      return hello(node, id.new())
    end, "^$", { secure = false }))
    it("without TLS turns away who does not say go", check_turned_away(function(node)
      return hello(node) .. "P2PD/1 stop\n"
    end, "^P2PD/1 ready %w+ %w+\n$", { secure = false }))

    it("turns away who does not say go", task(function()
      local node <close> = start()
      local stranger <close> = dial(node, nodes.new())
      stranger:write "P2PD/1 stop\n"
      stranger:read "a"
      wait_until(function() return node:stats().turned_away == 1 end)
    end))

    it("turns the silent away after the deadline", task(function()
      handshake.TIMEOUT = 0.05
      local node <close> = start()
      local silent <close> = call(node)
      local begun <close> = call(node, "\x16\3\1")
      assert.equal("", silent:read "a")
      assert.equal("", begun:read "a")
      wait_until(function() return node:stats().turned_away == 2 end)
    end))

    it("survives who hangs up at any step", task(function()
      local node <close> = start { secure = false }
      local text = hello(node) .. "P2PD/1 go x\n"
      local ends = { 0, 1, 6, 30, #hello(node) - 1, #hello(node), #text - 1 }
      for _, at in ipairs(ends) do
        local gentle = call(node, text:sub(1, at))
        gentle:close()
        local rude = call(node, text:sub(1, at))
        rude:abort()
      end
      wait_until(function() return node:stats().unverified == 0 end)
      local pipe <close> = assert(node:connect(node.address, { strategies = { "direct" } }))
      local accepted <close> = assert(node:accept(WAIT))
      assert.equal(pipe.id, accepted.id)
    end))

    it("lets 64 strangers wait, and nobody beyond", task(function()
      handshake.TIMEOUT = 0.5
      local node <close> = start()
      local strangers <close> = p2pd.spawn(function()
        local crowd = {}
        for i = 1, 100 do crowd[i] = assert(core.tcp.connect("127.0.0.1", port_of(node))) end
        return crowd
      end)
      local crowd = strangers:join(WAIT)
      wait_until(function() return node:stats().turned_away >= 36 end)
      assert.is_true(node:stats().unverified <= 64)
      wait_until(function() return node:stats().turned_away == 100 end)
      for _, stream in ipairs(crowd) do stream:close() end
      local alice <close> = start()
      local pipe <close> = assert(alice:connect(node.address, { strategies = { "direct" } }))
      assert.equal("direct", pipe.strategy)
    end))

    it("lets in whom a list names, and not whom another one does", task(function()
      local alice, eve, mallory = nodes.new(), nodes.new(), nodes.new()
      local node <close> = start { allow = { alice.id, mallory.id }, deny = { mallory.id },
        trust = { eve.id } }
      local verdicts = {}
      for i, one in ipairs { alice, eve, mallory } do
        local stream <close> = dial(node, one)
        stream:write(("P2PD/1 go pipe%d\n"):format(i))
        verdicts[i] = stream:read "l"
      end
      assert.same({ "P2PD/1 accepted", "P2PD/1 refused not allowed", "P2PD/1 refused not allowed" }, verdicts)
      assert.same({ "trusted", "trusted", "stranger" }, { node.limits.trust:step(alice.id),
        node.limits.trust:step(eve.id), node.limits.trust:step(mallory.id) })
      for _, name in ipairs { "allow", "deny", "trust" } do
        assert.error_matches(function() start { [name] = { "a b" } } end, name .. " is .* a list of node ids")
      end
    end))

    it("keeps a stranger from having all pipes, and others from none", task(function()
      local node <close> = start { limits = { pipes_of_strangers = 6, pipes_of_peer = 4 } }
      local eve, alice = nodes.new(), nodes.new()
      local streams, accepted = {}, {}
      local function open(one, i)
        streams[i] = dial(node, one)
        streams[i]:write(("P2PD/1 go pipe%d\n"):format(i))
        return streams[i]:read "l"
      end
      for i = 1, 4 do
        assert.equal("P2PD/1 accepted", open(eve, i))
        accepted[i] = assert(node:accept(WAIT))
      end
      assert.equal("P2PD/1 refused too busy", open(eve, 5))
      for i = 6, 8 do
        assert.equal("P2PD/1 accepted", open(alice, i))
        accepted[i] = assert(node:accept(WAIT))
      end
      assert.equal(6, node:stats().limits.pipes_of_strangers.used)
      assert.is_nil((streams[1]:read "l"))
      for i, pipe in pairs(accepted) do
        pipe:close()
        streams[i]:close()
      end
      streams[5]:close()
      assert.equal(0, node:stats().limits.pipes_of_strangers.used)
    end))

    it("refuses pipes when enough wait to be accepted", task(function()
      local node <close> = start { limits = { pipes_waiting_of_strangers = 20 } }
      local pipes = {}
      local alice = nodes.new()
      for i = 1, 20 do
        pipes[i] = dial(node, alice)
        pipes[i]:write(("P2PD/1 go pipe%d\n"):format(i))
      end
      wait_until(function() return node:stats().waiting == 20 end)
      local late <close> = dial(node, alice)
      late:write "P2PD/1 go late\n"
      assert.equal("P2PD/1 refused too busy", late:read "l")
      assert.is_nil((late:read "l"))
      assert.equal(1, node:stats().limits.pipes_waiting_of_strangers.refused)
      for _, stream in ipairs(pipes) do stream:close() end
    end))
  end)
end)
