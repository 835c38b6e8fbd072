local nat = require "p2pd.nat"
local forecast = require "p2pd.netcheck.forecast"

local function kind(type, delta, value)
  return { type = nat.TYPES[type], delta = nat.DELTAS[delta or "not applicable"], value = value or 0 }
end

local function route(one, family)
  return { family = family or "ipv4", nat = one, external_known = true }
end

local SHORT = { ["one side connects"] = "connect", ["simultaneous open"] = "open",
  ["birthday attack"] = "birthday", ["only relayed"] = "relayed" }

local function ways_of(...)
  local words = {}
  for i, one in ipairs(forecast.ways(...)) do words[i] = SHORT[one.way] end
  return table.concat(words, " ")
end

describe("p2pd.netcheck.forecast", function()
  it("ways() knows how each kind of peer is reached", function()
    assert.equal("connect connect connect connect connect connect", ways_of(kind "open internet"))
    assert.equal("connect open open open open birthday", ways_of(kind "symmetric UDP firewall"))
    assert.equal("connect open open open open open", ways_of(kind("full cone", "random")))
    assert.equal("connect open open open open birthday", ways_of(kind("port-restricted", "equal")))
    assert.equal("connect birthday birthday birthday relayed relayed", ways_of(kind("symmetric", "random")))
    assert.equal("connect relayed relayed relayed relayed relayed", ways_of(kind "blocked"))
    assert.equal("connect open", ways_of(kind "symmetric UDP firewall", "ipv6"))
  end)

  it("ways() gives the reason for a relay", function()
    local ways = forecast.ways(kind("symmetric", "random"))
    assert.is_nil(ways[1].reason)
    assert.matches("not predictable", ways[6].reason)
  end)

  it("best() takes the route that reaches most", function()
    local poor, good = route(kind("symmetric", "random")), route(kind("full cone", "equal"))
    local unknown = route(kind "open internet")
    unknown.external_known = false
    local best, ways = forecast.best({ poor, good, unknown }, "ipv4")
    assert.equal(good, best)
    assert.equal("simultaneous open", ways[6].way)
    assert.is_nil((forecast.best({ poor }, "ipv6")))
  end)

  describe("verdict()", function()
    local function verdict(routes, broker, turns)
      return forecast.verdict { routes = routes, brokers = { { ok = broker } }, turns = turns or {} }
    end

    it("says what most people want to know", function()
      assert.same({ "IPv4: every peer can connect to this host.", "No relay is configured." },
        (verdict({ route(kind "open internet") }, true)))
      local sentences, ways = verdict({ route(kind("symmetric", "independent", 1)),
        route(kind "symmetric UDP firewall", "ipv6") }, true, { { ok = true } })
      assert.same({ "IPv4: 5 of 6 kinds of peers can be reached without a relay.",
        "IPv6: every kind of peer can be reached without a relay." }, sentences)
      assert.same({ 6, 2 }, { #ways.ipv4, #ways.ipv6 })
    end)

    it("headline() says it in one line", function()
      local function headline(routes, broker, turns)
        return forecast.headline { routes = routes, brokers = { { ok = broker } }, turns = turns or {} }
      end
      local symmetric = route(kind("symmetric", "random"))
      assert.equal("good: every peer can connect to this host",
        headline({ route(kind "open internet") }, true))
      assert.equal("good: every kind of peer can be reached without a relay",
        headline({ route(kind("port-restricted", "equal")) }, true))
      assert.equal("fair: 4 of 6 kinds of peers can be reached, the others need a relay",
        headline({ symmetric }, true))
      assert.equal("fair: 4 of 6 kinds of peers can be reached, the others by a relay",
        headline({ symmetric }, true, { { ok = true } }))
      assert.equal("poor: 1 of 6 kinds of peers can be reached, the others need a relay",
        headline({ route(kind "blocked") }, true))
      assert.matches(" %(by IPv6 only%)$", headline({ route(kind "open internet", "ipv6") }, true))
      assert.matches("^bad: no broker", headline({ symmetric }, false))
      assert.matches("^bad: no server outside", headline({}, true))
    end)

    it("says what is missing", function()
      local sentences, ways = verdict({}, false, { { ok = false } })
      assert.same({ "No server outside answered: only peers on this network can be reached.",
        "No broker can be reached, so peers can't be signalled.", "No relay can be used." }, sentences)
      assert.same({}, ways)
    end)
  end)
end)
