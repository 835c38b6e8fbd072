--- A dial's report, with a node whose brokers and routes the spec makes up.
local core = require "p2pd.core"
local reports = require "p2pd.dial.report"
local waterfall = require "p2pd.dial.waterfall"

local NAT = { type = 5, delta = 2, value = 0 }
local PAIR = { family = "ipv4", route = { nic = "192.168.1.2" },
  remote = { external = "203.0.113.9", port = 99 } }

local function new_dial()
  local node = { id = "me", settings = { stun = { {} }, turn = {} }, routes = {}, discovering = true,
    birthday = true }
  node.brokers = {}
  node.signal = { stats = function() return { brokers = node.brokers } end }
  return { node = node, strategies = { "direct" }, timeout = 20,
    peer = { node_id = "you", mqtt = { 0, 1 }, ipv4 = {}, ipv6 = {} } }
end

local function new_report() return reports.new(core.clock.monotonic()) end

local function says(step) return { step.kind, step.name, step.ok, step.reason } end

describe("p2pd.dial.report", function()
  it("has a step's outcome, seconds and pair", function()
    local report = new_report()
    local step = report:begin("strategy", "direct", PAIR)
    step:finish(nil, "refused\27", "ECONNREFUSED")
    step:finish(true)
    assert.same({ "strategy", "direct", false, "refused?" }, says(step))
    assert.same({ "192.168.1.2", "203.0.113.9:99", "ECONNREFUSED" },
      { step["local"], step.remote, step.code })
    assert.is_true(step.began >= 0 and step.seconds >= 0)
  end)

  it("passes on what a function returns, and how it ended", function()
    local report = new_report()
    assert.same({ 1, 2, 3 }, { report:time("stun", "a", nil, function(n) return n, 2, 3 end, 1) })
    local _, reason, code = report:time("stun", "b", nil, function() return nil, "no", "EIO" end)
    assert.same({ "no", "EIO" }, { reason, code })
    pcall(report.time, report, "stun", "c", nil, error, "raised")
    local a, b, c = table.unpack(report.steps)
    assert.same({ "stun", "a", true }, says(a))
    assert.same({ "stun", "b", false, "no" }, says(b))
    assert.same("ECANCELED", c.code)
  end)

  it("looks at the peer's brokers as they come and go, and at no others", function()
    local dial, report = new_dial(), new_report()
    dial.node.brokers = { { offset = 0, name = "a:1", state = "connecting" },
      { offset = 1, name = "b:2", state = "connecting" }, { offset = 7, name = "c:3", state = "online" } }
    report:look(dial)
    assert.is_nil(report.steps[1].seconds)
    dial.node.brokers[1].state = "online"
    dial.node.brokers[2].state, dial.node.brokers[2].reason = "offline", "refused"
    report:look(dial)
    dial.node.brokers[2].state = "online"
    report:look(dial)
    assert.equal(2, #report.steps)
    assert.same({ "broker", "a:1", true, "online" }, says(report.steps[1]))
    assert.same({ "broker", "b:2", false, "refused" }, says(report.steps[2]))
  end)

  it("looks at what STUN servers tell", function()
    local dial, report = new_dial(), new_report()
    local route = { name = "eth0", family = "ipv4", nic = "192.168.1.2" }
    dial.node.routes = { route, { loopback = true, name = "lo", nic = "127.0.0.1" } }
    report:look(dial)
    assert.is_nil(report.steps[1].seconds)
    route.external, route.external_known, route.nat = "203.0.113.1", true, NAT
    report:look(dial)
    assert.same({ "stun", "eth0 192.168.1.2", true, "203.0.113.1, port-restricted, equal ports" },
      says(report.steps[1]))
    local later = new_report()
    dial.node.discovering = false
    later:look(dial)
    assert.matches("%(known before%)$", later.steps[1].reason)
    dial.node.settings.stun = {}
    local none = new_report()
    none:look(dial)
    assert.same({}, none.steps)
  end)

  it("ends what has not ended, and keeps the facts", function()
    for is_won, word in pairs { [true] = "unused", [false] = "cut off" } do
      local dial, report = new_dial(), new_report()
      report:begin("signal", "GET_ADDR")
      report:begin("strategy", "punch")
      report:conclude(dial, is_won)
      assert.same({ "signal", "GET_ADDR", false, word }, says(report.steps[1]))
      assert.matches(is_won and "unused" or "no answer within", report.steps[2].reason)
      local facts = report.facts
      assert.equal(not is_won, facts ~= nil)
      if facts then assert.same({ "you", 20, false }, { facts.peer_id, facts.timeout, facts.heard }) end
    end
  end)

  it("has strategies that could not begin, unless there is a stream", function()
    local attempts = { { strategy = "punch", seconds = 0, reason = "not predictable" },
      { strategy = "direct", began = 0, seconds = 1, reason = "refused" } }
    for is_won, count in pairs { [true] = 0, [false] = 1 } do
      local dial, report = new_dial(), new_report()
      dial.attempts = attempts
      report:conclude(dial, is_won)
      assert.equal(count, #report.steps)
      if not is_won then
        assert.same({ "strategy", "punch", false, "not predictable" }, says(report.steps[1]))
        assert.matches("^punch +| +| +0 ms  not run$", waterfall.lines(report)[2])
      end
    end
  end)

  it("keeps a bounded number of steps", function()
    local dial, report = new_dial(), new_report()
    for _ = 1, 600 do report:begin("signal", "GET_ADDR"):finish(true) end
    report:conclude(dial, false)
    assert.same({ 500, 600 }, { #report.steps, report.count })
    assert.matches("^and 100 more$", waterfall.lines(report)[502])
  end)
end)

describe("p2pd.dial.waterfall", function()
  local IPV6 = "2001:db8:1234:5678:9abc:def0:1234:5678"
  local REASON = ("a reason of several words, "):rep(9) .. ("x"):rep(200)

  local function step(kind, name, began, seconds, more)
    local one = { kind = kind, name = name, began = began, seconds = seconds }
    for key, value in pairs(more or {}) do one[key] = value end
    return one
  end

  local function draw(...)
    local steps = { ... }
    return waterfall.lines { seconds = 1, count = #steps, steps = steps }
  end

  it("shows when a step ran, and what came of it", function()
    assert.same({
      "                                             0        1000 ms",
      "broker   broker.example:8883                |####            |   250 ms  online",
      "direct   10.0.0.2 > 192.0.2.1:4444          |        ########|   500 ms  ok",
      "message  GET_ADDR                           |............... |   900 ms  unused",
      " punch 1 10.0.0.2 > 192.0.2.1:4444          |xxxxxxxxxxxxxxxx|  1000 ms  failed",
      "         the peer does not answer",
    }, draw(
      step("broker", "broker.example:8883", 0, 0.25, { ok = true, reason = "online" }),
      step("strategy", "direct", 0.5, 0.5, { ok = true, ["local"] = "10.0.0.2", remote = "192.0.2.1:4444" }),
      step("signal", "GET_ADDR", 0, 0.9, { code = "ECANCELED", reason = "unused" }),
      step("attempt", "punch 1", 0, 1, { reason = "the peer does not answer", ["local"] = "10.0.0.2",
        remote = "192.0.2.1:4444" })))
  end)

  it("stays within 80 columns, and loses no word", function()
    local lines = draw(
      step("tls", "1.3", -3, 9, { reason = REASON, ["local"] = "[" .. IPV6 .. "]:65535",
        remote = "[" .. IPV6 .. "]:65535" }),
      step("stun", ("n"):rep(60), 0.99999, 0, { ok = true }),
      step("attempt", "punch 12345", 5, 123,
        { ["local"] = "192.168.100.100", remote = "203.0.113.100:65535" }))
    for _, line in ipairs(lines) do assert.is_true(#line <= 80, line) end
    local all = table.concat(lines, " "):gsub("%s+", "")
    assert.matches(REASON:gsub("%s+", ""), all, 1, true)
    assert.matches("punch12345192.168.100.100>203.0.113.100:65535", all, 1, true)
  end)

  it("says each reason once", function()
    local failed = { reason = "the peer does not answer" }
    local lines = draw(step("signal", "GET_ADDR", 0, 1, failed), step("signal", "P2P_DIRECT", 0, 1, failed))
    assert.equal(4, #lines)
    assert.matches("failed$", lines[4])
  end)

  it("has a cell for what took no time, and for what began at the end", function()
    assert.matches("|#               |", draw(step("stun", "a", 0, 0, { ok = true }))[2], 1, true)
    assert.matches("|               #|", draw(step("stun", "a", 1, 0, { ok = true }))[2], 1, true)
  end)
end)
