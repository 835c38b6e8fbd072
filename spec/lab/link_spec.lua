-- What lies between a host and the internet: latency, jitter, loss, cuts.
local agent = require "spec.lab.agent"
local helper = require "spec.helper"
local lab = require "p2pd.lab"
local labs = require "spec.lab.labs"
local probe = require "spec.lab.probe"
local task = helper.task

local PORT, SILENCE_S = 20000, 0.1

labs.describe("p2pd.lab's links", function()
  -- Host a behind a NAT, and the public host c, each with an agent.
  local function open(a, c)
    a.nats = { { type = "port-restricted" } }
    local l = assert(lab.open { hosts = { a = a, c = c or {}, d = { lan = "a" } } })
    return l, agent.start(l, "a"), probe.mirror(l, "c")
  end

  it("add both hosts' latencies, in both directions", task(function()
    local l <close>, a, c = open({ up = 0.02, down = 0.01 }, { latency = 0.005 })
    local trips = probe.ping(a, l:address "c", 10)
    assert.is_true(trips[1] >= 0.04)
    assert.is_true(trips[1] < 0.06)
    assert(c)
  end))

  it("do not delay what stays on a LAN", task(function()
    local l <close>, a = open { latency = 1 }
    local d <close> = probe.mirror(l, "d")
    assert.is_true(probe.ping(a, l:address "d", 5)[1] < 0.5)
    assert(d)
  end))

  it("change while packets fly, from perfect and back", task(function()
    local l <close>, a, c = open {}
    assert.is_true(probe.ping(a, l:address "c", 10)[1] < 0.02)
    assert(l:set_link("a", { latency = 0.03 }))
    assert.is_true(probe.ping(a, l:address "c", 3)[1] >= 0.06)
    assert(l:set_link("c", { down = 0.02 }))
    assert.is_true(probe.ping(a, l:address "c", 3)[1] >= 0.08)
    assert(l:set_link("a", { latency = 0 }, "eth0"))
    assert(l:set_link("c", { latency = 0 }))
    assert.is_true(probe.ping(a, l:address "c", 10)[1] < 0.02)
    assert.error_matches(function() l:set_link("a", { loss = 2 }) end,
      "link.loss: 2 is not a number from 0 to 1")
    assert(c)
  end))

  it("delay the errors of routers as much as answers", task(function()
    local _ <close>, a = open { latency = 0.02 }
    local seconds, code = a:call [[
      local started = core.clock.monotonic()
      local _, _, code = core.tcp.connect("11.200.0.1", 80, nil, 5)
      return core.clock.monotonic() - started, code]]
    assert.equal("ENETUNREACH", code)
    assert.is_true(seconds >= 0.04)
  end))

  it("have jitter, around the latency, and keep a flow's order", task(function()
    local l <close>, a, c = open { latency = 0.02, jitter = 0.015 }
    local trips = probe.ping(a, l:address "c", 20)
    assert.is_true(trips[1] >= 0.01)
    assert.is_true(trips[1] < 0.04)
    probe.open(c, PORT)
    probe.tell_many(a, l:address "c", PORT, 100)
    local heard = probe.hear(c, PORT, "100")
    for i = 1, 100 do assert.equal(tostring(i), heard[i]) end
  end))

  it("lose their part of the packets", task(function()
    local l <close>, a, c = open { loss = 0.3 }
    probe.open(c, PORT)
    probe.tell_many(a, l:address "c", PORT, 200)
    assert(l:set_link("a", { loss = 0 }))
    probe.tell(a, PORT, l:address "c", PORT, "end")
    local arrived = #probe.hear(c, PORT, "end") - 1
    assert.is_true(arrived > 95 and arrived < 185) -- 140, by seven standard deviations
  end))

  describe("program", function()
    local function ask(l, line)
      assert(l.netdelay:stdin():write(line, "\n"))
      return l.netdelay:stdout():read "l"
    end

    it("says what is wrong with a line, and goes on", task(function()
      local l <close>, a, c = open { latency = 0.001 }
      local FORM = "error: expected INTERFACE UP_US DOWN_US JITTER_US LOSS_PPM"
      for line, answer in pairs {
        [""] = FORM, ["line1"] = FORM, ["line1 1 2 3 4 5"] = FORM, ["line1 1 2 3 x"] = FORM,
        ["line99 1 2 3 4"] = "error: no such interface",
        ["line1 -1 2 3 4"] = "error: a time is not from 0 to 60 seconds",
        ["line1 1 2 60000001 4"] = "error: a time is not from 0 to 60 seconds",
        ["line1 1 2 3 1000001"] = "error: a loss is not from 0 to 1000000",
        ["line1 1 2 3 4"] = "ok",
      } do
        assert.same({ line, answer }, { line, ask(l, line) })
      end
      assert.is_number(probe.ping(a, l:address "c", 1)[1])
      assert(c)
    end))

    it("is missed when it has ended", task(function()
      local l <close> = open { latency = 0.001 }
      l.netdelay:kill "KILL"
      l.netdelay:wait()
      local ok, reason = l:set_link("a", { latency = 0.002 })
      assert.is_nil(ok)
      assert.matches("^p2pd%-netdelay: ", reason)
    end))
  end)

  it("are cut and mended, one interface or all", task(function()
    local l <close>, a, c = open {}
    local function lost() return select(2, probe.ping(a, l:address "c", 1, SILENCE_S)) end
    assert.equal(0, lost())
    assert(l:cut "a")
    assert(l:cut "a")
    assert.equal(1, lost())
    assert(l:mend "a")
    assert.equal(0, lost())
    assert(l:cut("c", "eth0"))
    assert.equal(1, lost())
    assert(l:mend "c")
    assert(l:mend "c")
    assert.equal(0, lost())
    assert(c)
  end))
end)
