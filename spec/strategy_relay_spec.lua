local address = require "p2pd.address"
local core = require "p2pd.core"
local helper = require "spec.helper"
local loopback = require "spec.loopback"
local p2pd = require "p2pd"
local relay = require "p2pd.strategy.relay"
local task = helper.task

local WAIT = 10
local ONLY_RELAY = { strategies = { "relay" }, timeout = WAIT, exclusive = true }

describe("p2pd.strategy.relay", function()
  local world = loopback.new(setup, teardown)
  local server
  local with = {}

  setup(function()
    server = helper.coturn { tls = true }
    for _, transport in ipairs { "tcp", "tls" } do
      with[transport] = world:settings_with(server:turn(transport))
    end
  end)

  -- A node that tells everybody why it refuses; without settings it has no TURN server.
  local function options_of(settings, options)
    local all = { settings = settings, allow = loopback.ALLOWING.allow }
    for name, value in pairs(options or {}) do all[name] = value end
    return all
  end

  local function start(settings, options) return world:start(options_of(settings, options)) end

  local function pair(settings, others, fn, options)
    return world:pair(fn, function() return options_of(settings(), options) end,
      function() return options_of(others(), options) end)
  end

  local function connect(alice, bob, options)
    local pipe = assert(alice:connect(bob.address, options or ONLY_RELAY))
    local accepted = assert(bob:accept(WAIT))
    pipe:settimeout(WAIT)
    accepted:settimeout(WAIT)
    return pipe, accepted
  end

  -- The allocations that the server still holds.
  local function held(coturn)
    local sessions, count = {}, 0
    local log = (coturn or server):log()
    for session in log:gmatch "session (%d+): new, realm" do sessions[session] = true end
    for session in log:gmatch "session (%d+): delete: realm" do sessions[session] = nil end
    for _ in pairs(sessions) do count = count + 1 end
    return count
  end

  local function wait_until_released(coturn)
    local deadline = core.clock.monotonic() + WAIT
    while held(coturn) > 0 do
      assert(core.clock.monotonic() < deadline, "the server still holds an allocation")
      p2pd.sleep(0.05)
    end
  end

  -- Both ends send the data and their end at the same time, and read what the other one has sent.
  local function check_both_ways(pipe, accepted, data)
    local function send(from)
      return function()
        assert(from:write(data))
        assert(from:shutdown())
        return true
      end
    end
    local function receive(from) return function() return from:read "a" == data end end
    assert.same({ true, true, true, true },
      { p2pd.all { send(pipe), send(accepted), receive(pipe), receive(accepted) } })
  end

  local function ours(transport) return function() return with[transport] end end
  local function none() return nil end

  local function check_pipe(alice, bob)
    local pipe, accepted = connect(alice, bob)
    local _ <close> = pipe
    local _ <close> = accepted
    assert.same({ "relay", "relay", pipe.id, alice.id, bob.id },
      { pipe.strategy, accepted.strategy, accepted.id, accepted.peer, pipe.peer })
    assert(pipe:write "hello\n")
    assert.equal("hello", accepted:read "l")
    pipe:shutdown()
    assert.is_nil((accepted:read "l"))
    assert(accepted:write("still here\n"))
    assert.equal("still here", pipe:read "l")
    accepted:close()
    assert.is_nil((pipe:read "l"))
    pipe:close()
    wait_until_released()
  end

  for _, transport in ipairs { "tcp", "tls" } do
    it("meets at the dialer's server, over " .. transport, pair(ours(transport), none, check_pipe))
    it("meets at the peer's server, over " .. transport, pair(none, ours(transport), check_pipe))
  end

  describe("where servers relay datagrams only", function()
    local poor

    setup(function() poor = helper.coturn { no_tcp_relay = true, tls = true } end)

    local function settings_of(transport)
      return function() return world:settings_with(poor:turn(transport)) end
    end

    local function check(alice, bob)
      local pipe, accepted = connect(alice, bob)
      check_both_ways(pipe, accepted, ("0123456789abcdef"):rep(60000))
      assert.equal("relay", pipe.strategy)
      pipe:close()
      accepted:close()
      wait_until_released(poor)
    end

    for _, transport in ipairs { "udp", "tcp", "tls" } do
      it("meets at the dialer's, over " .. transport, pair(settings_of(transport), none, check))
      it("meets at the peer's, over " .. transport, pair(none, settings_of(transport), check))
    end

    it("carries pipes without TLS", pair(settings_of "udp", none, check, { secure = false }))
  end)

  it("carries pipes without TLS as well", pair(ours "tcp", none, check_pipe, { secure = false }))

  it("carries much, both ways at once, and loses nothing at the end", pair(ours "tcp", none,
    function(alice, bob)
      local pipe, accepted = connect(alice, bob)
      check_both_ways(pipe, accepted, ("0123456789abcdef"):rep(250000))
      pipe:close()
      accepted:close()
      wait_until_released()
    end))

  it("brings to a slow reader what was written before the close", pair(ours "tcp", none,
    function(alice, bob)
      local pipe, accepted = connect(alice, bob)
      local size = 6000000
      local _ <close> = p2pd.spawn(function()
        pipe:write(("x"):rep(size))
        pipe:close()
      end)
      p2pd.sleep(0.1)
      local count = 0
      for data in function() return (accepted:recv()) end do count = count + #data end
      assert.equal(size, count)
      accepted:close()
      wait_until_released()
    end))

  it("is among the usual strategies of who has a server, after cheaper ones", pair(ours "tcp", none,
    function(alice, bob)
      local pipe <close> = assert(alice:connect(bob.address, { timeout = WAIT, exclusive = true }))
      local accepted <close> = assert(bob:accept(WAIT))
      assert.equal("direct", pipe.strategy)
      assert.equal("direct", accepted.strategy)
      wait_until_released()
    end))

  it("takes the place of cheaper ones that fail", pair(ours "tcp", none, function(alice, bob)
    local stale = address.parse(bob.address)
    stale.ipv6, stale.ipv4[1].port = {}, helper.free_port()
    local own = address.parse(bob.address)
    own.ipv6, own.ipv4[1].port = {}, stale.ipv4[1].port
    bob.signal.address = function() return address.format(own) end
    local pipe <close> = assert(alice:connect(address.format(stale),
      { strategies = { "direct", "relay" }, timeout = WAIT, exclusive = true }))
    local accepted <close> = assert(bob:accept(WAIT))
    assert.equal("relay", pipe.strategy)
    accepted:close()
    pipe:close()
    wait_until_released()
  end))

  it("passes over servers that are dead or refuse", task(function()
    local dead, refusing = server:turn "tcp", server:turn "tcp"
    dead.port, refusing.pass = helper.free_port(), "wrong"
    local alice <close> = start(world:settings_with(dead, refusing, server:turn "tcp"))
    local bob <close> = start(nil)
    local pipe, accepted = connect(alice, bob)
    accepted:close()
    pipe:close()
    wait_until_released()
  end))

  it("falls back to the peer's server", task(function()
    local dead = server:turn "tcp"
    dead.port = helper.free_port()
    local alice <close> = start(world:settings_with(dead))
    local bob <close> = start(with.tcp)
    local pipe, accepted = connect(alice, bob)
    accepted:close()
    pipe:close()
    wait_until_released()
  end))

  local function failure(alice, bob, options)
    local pipe, err = alice:connect(bob.address, options or ONLY_RELAY)
    assert.is_nil(pipe)
    return err.relay
  end

  it("is not feasible before the peer's relay could let us in", function()
    local pair_of = { route = { external_known = false } }
    local function feasible(turn, discovering)
      return select(3, relay.feasible({ settings = { turn = turn }, discovering = discovering }, pair_of))
    end
    assert.equal("EAGAIN", feasible({}, true))
    assert.is_nil(feasible({}, false))
    assert.is_nil(feasible({ { host = "x" } }, true))
    pair_of.route.external_known = true
    assert.is_nil(feasible({}, true))
  end)

  it("allocates again for another call in one dial", pair(ours "tcp", none, function(alice, bob)
    local handler, asked = bob.signal.messages.TURN_REQUEST.handler, 0
    bob.signal.messages.TURN_REQUEST.handler = function(m)
      asked = asked + 1
      if asked == 1 then return bob.signal:refuse(m, "not now") end
      return handler(m)
    end
    local function twice(dial) return dial:attempt "relay" or dial:attempt "relay" end
    local pipe <close> = assert(alice:connect(bob.address, { strategies = { "relay" }, policy = twice,
      timeout = WAIT, exclusive = true }))
    assert.equal("relay", pipe.strategy)
    local accepted <close> = assert(bob:accept(WAIT))
    accepted:close()
    pipe:close()
    wait_until_released()
  end))

  it("says so when nobody has a server", pair(none, none, function(alice, bob)
    assert.equal("refused by the peer: no TURN server is configured", failure(alice, bob))
  end))

  it("tells of wrong credentials", task(function()
    local entry = server:turn "tcp"
    entry.pass = "wrong"
    local alice <close> = start(world:settings_with(entry))
    local bob <close> = start(nil)
    assert.matches("401 wrong user or password.*; refused by the peer: no TURN server", failure(alice, bob))
  end))

  it("leaves nothing on the server when the peer never answers", task(function()
    local alice <close> = start(with.tcp)
    local bob <close> = start(nil)
    bob.signal.messages.TURN_REQUEST.handler = function() end
    assert.matches("no answer within 0%.%d+ s",
      failure(alice, bob, { strategies = { "relay" }, timeout = 0.5, exclusive = true }))
    wait_until_released()
  end))

  it("says so when the peer cannot reach the relay", pair(ours "tcp", none, function(alice, bob)
    local routes = bob.routes
    local peer = bob.address
    bob.signal.address = function() return peer end
    bob.network.routes = {}
    local _, err = alice:connect(peer, ONLY_RELAY)
    bob.network.routes = routes
    assert.matches("no address", err.relay) -- says the peer, or its present address
    wait_until_released()
  end))

  it("takes a relay to be nowhere that nobody's relay is", pair(none, none, function(alice, bob)
    for _, endpoint in ipairs { "0.0.0.0:7", "224.0.0.1:7", "255.255.255.255:7" } do
      local answer, reason = alice.signal:request(address.parse(bob.address), "TURN_REQUEST",
        { pipe = "pipe" .. #endpoint, relayed = endpoint }, WAIT)
      assert.is_nil(answer)
      assert.matches("^refused by the peer: .* is no address to connect to", reason)
    end
  end))

  it("connects to nothing on this machine, or in a network of somebody's, which is not ours", pair(none, none,
    function(alice, bob)
      local peer = bob.address
      for _, route in ipairs(bob.routes) do
        local ip = route.family == "ipv4" and "8.8.8.8" or "2f00::1"
        route.loopback, route.nic, route.internal, route.external = false, ip, ip, ip
      end
      for i, endpoint in ipairs { "127.0.0.1:7", "10.1.2.3:7", "100.64.1.1:7", "192.168.1.1:7", "[::1]:7" } do
        local answer, reason = alice.signal:request(address.parse(peer), "TURN_REQUEST",
          { pipe = "pipe" .. i, relayed = endpoint }, WAIT)
        assert.is_nil(answer)
        assert.is_true(reason:find "is on this machine$" ~= nil or reason:find "is not on our LAN$" ~= nil)
      end
    end))

  it("turns strangers at the relayed address away", pair(ours "tcp", none, function(alice, bob)
    local answer = bob.signal.messages.TURN_REQUEST.handler
    bob.signal.messages.TURN_REQUEST.handler = function(m)
      local ip, port = m.relayed:match "^(.*):(%d+)$"
      p2pd.spawn(function()
        for _ = 1, 12 do
          local stranger = core.tcp.connect(ip, tonumber(port))
          if stranger then
            stranger:write(("P2PD/1 up %s\n"):format(m.from))
            stranger:close()
          end
        end
        answer(m)
      end)
    end
    local pipe, accepted = connect(alice, bob)
    accepted:close()
    pipe:close()
    wait_until_released()
  end))

  it("ends pipes with an error when the server dies, on both sides", task(function()
    for _, secure in ipairs { true, false } do
      local mortal = helper.coturn {}
      local alice <close> = start(world:settings_with(mortal:turn "tcp"), { secure = secure })
      local bob <close> = start(nil, { secure = secure })
      local pipe, accepted = connect(alice, bob)
      local _ <close> = pipe
      local _ <close> = accepted
      mortal:stop()
      for _, each in ipairs { pipe, accepted } do
        local data, reason, code = each:read "l"
        assert.is_nil(data)
        assert.is_string(reason)
        assert.is_true(code == "ECONNRESET" or code == "ECONNABORTED", code)
      end
    end
  end))

  it("does without a server that falls silent, as soon as that is known", task(function()
    local mortal = helper.coturn {}
    local alice <close> = start(world:settings_with(mortal:turn "tcp"))
    local bob <close> = start(nil)
    local pipe, accepted = connect(alice, bob)
    mortal:signal "STOP"
    pipe:settimeout(0.05)
    assert.equal("ETIMEDOUT", select(3, pipe:read "l"))
    mortal:signal "CONT"
    mortal:stop()
    pipe:settimeout(WAIT)
    assert.is_string((select(2, pipe:read "l")))
    pipe:close()
    accepted:close()
  end))

  -- The last one: the peer's side says its last words for some seconds after the end, and nothing is counted.
  it("ends a pipe of datagrams with an error when the server dies", function()
    core.task.run(function()
      local mortal = helper.coturn { no_tcp_relay = true }
      local alice <close> = start(world:settings_with(mortal:turn "udp"))
      local bob <close> = start(nil)
      local pipe, accepted = connect(alice, bob)
      local _ <close> = pipe
      local _ <close> = accepted
      mortal:stop()
      local deadline = core.clock.monotonic() + WAIT
      local code
      repeat
        code = select(3, pipe:write "is anybody there?\n")
        p2pd.sleep(0.05)
      until code or core.clock.monotonic() > deadline
      assert.is_string(code)
    end)
  end)
end)
