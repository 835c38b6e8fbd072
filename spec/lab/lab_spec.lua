-- The lab itself: what it opens, changes, refuses and leaves behind.
local agent = require "spec.lab.agent"
local control = require "spec.lab.control"
local helper = require "spec.helper"
local lab = require "p2pd.testbed.lab"
local probe = require "spec.lab.probe"
local task = helper.task

local can, why = lab.is_possible()

describe("p2pd.testbed.lab", function()
  if not can then
    pending("needs namespaces: " .. why)
    return
  end

  it("has hosts behind NATs that can not reach each other without help", task(function()
    local l <close> = assert(lab.open { hosts = {
      a = { nats = { { type = "port-restricted" } } },
      b = { nats = { { type = "symmetric", unsolicited = "rst" } } },
      c = {},
      d = { lan = "a" },
    } })
    control.unreachable(l, "a", "b")
    control.reachable(l, "a", "c")
    control.reachable(l, "a", "d")
    assert.not_equal(l:external "a", l:external "b")
    assert.equal(l:external "a", l:external "d")
    assert.equal(l:address "c", l:external "c")
  end))

  describe("latency", function()
    local function open(a, c)
      a.nats = { { type = "port-restricted" } }
      local l = assert(lab.open { hosts = { a = a, c = c or {} } })
      return l, agent.start(l, "a"), probe.mirror(l, "c")
    end

    it("adds up from both hosts, in both directions", task(function()
      local l <close>, a, c = open({ up = 0.02, down = 0.01 }, { latency = 0.005 })
      local trips = probe.ping(a, l:address "c", 10)
      assert.is_true(trips[1] >= 0.04)
      assert.is_true(trips[1] < 0.06)
      assert(c)
    end))

    it("can be set while packets fly, from none and to none", task(function()
      local l <close>, a, c = open {}
      assert.is_true(probe.ping(a, l:address "c", 10)[1] < 0.02)
      assert(l:set_link("a", { latency = 0.03 }))
      assert.is_true(probe.ping(a, l:address "c", 3)[1] >= 0.06)
      assert(l:set_link("c", { down = 0.02 }))
      assert.is_true(probe.ping(a, l:address "c", 3)[1] >= 0.08)
      assert(l:set_link("a", { latency = 0 }))
      assert(l:set_link("c", { latency = 0 }))
      assert.is_true(probe.ping(a, l:address "c", 10)[1] < 0.02)
      assert(c)
    end))
  end)

  it("runs a program in a host", task(function()
    local l <close> = assert(lab.open { hosts = { a = {} } })
    local result = assert(l:run("a", { "sh", "-c", "echo out; echo err >&2; exit 3" }))
    assert.same({ out = "out\n", err = "err\n", how = "exit", status = 3 }, result)
  end))
end)
