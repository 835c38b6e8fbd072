local address = require "p2pd.address"
local core = require "p2pd.core"
local helper = require "spec.helper"
local id = require "p2pd.id"
local loopback = require "spec.loopback"
local nat = require "p2pd.nat"
local p2pd = require "p2pd"
local punch = require "p2pd.strategy.punch"
local task = helper.task

local WAIT = 10
local ONLY_PUNCH = { strategies = { "punch" }, timeout = WAIT }

local function named(type, delta)
  return { type = nat.TYPES[type], delta = nat.DELTAS[delta], value = 0 }
end

-- From now on a node's IPv4 address says so; there is no IPv6 one any more.
local function pretend(node, fields)
  node.network.routes = { node.routes[1] }
  node.routes[1].external_known = true
  for key, value in pairs(fields) do node.routes[1][key] = value end
end

local function initial(fields)
  local m = { pipe = id.new(), pair = { "ipv4", 0, 0 }, mappings = { { 40001, 0, 40001 } }, try = 1,
    birthday = true }
  for key, value in pairs(fields or {}) do m[key] = value end
  return m
end

local function updated(fields)
  local m = { mappings = { { 40002, 0, 40002 } }, wait = 0.01, window = 0.2, spent = 0, instant = 0,
    asked = 0 }
  for key, value in pairs(fields or {}) do m[key] = value end
  return m
end

local function many_mappings(n)
  local list = {}
  for i = 1, n do list[i] = { 1, 0, i } end
  return list
end

