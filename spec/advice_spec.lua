local advice = require "p2pd.advice"
local dial = require "p2pd.dial"

local CONE = { type = 5, delta = 2, value = 0 }
local RANDOM = { type = 6, delta = 6, value = 0 }
local BLOCKED = { type = 7, delta = 1, value = 0 }

local function route(nat, family)
  return { family = family or "ipv4", name = "eth0", nic = "10.0.0.2", external = "192.0.2.1", nat = nat }
end

local function record(nat, family)
  return { family = family or "ipv4", external = "192.0.2.2", nat = nat }
end

local function signal(reason, code)
  return { kind = "signal", name = "P2P_DIRECT", ok = false, reason = reason, code = code }
end

local function tried(name, reason, code)
  return { kind = "strategy", name = name, ok = false, reason = reason, code = code }
end

-- The advice for a dial of which everything is well, but for these facts and steps.
local function of(facts, ...)
  local all = { node_id = "me", peer_id = "you", timeout = 20, heard = true,
    strategies = { "direct", "reverse", "punch" }, routes = { route(CONE) }, records = { record(CONE) },
    brokers = { { name = "b:1", ok = true } }, has_turn = false, birthday = true }
  for key, value in pairs(facts) do all[key] = value end
  return advice.of { code = "EHOSTUNREACH", report = { facts = all, steps = { ... } } }
end

describe("p2pd.advice", function()
  it("names a relay where both NATs give out random ports", function()
    assert.equal("both NATs give out random ports, so a relay is needed: add a TURN server to the settings",
      of { routes = { route(RANDOM) }, records = { record(RANDOM) } })
  end)

  it("names a relay where no punch gets through", function()
    assert.equal("no punch gets through these two NATs (here symmetric, random ports; there port-restricted, "
      .. "equal ports), so a relay is needed: add a TURN server to the settings",
      of { routes = { route(RANDOM) }, records = { record(CONE) }, birthday = false })
    assert.matches("here blocked; there port%-restricted", of { routes = { route(BLOCKED) } })
  end)

  it("sees that one of several pairs can meet", function()
    assert.matches("^try again, or add a TURN server",
      of { routes = { route(RANDOM), route(CONE) }, records = { record(RANDOM), record(CONE) } })
    assert.matches("^try again: ", of { has_turn = true })
  end)

  it("names families that differ", function()
    assert.equal("this side has only IPv6 and the peer only IPv4, so a relay is needed: add a TURN server to "
      .. "the settings that serves both", of { routes = { route(CONE, "ipv6") } })
  end)

  it("names the peer that was not heard of", function()
    local silent = { heard = false }
    assert.matches("^the peer was not heard of", of(silent, signal("the peer does not answer", "ETIMEDOUT")))
    silent.timeout = 0.3
    assert.equal("0.3 s is little: allow it 20 s", of(silent, signal "the peer does not answer"))
  end)

  it("names brokers that can't be reached", function()
    local facts = { heard = false, brokers = { { name = "b:1", reason = "Connection refused" },
      { name = "a:2", reason = "timed out" } } }
    assert.matches("^the peer's brokers %(a:2, b:1%) can't be reached from here",
      of(facts, signal "no broker"))
    facts.brokers[1].reason = "certificate has expired"
    assert.matches("check the clock$", of(facts))
    facts.brokers[1].reason = "the broker's certificate is not good"
    assert.matches("certificates in the settings", of(facts))
  end)

  it("names what the peer refuses", function()
    local refused = signal("refused by the peer: not allowed", "EACCES")
    assert.equal("the peer lets in only whom it was told to: its owner can allow this node's id, me",
      of({ is_named = true }, refused))
    assert.matches("^the peer lets in only whom it was told to: give this node a name", of({}, refused))
    assert.matches("no room now", of({}, signal("refused by the peer: too busy", "EACCES")))
    assert.matches("does not use all of these", of({},
      signal("refused by the peer: this node knows no message X", "EACCES")))
    assert.matches("^try again", of({}, signal("refused by the peer: not reachable", "EACCES")))
  end)

  it("names a wrong clock", function()
    assert.matches("^one of the two clocks is wrong",
      of({}, signal("refused by the peer: one of the two clocks is wrong: ...", "EACCES")))
  end)

  it("names a network that is missing", function()
    assert.matches("no network", of { routes = {} })
    local unknown = route(RANDOM)
    unknown.external = nil
    assert.matches("^no STUN server told", of { routes = { unknown } })
  end)

  it("names strategies that were left out", function()
    assert.equal("only direct was tried: leave the choice of strategies out",
      of { is_chosen = true, strategies = { "direct" } })
    assert.matches("^try again", of { is_chosen = true, strategies = { "punch" } })
    assert.matches("^only punch", of { is_chosen = true, strategies = { "punch" }, has_turn = true })
  end)

  it("names a relay that can't be used", function()
    local facts = { has_turn = true, routes = { route(RANDOM) }, records = { record(RANDOM) } }
    assert.matches("user or the password", of(facts, tried("relay",
      'relay 192.0.2.1:3478 (tcp): 401 wrong user or password ("Unauthorized")', "EACCES")))
    assert.matches("p2pd nat", of(facts, tried("relay", "timed out", "ETIMEDOUT")))
    assert.matches("^try again", of(facts, tried("relay", "unused", "ECANCELED")))
  end)

  it("names one's own address, and another node at the peer's", function()
    assert.matches("of this node itself", of { peer_id = "me" })
    assert.matches("another node may have",
      of({ heard = false }, tried("direct", "the peer hung up in the TLS handshake: it may be another node")))
  end)

  it("is none where the error says it", function()
    assert.is_nil(advice.of { code = "EINVAL" })
    assert.is_nil(advice.of { code = "EFAULT", report = { steps = {}, facts = {} } })
    assert.is_nil(advice.of { report = { steps = {} } })
  end)

  describe("sentence()", function()
    local function failure(peer_id)
      return dial.failure("no connection to " .. peer_id, "EHOSTUNREACH", { { strategy = "direct", ok = false,
        reason = "refused" }, report = { steps = {} } })
    end

    it("says what happened and what could be done", function()
      local own = failure "you"
      own.report.facts = { node_id = "you", peer_id = "you" }
      assert.matches("^no connection to you: this is the address of this node itself", advice.sentence(own))
      assert.matches("^no connection to b%%1: this is", advice.sentence(own, "b%1"))
    end)

    it("has the reasons where nothing could be done", function()
      assert.equal("no connection to you (direct: refused)", advice.sentence(failure "you", "bob"))
    end)
  end)
end)
