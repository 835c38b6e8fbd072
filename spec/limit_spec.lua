local budgets = require "p2pd.limit.budgets"
local core = require "p2pd.core"
local limit = require "p2pd.limit"
local p2pd = require "p2pd"
local places = require "p2pd.limit.places"
local rate = require "p2pd.limit.rate"
local source = require "p2pd.limit.source"

local function take(one, key, count, now)
  local taken = 0
  for _ = 1, count do
    if one:take(key, now) then taken = taken + 1 end
  end
  return taken
end

describe("p2pd.limit.rate", function()
  it("gives its burst at once, and then its rate, to each key", function()
    local one = rate.new(10, 1, 25)
    assert.equal(25, take(one, "a", 100, 5))
    assert.equal(0, take(one, "a", 100, 5.05))
    assert.equal(1, take(one, "a", 100, 5.11))
    assert.equal(10, take(one, "a", 100, 6.11))
    assert.equal(25, take(one, "b", 100, 6.11))
  end)

  it("never holds more than its burst", function()
    local one = rate.new(10, 1, 3)
    assert.equal(3, take(one, "", 10, 0))
    assert.equal(3, take(one, "", 10, 1e6))
  end)

  it("loses nothing to those who are refused", function()
    local one = rate.new(1, 1, 1)
    assert.equal(1, take(one, "", 1, 0))
    for i = 1, 9 do assert.is_false(one:take("", i / 10)) end
    assert.is_true(one:take("", 1.01))
  end)

  it("remembers a key for as long as it counts, whatever others do", function()
    local one = rate.new(1, 60, 1)
    assert.is_true(one:take("target", 0))
    for i = 1, 5000 do one:take("other" .. i, i / 100) end
    assert.is_false(one:take("target", 50))
    assert.is_true(one:take("target", 60.1))
  end)
end)