describe("p2pd.strategy.punch", function()
  local world = loopback.new(setup, teardown)

  local function start(options)
    local all = { allow = loopback.ALLOWING.allow }
    for name, value in pairs(options or {}) do all[name] = value end
    return world:start(all)
  end
  local function pair(fn, options)
    return task(function()
      local alice <close> = start(options)
      local bob <close> = start(options)
      fn(alice, bob)
    end)
  end

  -- Bob's node answers every request so.
  local function answer_with(bob, fields)
    bob.signal.messages.INITIAL_MAPPINGS.handler = function(m)
      local answer = updated(fields)
      answer.pipe, answer.asked = m.pipe, m.time
      bob.signal:reply(m, "UPDATED_MAPPINGS", answer)
    end
  end

  describe("on one machine", function()
    it("makes a pipe", pair(function(alice, bob)
      local pipe <close> = assert(alice:connect(bob.address, ONLY_PUNCH))
      local accepted <close> = assert(bob:accept(WAIT))
      assert.equal("punch", pipe.strategy)
      assert.equal("punch", accepted.strategy)
      assert.equal(pipe.id, accepted.id)
      assert(pipe:write "hello\n")
      assert.equal("hello", accepted:read "l")
      assert(accepted:write "you\n")
      assert.equal("you", pipe:read "l")
      assert.equal(0, bob:stats().answering)
    end))

    it("makes one with several peers at once, and both ways", task(function()
      local alice <close> = start()
      local peers <close> = require("p2pd.task").hold()
      local dials = {}
      for i = 1, 4 do
        local peer = start()
        peers[i], peers.n = peer, i
        dials[#dials + 1] = function() return alice:connect(peer.address, ONLY_PUNCH) end
        dials[#dials + 1] = function() return peer:connect(alice.address, ONLY_PUNCH) end
      end
      local pipes = { assert(p2pd.all(dials)) }
      assert.equal(8, #pipes)
      for _ = 1, 4 do pipes[#pipes + 1] = assert(alice:accept(WAIT)) end
      for _, peer in ipairs(peers) do pipes[#pipes + 1] = assert(peer:accept(WAIT)) end
      for _, pipe in ipairs(pipes) do pipe:close() end
    end))

    it("is over on both sides when another strategy was faster", pair(function(alice, bob)
      local pipe <close> = assert(alice:connect(bob.address, { strategies = { "direct", "punch" } }))
      local accepted <close> = assert(bob:accept(WAIT))
      assert.equal("direct", pipe.strategy)
      assert.equal("x", alice:echo(bob.address, "x", WAIT)) -- the request has come by then
      assert.equal(0, bob:stats().answering)
      assert(accepted)
    end))

    it("has the dialer speak on one connection alone", pair(function(alice, bob)
      local pipe <close> = assert(alice:connect(bob.address, ONLY_PUNCH))
      assert(bob:accept(WAIT)):close()
      assert.equal("ETIMEDOUT", select(3, bob:accept(0)))
      assert(pipe)
    end))
  end)

  describe("beforehand", function()
    local function a_pair(our_nat, remote_nat, external)
      return {
        family = "ipv4",
        route = { family = "ipv4", nic = "10.0.0.2", external = "203.0.113.1", external_known = true,
          nat = our_nat },
        remote = { external = external or "203.0.113.2", internal = "10.0.0.3", nat = remote_nat },
      }
    end

    local EQUAL, RANDOM = named("port-restricted", "equal"), named("symmetric", "random")
    local OPEN = named("open internet", "not applicable")

    it("says what is feasible", function()
      assert.is_true(punch.feasible({}, a_pair(EQUAL, EQUAL)))
      assert.is_true(punch.feasible({ birthday = true }, a_pair(EQUAL, RANDOM)))
      assert.matches("^not predictable: ", select(2, punch.feasible({}, a_pair(EQUAL, RANDOM))))
      assert.equal("EACCES", select(3, punch.feasible({}, a_pair(EQUAL, EQUAL, "127.0.0.1"))))
    end)

    it("does not know before our NAT is known", function()
      assert.equal("EAGAIN", select(3, punch.feasible({}, a_pair(nil, EQUAL))))
    end)

    it("expects nothing where one side is open to everybody", function()
      assert.is_true(punch.expected({}, a_pair(EQUAL, RANDOM)))
      assert.is_false(punch.expected({}, a_pair(OPEN, EQUAL)))
      assert.is_false(punch.expected({}, a_pair(EQUAL, OPEN)))
    end)
  end)

  describe("of what is not predictable", function()
    -- How often the peer was asked to punch.
    local function check(alice, bob, reason)
      local entry, asked = bob.signal.messages.INITIAL_MAPPINGS, 0
      local answer = entry.handler
      entry.handler = function(m)
        asked = asked + 1
        return answer(m)
      end
      local pipe, err = alice:connect(bob.address, ONLY_PUNCH)
      assert.is_nil(pipe)
      assert.matches(reason, err.punch)
      return asked
    end

    it("says so at once, without asking", pair(function(alice, bob)
      pretend(alice, { external = "203.0.113.1", nat = named("symmetric", "random") })
      pretend(bob, { external = "203.0.113.2", nat = named("symmetric", "random") })
      assert.equal(0, check(alice, bob, "^not predictable: both sides' ports are random"))
    end))

    it("says so when only the peer knows", pair(function(alice, bob)
      local old = bob.address
      pretend(alice, { external = "203.0.113.1", nat = named("symmetric", "random"), loopback = false })
      pretend(bob, { external = "203.0.113.2", nat = named("symmetric", "random") })
      local given = address.parse(old)
      given.ipv6, given.ipv4[1].external = {}, "203.0.113.2"
      given.ipv4[1].nat = named("full cone", "equal")
      local _, err = alice:connect(address.format(given), ONLY_PUNCH)
      assert.matches("^refused by the peer: not predictable: ", err.punch)
    end))

    it("says when we want no birthday attack", task(function()
      local alice <close> = start { birthday = false }
      local bob <close> = start()
      pretend(alice, { external = "203.0.113.1", nat = named("port-restricted", "equal") })
      pretend(bob, { external = "203.0.113.2", nat = named("symmetric", "random") })
      assert.equal(0, check(alice, bob, "^not predictable: a random port"))
    end))

    it("says when the peer does not", task(function()
      local alice <close> = start()
      local bob <close> = start { birthday = false }
      pretend(alice, { external = "203.0.113.1", nat = named("port-restricted", "equal"), loopback = false })
      pretend(bob, { external = "203.0.113.2", nat = named("symmetric", "random"), loopback = false })
      check(alice, bob, "^refused by the peer: not predictable: a random port")
    end))

    it("refuses what is no flag", task(function()
      assert.error_matches(function() p2pd.node { settings = world.settings, birthday = 1 } end,
        "birthday is 1, and not true or false")
    end))
  end)

  describe("asked by a stranger", function()
    local function check(fields, reason, prepare)
      return pair(function(alice, bob)
        if prepare then prepare(alice, bob) end
        local answer, why, code = alice.signal:request(address.parse(bob.address), "INITIAL_MAPPINGS",
          initial(fields), WAIT)
        assert.is_nil(answer)
        assert.equal("EACCES", code)
        assert.matches("^refused by the peer: " .. reason, why)
        assert.equal(0, bob:stats().answering)
      end)
    end

    it("refuses the port 0", check({ mappings = { { 1, 0, 0 } } }, "mappings%[1%]: external port 0 is not"))
    it("refuses the port 70000", check({ mappings = { { 1, 0, 70000 } } },
      "mappings%[1%]: external port 70000"))
    it("refuses no mappings where its own ports can't be known", check({ mappings = {} }, "not predictable: ",
      function(alice, bob)
        pretend(alice, { external = "203.0.113.1", loopback = false })
        pretend(bob, { external = "203.0.113.2", loopback = false, nat = named("symmetric", "random") })
      end))
    it("refuses a thousand", check({ mappings = many_mappings(1000) }, "mappings: 1000 are more than 256"))
    it("refuses interfaces that there are not", check({ pair = { "ipv4", 0, 7 } },
      "no such pair of interfaces"))
    it("refuses while it does not know its NAT", check({}, "our NAT is not known yet", function(_, bob)
      bob.routes[1].nat = nil
    end))
    it("refuses to speak to itself", check({}, "127.0.0.1 is on this machine", function(_, bob)
      bob.routes[1].loopback = false
    end))
    it("refuses to speak to somebody's inner network", check({}, "192.168.7.7 is not on our LAN",
      function(alice, bob)
        pretend(alice, { external = "192.168.7.7", internal = "192.168.7.7" })
        pretend(bob, { external = "203.0.113.2", nic = "127.0.0.1", loopback = false })
      end))

    it("drops what is no such message", pair(function(alice, bob)
      for _, fields in ipairs { { pair = { "ipv5", 0, 0 } }, { pair = 3 }, { try = 0 }, { try = "x" },
        { delay = -1 }, { mappings = 7 }, { pair = { "ipv4", -1, 0 } } } do
        assert.is_nil((alice.signal:request(address.parse(bob.address), "INITIAL_MAPPINGS", initial(fields),
          0.05)))
      end
      assert.equal("x", alice:echo(bob.address, "x", WAIT))
      assert.equal(7, bob.signal:stats().fields)
    end))

    it("takes part in one birthday attack a minute", pair(function(alice, bob)
      pretend(alice, { external = "203.0.113.1", loopback = false, nat = named("port-restricted", "equal") })
      pretend(bob, { external = "203.0.113.2", loopback = false, nat = named("symmetric", "random") })
      local refusal
      for i = 1, 2 do
        local answer, reason = alice.signal:request(address.parse(bob.address), "INITIAL_MAPPINGS",
          initial { delay = 2 }, WAIT)
        assert.equal(i < 2, answer ~= nil)
        refusal = reason
      end
      assert.equal("refused by the peer: too busy", refusal)
    end))

    it("ends by itself when the dialer never fires", pair(function(alice, bob)
      local answer = assert(alice.signal:request(address.parse(bob.address), "INITIAL_MAPPINGS", initial(),
        WAIT))
      assert.is_true(answer.wait > 0 and answer.wait < 0.5)
      assert.equal(2, #answer.mappings)
      while bob:stats().answering > 0 do p2pd.sleep(0.05) end
    end))

    it("stops when the node is closed", pair(function(alice, bob)
      assert(alice.signal:request(address.parse(bob.address), "INITIAL_MAPPINGS", initial(), WAIT))
      bob:close()
    end))
  end)

  describe("with a peer that does not play", function()
    local function check(fields, reason, timeout)
      return pair(function(alice, bob)
        answer_with(bob, fields)
        local _, err = alice:connect(bob.address, { strategies = { "punch" }, timeout = timeout or WAIT })
        assert.matches(reason, err.punch)
      end)
    end

    it("goes on and says what it met", check({}, ".", 0.4))
    it("refuses the port 0", check({ mappings = { { 1, 0, 0 } } },
      "^the peer's mappings%[1%]: external port 0"))
    it("refuses many mappings", check({ mappings = many_mappings(300) },
      "^the peer's mappings: 300 are more than 256"))
    it("does not wait for a year", check({ wait = 50 }, "^the peer wants to fire in 50 s"))
    it("does not go on for minutes", check({ window = 50 }, "^the peer wants to go on for 50 s"))
    it("takes an instant of long ago for now", check({ instant = 1 }, ".", 0.4))

    it("stops when it is cancelled, whatever it does", pair(function(alice, bob)
      for _, pause in ipairs { 0, 0.01, 0.03, 0.06, 0.1 } do
        local dialing = p2pd.spawn(alice.connect, alice, bob.address, ONLY_PUNCH)
        p2pd.sleep(pause)
        dialing:cancel()
      end
    end))

    it("sends nothing more when the dial has ended", pair(function(alice, bob)
      local listener <close> = assert(core.tcp.listen { ip = "127.0.0.1" })
      local _, port = listener:getsockname()
      answer_with(bob, { mappings = { { port, 0, port } }, wait = 0.15, window = 3 })
      local pipe = alice:connect(bob.address, { strategies = { "punch" }, timeout = 0.1 })
      assert.is_nil(pipe)
      assert.equal("ETIMEDOUT", select(3, listener:accept(0.2)))
    end))

    it("is not taken in by whoever answers at the port", pair(function(alice, bob)
      local listener <close> = assert(core.tcp.listen { ip = "127.0.0.1" })
      local _, port = listener:getsockname()
      answer_with(bob, { mappings = { { port, 0, port } } })
      local stranger <close> = p2pd.spawn(function()
        while true do
          local stream <close> = listener:accept()
          stream:write "P2PD/1 ready\n"
          stream:recv()
        end
      end)
      local pipe, err = alice:connect(bob.address, { strategies = { "punch" }, timeout = 1 })
      assert.is_nil(pipe)
      assert.is_string(err.punch)
      assert(stranger)
    end))
  end)
end)
