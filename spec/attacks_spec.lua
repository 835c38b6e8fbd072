-- What must not work, each tried on a node as it is used: real brokers, real connections.
local address = require "p2pd.address"
local core = require "p2pd.core"
local handshake = require "p2pd.handshake"
local helper = require "spec.helper"
local loopback = require "spec.loopback"
local id = require "p2pd.id"
local nodes = require "spec.nodes"
local p2pd = require "p2pd"
local taps = require "spec.taps"
local tasks = require "p2pd.task"
local task = helper.task
local wait_until = helper.wait_until

local WAIT = 5
local SECRET = "attack at dawn"
local NO_PROOF = "no proof that the peer knows the node id"

describe("an attack:", function()
  local world = loopback.new(setup, teardown)

  local function start(options) return world:start(options) end
  local pretend = loopback.pretend

  local function port_of(node) return address.parse(node.address).ipv4[1].port end

  local function find(wire, ...)
    for _, secret in ipairs { ... } do
      if wire:find(secret, 1, true) then return secret end
    end
  end

  -- Whether the bytes are TLS records and nothing else.
  local function is_tls(bytes)
    local at = 1
    while at <= #bytes do
      local kind, major, length = (">BBxI2"):unpack(bytes .. "\0\0\0\0\0", at)
      if kind < 20 or kind > 23 or major ~= 3 then return false end
      at = at + 5 + length
    end
    return at == #bytes + 1
  end

  local function talk(pipe, accepted)
    pipe:write(SECRET, "\n")
    assert.equal(SECRET, accepted:read "l")
    accepted:write(SECRET, "\n")
    assert.equal(SECRET, pipe:read "l")
    pipe:close()
    accepted:close()
  end

  describe("who listens", function()
    it("on the wire of a direct pipe reads nothing", task(function()
      local alice <close> = start()
      local bob <close> = start()
      local tap <close> = taps.new(port_of(bob))
      local pipe <close> = assert(alice:connect(pretend(bob, tap.port), { strategies = { "direct" } }))
      local accepted <close> = assert(bob:accept(WAIT))
      talk(pipe, accepted)
      wait_until(function() return #tap.connections > 0 end)
      local wire = tap.connections[1]
      assert.is_nil(find(tap:all(), SECRET, "P2PD", alice.id, bob.id, pipe.id, alice.key:public(),
        bob.key:public()))
      assert.is_true(is_tls(table.concat(wire.up)))
      assert.is_true(is_tls(table.concat(wire.down)))
    end))

    it("on the wire of a reverse pipe reads its id and nothing else", task(function()
      local alice <close> = start()
      local bob <close> = start()
      local tap <close> = taps.new(port_of(alice))
      pretend(alice, tap.port)
      local pipe <close> = assert(alice:connect(bob.address, { strategies = { "reverse" } }))
      local accepted <close> = assert(bob:accept(WAIT))
      talk(pipe, accepted)
      local wire = tap.connections[1]
      assert.is_nil(find(tap:all(), SECRET, alice.id, bob.id, alice.key:public(), bob.key:public()))
      local first, rest = table.concat(wire.up):match "^([^\n]*\n)(.*)$"
      assert.equal(("P2PD/1 back %s\n"):format(pipe.id), first)
      assert.is_true(is_tls(rest))
      assert.is_true(is_tls(table.concat(wire.down)))
    end))

    it("at the broker sees topics and nothing else", task(function()
      local tap <close> = taps.new(world.broker.port)
      local tapped = select(2, helper.settings { brokers = { { host = "127.0.0.1", port = tap.port } } })
      local alice <close> = start { settings = tapped }
      local bob <close> = start { settings = tapped }
      local listener <close> = core.mqtt.open { host = world.broker.host, port = world.broker.port }
      listener:subscribe(bob.id)
      assert(listener:wait_online(WAIT))
      assert(alice:echo(bob.address, SECRET))
      local pipe <close> = assert(alice:connect(bob.address, { strategies = { "reverse" } }))
      local accepted <close> = assert(bob:accept(WAIT))
      local _, payload = listener:receive(WAIT)
      assert.is_nil(find(payload, alice.id, alice.key:public()))
      assert.is_nil(find(tap:all(), SECRET, "ECHO", "P2P_DIRECT", "GET_ADDR", "127.0.0.1", pipe.id,
        tostring(port_of(alice)), alice.key:public(), bob.key:public(), "address"))
      assert(accepted)
    end))
  end)

  describe("who knows a node's id", function()
    -- A client of the broker that can send anything.
    local function with_stranger(fn)
      return task(function()
        local node <close> = start()
        local stranger <close> = core.mqtt.open { host = world.broker.host, port = world.broker.port }
        assert(stranger:wait_online(WAIT))
        fn(node, stranger)
      end)
    end

    it("and replays what a peer has sent gets nothing done", task(function()
      local alice <close> = start()
      local bob <close> = start()
      local eve <close> = core.mqtt.open { host = world.broker.host, port = world.broker.port }
      eve:subscribe(bob.id)
      assert(eve:wait_online(WAIT))
      local pipe <close> = assert(alice:connect(bob.address, { strategies = { "reverse" } }))
      local accepted <close> = assert(bob:accept(WAIT))
      local _, request = eve:receive(WAIT)
      for _ = 1, 10 do eve:publish(bob.id, request) end
      wait_until(function() return (bob:stats().refused.duplicate or 0) == 10 end)
      assert.is_nil((bob:accept(0.05)))
      assert.equal(0, bob:stats().answering)
      assert(pipe and accepted)
    end))

    it("and sends another node's messages on gets nothing done", task(function()
      local alice <close> = start()
      local eve <close> = core.mqtt.open { host = world.broker.host, port = world.broker.port }
      local bob <close> = start()
      eve:subscribe(bob.id)
      assert(eve:wait_online(WAIT))
      local carol <close> = start()
      assert(alice:echo(bob.address, "x", WAIT))
      eve:publish(carol.id, select(2, eve:receive(WAIT)))
      wait_until(function() return carol:stats().refused.forged == 1 end)
    end))

    it("floods it, and trusted peers do not notice", with_stranger(function(bob, stranger)
      local alice <close> = start()
      local opened = spy.on(require "p2pd.signal.envelope", "open")
      assert(alice:echo(bob.address, "before", WAIT))
      collectgarbage()
      local memory = collectgarbage "count"
      local noise, crowd = "\2" .. core.random.bytes(256):rep(2), {}
      for i = 1, 20 do
        local eve = nodes.new()
        crowd[i] = nodes.seal(eve, bob.id, { type = "P2P_DIRECT", id = id.new(), from = eve.id, to = bob.id,
          address = bob.address:gsub("%w+$", eve.id), time = core.clock.realtime(), ttl = 60,
          pipe = id.new() })
      end
      for round = 1, 20 do
        for i = 1, 150 do stranger:publish(bob.id, i % 15 == 0 and crowd[round] or noise) end
        assert.equal(tostring(round), (alice:echo(bob.address, tostring(round), WAIT)))
      end
      wait_until(function() return bob:stats().signalling.received >= 2000 end)
      assert.is_true(bob:stats().refused["too many of strangers"] > 1000)
      assert.is_true(#opened.calls < 200 + 100 * 20 + 100)
      opened:revert()
      assert.is_true(bob:stats().answering <= 24)
      collectgarbage()
      assert.is_true(collectgarbage "count" - memory < 8 * 1024, "memory grows with the flood")
    end))
  end)

  describe("who knows a node's address", function()
    local lines

    -- Runs openssl against the node; then what the log says of it.
    local function check(arguments, reason)
      return task(function()
        local bob <close> = start()
        local options = arguments.options
        if arguments.knows then options = table.concat({ options, nodes.proof_options(bob) }, " ") end
        local folder = helper.scratch()
        lines = {}
        bob.refusals.write = function(_, line) lines[#lines + 1] = line end
        local command = ([[cd %s && openssl req -x509 -newkey %s -nodes -keyout key -out cert -subj /CN=node \
          2>/dev/null; exec openssl s_client -connect 127.0.0.1:%d %s </dev/null >/dev/null 2>&1]])
          :format(folder, arguments.key or "ed25519", port_of(bob), options)
        local child <close> = assert(core.process.spawn { "sh", "-c", command, env = { LD_PRELOAD = "" } })
        child:wait(WAIT)
        wait_until(function() return bob:stats().turned_away == 1 end)
        assert.matches("^a connection from 127.0.0.1 was turned away: ", lines[1])
        assert.matches(reason, lines[1])
        assert.same({ 0, 0, 0 }, { bob:stats().accepted, bob:stats().unverified, bob:stats().waiting })
      end)
    end

    it("and not its id is refused", check({ options = "-tls1_3" }, NO_PROOF))
    it("and offers TLS 1.2 is refused", check({ options = "-tls1_2" }, NO_PROOF))
    it("and its id, but has no certificate, is refused",
      check({ options = "-tls1_3", knows = true }, "the peer has no certificate"))
    it("and its id, and has a certificate of another kind, is refused",
      check({ options = "-tls1_3 -key key -cert cert", key = "rsa:2048", knows = true },
        "the peer has no certificate"))

    it("and is no dialer of ours takes no pipe", task(function()
      local bob <close> = start()
      local stream <close> = assert(core.tcp.connect("127.0.0.1", port_of(bob)))
      local eve = nodes.new()
      assert(core.tls.client(stream, eve.context, bob.id, WAIT))
      stream:write "P2PD/1 ready\n"
      wait_until(function() return bob:stats().turned_away == 1 end)
      assert.is_nil((bob:accept(0)))
    end))

    it("holds all places is made to give one to somebody else", task(function()
      local bob <close> = start()
      local crowd = {}
      for i = 1, 64 do crowd[i] = assert(core.tcp.connect("127.0.0.1", port_of(bob))) end
      wait_until(function() return bob:stats().unverified == 64 end)
      local one_more <close> = assert(core.tcp.connect("127.0.0.1", port_of(bob)))
      wait_until(function() return bob:stats().turned_away == 1 end)
      local other <close> = assert(core.tcp.connect("127.0.0.1", port_of(bob), { ip = "127.0.0.9" }))
      wait_until(function() return bob:stats().turned_away == 2 end)
      assert.equal(64, bob:stats().unverified)
      local alice = nodes.new()
      assert(core.tls.client(other, alice.context, bob.id, WAIT))
      handshake.go(other, { pipe = "pipe1" })
      assert.equal(alice.id, bob:accept(WAIT).peer)
      for _, stream in ipairs(crowd) do stream:close() end
      assert.equal(2, bob:stats().refused["too busy"])
      assert(one_more)
    end))
  end)

  describe("who stands between", function()
    -- An openssl s_server: the port that it listens at.
    local function s_server(...)
      local folder, port = helper.scratch(), helper.free_port()
      local command = ([[cd %s && openssl req -x509 -newkey ed25519 -nodes -keyout key -out cert -subj /CN=x \
        2>/dev/null; exec openssl s_server -accept 127.0.0.1:%d %s]]):format(folder, port,
        table.concat({ ... }, " "))
      local child = assert(core.process.spawn { "sh", "-c", command, stdin = "pipe", stdout = "pipe",
        stderr = "null", env = { LD_PRELOAD = "" } })
      repeat until assert(child:stdout():read "l") == "ACCEPT"
      return child, port
    end

    local function check_impostor(reason, ...)
      local options = { ... }
      return task(function()
        local alice <close> = start()
        local bob <close> = start()
        local proof = { nodes.proof_options(bob) }
        if options[1] == "-nocert" then table.move(proof, 1, #proof, 2, options) end
        local child, port = s_server(table.unpack(options))
        local _ <close> = child
        local pipe, err = alice:connect(pretend(bob, port), { strategies = { "direct" }, timeout = WAIT })
        assert.is_nil(pipe)
        assert.matches(reason, err.direct, 1, true)
      end)
    end

    it("and shows a key of his own for the peer's is found out",
      check_impostor("the peer's certificate is of another node: ", "-key", "key", "-cert", "cert"))
    it("and takes what the dialer knows of the peer for a proof of the peer's key is found out",
      check_impostor("the peer's certificate has no node key", "-nocert"))

    it("and speaks for the peer is found out", task(function()
      local alice <close> = start()
      local bob <close> = start()
      local eve = nodes.new()
      local listener <close> = assert(core.tcp.listen { ip = "127.0.0.1" })
      local text = pretend(bob, select(2, listener:getsockname()))
      local dialing <close> = p2pd.spawn(alice.connect, alice, text, { strategies = { "direct" } })
      local mine <close> = assert(listener:accept(WAIT))
      local ok = core.tls.server(mine, eve.context, nil, WAIT)
      local pipe, err = dialing:join(WAIT)
      assert.is_nil(pipe)
      assert.matches("the peer hung up in the TLS handshake", err.direct)
      assert.is_nil(ok)
    end))

    it("and comes first with a pipe's id does not keep the peer away", task(function()
      local alice <close> = start()
      local bob <close> = start()
      local eve = nodes.new()
      local listener <close> = assert(core.tcp.listen { ip = "127.0.0.1" })
      local own = port_of(alice)
      pretend(alice, select(2, listener:getsockname()))
      local dialing <close> = p2pd.spawn(alice.connect, alice, bob.address, { strategies = { "reverse" } })
      local back <close> = assert(listener:accept(WAIT))
      local line = back:read "L"
      local thief <close> = assert(core.tcp.connect("127.0.0.1", own))
      thief:write(line)
      assert.is_nil((core.tls.server(thief, eve.context, nil, WAIT)))
      local onwards <close> = assert(core.tcp.connect("127.0.0.1", own))
      onwards:write(line)
      local up <close> = p2pd.spawn(function()
        while true do
          local data = back:recv()
          if not data or not onwards:write(data) then return end
        end
      end)
      local down <close> = p2pd.spawn(function()
        while true do
          local data = onwards:recv()
          if not data or not back:write(data) then return end
        end
      end)
      local pipe <close> = assert(dialing:join(WAIT))
      local accepted <close> = assert(bob:accept(WAIT))
      assert.same({ bob.id, alice.id }, { pipe.peer, accepted.peer })
      assert(up and down)
    end))
  end)

  describe("allow", function()
    it("is asked for everything that a peer wants", task(function()
      local asked = {}
      local bob <close> = start { allow = function(peer, m) asked[m.type] = peer return true end }
      local alice <close> = start()
      assert(alice:echo(bob.address, "x", WAIT))
      for _, name in ipairs { "direct", "reverse" } do
        local pipe <close> = assert(alice:connect(bob.address, { strategies = { name } }))
        bob:accept(WAIT):close()
        assert(pipe)
      end
      assert.same({ ECHO = alice.id, GET_ADDR = alice.id, DIRECT = alice.id, P2P_DIRECT = alice.id,
        PIPE = alice.id }, asked)
      assert.is_true(bob.signal.admission:is_trusted(alice.id))
    end))

    it("keeps others out", task(function()
      local alice <close> = start()
      local bob <close> = start { allow = function(peer) return peer == "nobody" end }
      assert.equal("ETIMEDOUT", select(3, alice:echo(bob.address, "x", 0.1)))
      local _, err = alice:connect(bob.address, { strategies = { "reverse" }, timeout = WAIT })
      assert.equal("refused by the peer: not allowed", err.reverse)
      local pipe <close> = assert(alice:connect(bob.address, { strategies = { "direct" }, timeout = WAIT }))
      assert.same({ n = 3, nil, "refused by the peer: not allowed", "EACCES" }, table.pack(pipe:read "l"))
      assert.equal("EACCES", select(3, pipe:write "x"))
      assert.equal("EACCES", select(3, pipe:read "a"))
      assert.is_nil((bob:accept(0)))
      assert.is_true(bob:stats().turned_away >= 1)
      assert.is_true(bob:stats().refused["not allowed"] >= 3)
    end))

    it("that fails keeps everybody out", task(function()
      local alice <close> = start()
      local bob <close> = start { allow = function() error "no idea" end }
      local log = stub(core.log, "write")
      assert.equal("ETIMEDOUT", select(3, alice:echo(bob.address, "x", 0.1)))
      log:revert()
      assert.error_matches(function() start { allow = true } end,
        "allow is true, and not a function, or a list of node ids")
    end))
  end)

  it("by a newcomer finds a place for an answer, whoever has them all", task(function()
    local bob <close> = start { limits = { syns_to_target = 10000, connects_of_peer = 10000 } }
    local silent <close> = assert(core.tcp.listen { ip = "127.0.0.1" })
    local kept = {}
    local _ <close> = tasks.spawn(function() while true do kept[#kept + 1] = silent:accept() end end)
    local client <close> = core.mqtt.open { host = world.broker.host, port = world.broker.port }
    assert(client:wait_online(WAIT))
    local port = select(2, silent:getsockname())
    local eves = { nodes.new(), nodes.new() }
    for i = 1, 24 do
      local eve = eves[i % 2 + 1]
      assert(client:publish(bob.id, nodes.seal(eve, bob.id, { type = "P2P_DIRECT", id = id.new(),
        from = eve.id, to = bob.id, pipe = id.new(), time = core.clock.realtime(), ttl = 60,
        address = ("0-[0,127.0.0.1,127.0.0.1,%d,1,1,0]-0-%s"):format(port, eve.id) })))
    end
    wait_until(function() return bob:stats().answering == 24 end)
    local alice <close> = start()
    local pipe <close> = assert(alice:connect(bob.address, { strategies = { "reverse" }, timeout = WAIT }))
    assert.equal(1, bob:stats().refused["too busy"])
    for _, stream in ipairs(kept) do stream:close() end
    assert(pipe)
  end))
end)