describe("p2pd.limit.places", function()
  local held -- a place that nobody holds any more may be collected

  before_each(function() held = {} end)

  local function fill(one, who, count)
    for i = 1, count do
      local place = { who = who, since = i }
      held[#held + 1] = place
      one:add("", place)
    end
  end

  it("has the heaviest give its oldest to a newcomer", function()
    local one = places.new(10, "peer")
    fill(one, { peer = "a" }, 3)
    fill(one, { peer = "b" }, 7)
    local victim = one:find_victim({ peer = "c" }, 100)
    assert.same({ "b", 1 }, { victim.who.peer, victim.since })
    assert.equal("b", one:find_victim({ peer = "a" }, 100).who.peer)
    assert.is_nil(one:find_victim({ peer = "b" }, 100))
  end)

  it("has the oldest go once it had its time, when all have one", function()
    local one = places.new(3, "peer", 10)
    for i = 1, 3 do fill(one, { peer = "peer" .. i }, 1) end
    assert.is_nil(one:find_victim({ peer = "new" }, 5))
    assert.equal(1, one:find_victim({ peer = "new" }, 11).since)
  end)

  it("has those go first that show no sign of life", function()
    local one = places.new(3, "peer", 10)
    fill(one, { peer = "a" }, 1)
    held[#held + 1] = { who = { peer = "b" }, since = 4, idle = true }
    one:add("", held[#held])
    assert.equal("b", one:find_victim({ peer = "new" }, 5).who.peer)
  end)
end)

describe("p2pd.limit.source", function()
  it("is an IPv4 address, or an IPv6 /48", function()
    for ip, expected in pairs {
      ["198.51.100.7"] = "198.51.100.7", ["::ffff:198.51.100.7"] = "198.51.100.7",
      ["2001:db8:5:1::2"] = "2001:db8:5/48", ["2001:db8:5:ffff:1:2:3:4"] = "2001:db8:5/48",
      ["2001:db8::1"] = "2001:db8:0/48", ["fe80::1%eth0"] = "fe80:0:0/48", ["::1"] = "0:0:0/48",
    } do
      assert.equal(expected, source.of(ip))
    end
    assert.equal("?", source.of(nil))
    assert.equal("?", source.of "nobody")
  end)
end)

describe("p2pd.limit", function()
  local limits

  before_each(function() limits = limit.new() end)

  it("lets 50 strangers have at most 60 SYNs sent to a target in any minute", function()
    local log = {}
    for now = 0, 600, 0.5 do
      for i = 1, 50 do
        local who = { peer = "eve" .. i, target = "198.51.100.7" }
        log[#log + 1] = { now, limits:draw("syns", who, 1 + i % 7, now) }
      end
    end
    for from = 0, 540, 7 do
      local sum = 0
      for _, entry in ipairs(log) do
        if entry[1] >= from and entry[1] < from + 60 then sum = sum + entry[2] end
      end
      assert.is_true(sum <= 60, sum)
    end
  end)

  it("counts no SYNs to who has proved himself, nor a trusted peer's", function()
    local who = { peer = "eve", target = "198.51.100.7" }
    assert.equal(30, limits:draw("syns", who, 1000, 0))
    limits.trust:prove("198.51.100.7", "eve")
    assert.equal(100, limits:draw("syns", who, 100, 0))
    limits.trust:add "alice"
    assert.equal(400, limits:draw("syns", { peer = "alice", target = "198.51.100.8" }, 400, 0))
  end)

  it("has a birthday attack for strangers once a minute, and once in ten for one target", function()
    local function ask(target, now)
      return limits:take("birthdays", { peer = target .. now, target = target }, 1, now) or false
    end
    assert.same({ true, false, false, true, false, false, true },
      { ask("a", 0), ask("a", 1), ask("b", 59), ask("b", 61), ask("a", 130), ask("b", 200), ask("a", 601) })
  end)

  it("keeps answers' places for trusted peers", function()
    local held = {}
    for i = 1, 24 do held[i] = assert(limits:hold("answers", { peer = "eve" .. i })) end
    assert.same({ n = 3, nil, "too busy", "EBUSY" }, table.pack(limits:hold("answers", { peer = "mallory" })))
    limits.trust:add "alice"
    for i = 1, 8 do held[24 + i] = assert(limits:hold("answers", { peer = "alice" })) end
    assert.is_nil((limits:hold("answers", { peer = "alice" })))
    assert.equal(32, limits:stats().answers.used)
    for _, place in ipairs(held) do place:close() end
    assert.equal(0, limits:stats().answers.used)
    assert.same({ 1, 1 }, { limits:stats().answers_to_strangers.refused, limits:stats().answers.refused })
  end)

  it("tells who has to give way", function()
    local gone, held = 0, {}
    for i = 1, 16 do
      held[i] = assert(limits:hold("answers", { peer = "eve" }, function() gone = gone + 1 end))
    end
    assert.is_nil((limits:hold("answers", { peer = "eve" })))
    for i = 1, 12 do held[16 + i] = assert(limits:hold("answers", { peer = "guest" .. i })) end
    assert.equal(4, gone)
    assert.equal(24, limits:stats().answers_to_strangers.used)
    assert.equal(28, #held)
  end)

  it("gives back what nobody holds any more", function()
    for _ = 1, 1000 do limits:hold("pipes_waiting", { peer = "eve" }) end
    collectgarbage()
    collectgarbage()
    assert.equal(0, limits:stats().pipes_waiting.used)
  end)

  it("grows with nobody's names", function()
    collectgarbage()
    local before = collectgarbage "count"
    for i = 1, 100000 do
      limits:take("connects", { peer = "peer" .. i }, 1, i / 1000)
      limits:draw("syns", { peer = "peer" .. i, target = "target" .. i }, 1, i / 1000)
    end
    collectgarbage()
    assert.is_true(collectgarbage "count" - before < 4096)
  end)

  it("leaves descriptors to ourselves", function()
    local most = core.process.descriptors()
    assert.is_true(limits:has_descriptors "stranger")
    local tight = limit.new { limits = { descriptors_of_strangers = 1 } }
    assert.same({ n = 3, nil, "too busy", "EBUSY" }, table.pack(tight:has_descriptors "stranger"))
    assert.is_true(tight:has_descriptors "trusted")
    assert.is_true(limits:stats().pipes.number < most)
  end)

  it("takes numbers of one's own, and says what is wrong with them", function()
    limits = limit.new { limits = { answers = 1, messages_of_strangers = { number = 5, burst = 2 } } }
    assert.equal(2, limits:draw("messages", { step = "stranger" }, 100, 0))
    local first <close> = assert(limits:hold("answers", { peer = "a" }))
    assert.is_nil((limits:hold("answers", { peer = "b" })))
    assert(first)
    for fault, given in pairs {
      ["no limit is called pancakes"] = { pancakes = 1 },
      ["answers is %-1, and not a number or a table"] = { answers = -1 },
      ["answers has no field nmber"] = { answers = { nmber = 1 } },
      ["answers.number is x, and not a number"] = { answers = { number = "x" } },
      ["syns.seconds is 0"] = { syns = { seconds = 0 } },
    } do
      assert.error_matches(function() p2pd.node { limits = given } end, "limits: " .. fault)
    end
    assert.error_matches(function() p2pd.node { limits = 7 } end, "limits is 7, and not a table of limits")
  end)

  it("is as docs/security.md says", function()
    local file <close> = assert(io.open "docs/security.md")
    local text = file:read "a"
    local rows = {}
    for name, number, unit, reason in text:gmatch "\n| `([%l_]+)` | ([^|]+) | ([^|]+) | ([^|]+) |" do
      rows[name] = ("%s | %s | %s"):format(number, unit, reason)
    end
    for _, line in ipairs(budgets) do
      local expected = ("%s | %s | %s"):format(limit.describe(line), line.unit, line.reason)
      assert.equal(expected, rows[line.name], line.name)
    end
  end)
end)
