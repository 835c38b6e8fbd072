local core = require "p2pd.core"
local task = require "p2pd.task"
local helper = require "spec.helper"
local punches = require "spec.punches"
local in_task = helper.task
local start, now = core.punch.start, core.clock.monotonic

local NEAR, FAR, LONG_S, mapping = punches.NEAR, punches.FAR, punches.LONG_S, punches.mapping
local plan, listener_on, silent_pair = punches.plan, punches.listener_on, punches.silent_pair
local refused, talk, failure_of = punches.refused, punches.talk, punches.failure_of
local until_failed, bound_ports = punches.until_failed, punches.bound_ports

describe("p2pd.core.punch", function()
  describe("two punches towards each other", function()
    local function meet(near_ip, far_ip, near_options, far_options)
      local _ <close>, there, back = silent_pair(near_ip, far_ip)
      local near_punch <close> = assert(start(plan({ there }, near_options)))
      local far_punch <close> = assert(start(plan({ back }, far_options)))
      local near <close>, near_place = near_punch:wait(LONG_S)
      local far <close>, far_place = far_punch:wait(LONG_S)
      assert.same({ 1, 1 }, { near_place, far_place })
      assert.same({ near_ip, there.port }, { near:getsockname() })
      assert.same({ near_ip, there.port }, { far:getpeername() })
      talk(near, far)
      return near_punch:stats(), far_punch:stats()
    end

    it("connect when one is late", in_task(function()
      local near, far = meet(NEAR, FAR, nil, { at = now() + 0.1 })
      for _, stats in ipairs { near, far } do
        assert.same({ 1, 0, 1, true }, { stats.fired, stats.failed, stats.established, stats.over })
        assert.same({}, stats.errors)
      end
    end))

    it("connect over IPv6", in_task(function()
      local six <close> = core.tcp.listen { ip = "::1" }
      if not six then return pending "no IPv6 here" end
      meet("::1", "::1", nil, { at = now() + 0.05 })
    end))

    it("connect when the first SYN had a low TTL", in_task(function()
      local hold <close>, there, back = silent_pair(NEAR, FAR)
      there.ttl = 2
      local near_punch <close> = assert(start(plan({ there }, { ttl_for = 0.02 })))
      local far_punch <close> = assert(start(plan({ back }, { at = now() + 0.05 })))
      local near <close> = near_punch:wait(LONG_S)
      local far <close> = far_punch:wait(LONG_S)
      talk(near, far)
      assert.truthy(hold)
    end))

    it("never connect when one of them stays away", in_task(function()
      local _ <close>, there = silent_pair(NEAR, FAR)
      local punch <close> = assert(start(plan({ there }, { deadline = now() + 0.1 })))
      local code, message = failure_of(punch)
      assert.equal("ETIMEDOUT", code)
      assert.equal("punch: no connection: ETIMEDOUT 1 times", message)
      assert.same({ 1, 0, 0 }, { punch:stats().fired, punch:stats().open, punch:stats().established })
    end))
  end)

  describe("a mapping", function()
    it("is tried again after each refusal", in_task(function()
      local there, far_port = refused()
      local punch <close> = assert(start(plan { there }))
      until_failed(punch, 3)
      local listener <close> = listener_on(FAR, far_port)
      local near <close> = assert(punch:wait(LONG_S))
      local far <close>, from_ip, from_port = listener:accept(LONG_S)
      assert.same({ NEAR, there.port }, { from_ip, from_port })
      talk(near, far)
      local stats = punch:stats()
      assert.same({ ECONNREFUSED = stats.failed }, stats.errors)
      assert.equal(stats.failed + 1, stats.fired)
    end))

    it("ends with what it was refused with", in_task(function()
      local there = refused()
      local punch <close> = assert(start(plan({ there }, { deadline = now() + 0.05 })))
      local code, message = failure_of(punch)
      assert.equal("ECONNREFUSED", code)
      assert.matches("^punch: no connection: .*ECONNREFUSED %d+ times$", message) -- the last may be cut off
    end))

    it("keeps the port that the kernel chose for it", in_task(function()
      local there, far_port = refused()
      there.ip, there.port = nil, nil
      local punch <close> = assert(start(plan({ there }, { gap = 0.05 })))
      until_failed(punch, 1)
      local before = bound_ports()
      until_failed(punch, 2)
      local listener <close> = listener_on(FAR, far_port)
      local near <close> = assert(punch:wait(LONG_S))
      local _, port = near:getsockname()
      assert.is_true(before[port])
      assert.truthy(listener)
    end))

    it("that meets itself has no connection", in_task(function()
      local port = helper.free_port()
      local punch <close> = assert(start(plan { mapping(NEAR, port, NEAR, port) }))
      assert.equal("ELOOP", (failure_of(punch)))
      assert.equal(1, punch:stats().fired)
    end))

    it("whose connection a listener has accepted says so", in_task(function()
      local near_port, far_port = helper.ports(2)
      local listener <close> = listener_on(NEAR, near_port)
      local far <close> = assert(core.tcp.connect(NEAR, near_port, { ip = FAR, port = far_port }, 5))
      local near <close> = listener:accept(5)
      local punch <close> = assert(start(plan { mapping(NEAR, near_port, FAR, far_port) }))
      assert.equal("EADDRNOTAVAIL", (failure_of(punch)))
      assert.equal(1, punch:stats().fired)
      talk(near, far)
    end))

    it("shares its port with a listener and with connections", in_task(function()
      local port, far_port, other_port = helper.ports(3)
      local own <close> = listener_on(NEAR, port)
      local other <close> = listener_on(FAR, other_port)
      local remote <close> = listener_on(FAR, far_port)
      local held <close> = assert(core.tcp.connect(FAR, other_port,
        { ip = NEAR, port = port, reuse_port = true }, 5))
      local punch <close> = assert(start(plan { mapping(NEAR, port, FAR, far_port) }))
      local stream <close> = assert(punch:wait(LONG_S))
      assert.same({ NEAR, port }, { held:getsockname() })
      assert.same({ NEAR, port }, { stream:getsockname() })
      assert.truthy(own and other and remote)
    end))

    it("is given up after the time that it is held", in_task(function()
      local _ <close>, there = silent_pair(NEAR, FAR)
      local punch <close> = assert(start(plan({ there }, { hold = 0.05 })))
      assert.equal("ETIMEDOUT", (failure_of(punch)))
      assert.is_true(punch:stats().over)
    end))

    it("that is past fires at once, and tells how late", in_task(function()
      local port = helper.free_port()
      local listener <close> = listener_on(FAR, port)
      local punch <close> = assert(start(plan({ mapping(NEAR, 0, FAR, port) }, { at = now() - 5 })))
      local _ <close> = assert(punch:wait(LONG_S))
      assert.is_true(punch:stats().lateness[1] >= 5)
      assert.truthy(listener)
    end))

    it("waits for its own instant", in_task(function()
      local port = helper.free_port()
      local listener <close> = listener_on(FAR, port)
      local at = now()
      local mappings = { mapping(NEAR, 0, FAR, port, { after = 0.1 }), mapping(NEAR, 0, FAR, port) }
      local punch <close> = assert(start(plan(mappings, { at = at })))
      local first <close>, first_place = punch:wait(LONG_S)
      local second <close>, second_place = punch:wait(LONG_S)
      assert.same({ 2, 1 }, { first_place, second_place })
      assert.is_true(now() >= at + 0.1)
      assert.is_true(punch:stats().lateness[1] >= 0)
      assert.truthy(listener and first and second)
    end))
  end)

  describe("many mappings", function()
    local function from_many_ports(n, far_port)
      local mappings = {}
      for i = 1, n do mappings[i] = mapping(NEAR, 0, FAR, far_port) end
      return mappings
    end

    it("can all connect, 256 of them at one instant", in_task(function()
      local port = helper.free_port()
      local listener <close> = listener_on(FAR, port, 300)
      local punch <close> = assert(start(plan(from_many_ports(256, port), { at = now() + 0.05 })))
      local streams <close>, seen = task.hold(), {}
      for i = 1, 256 do
        local stream, place = assert(punch:wait(LONG_S))
        streams[i], streams.n, seen[place] = stream, i, true
      end
      assert.equal(256, #seen)
      local code, message = failure_of(punch)
      assert.same({ "ENODATA", "punch: no further connection" }, { code, message })
      assert.same({ 256, 0, 256 }, { punch:stats().fired, punch:stats().open, #punch:stats().lateness })
      assert.truthy(listener)
    end))

    it("find the one remote port of many that answers", in_task(function()
      local near_port = helper.free_port()
      local listener <close> = assert(core.tcp.listen { ip = FAR })
      local _, open_port = listener:getsockname()
      local mappings = {}
      for i = 1, 400 do
        local port = i == 333 and open_port or 1 + i
        mappings[i] = mapping(NEAR, near_port, FAR, port)
      end
      local options = { gap = 1, spread = 0.3, hold = 0.01, max_open = 16 }
      local punch <close> = assert(start(plan(mappings, options)))
      local stream <close>, place = assert(punch:wait(LONG_S))
      local ip, port = stream:getpeername()
      assert.same({ FAR, open_port, 333 }, { ip, port, place })
      assert.is_true(punch:stats().open <= 16)
    end))

    it("wait for their turn while too many sockets are open", in_task(function()
      local port = helper.free_port()
      local listener <close> = listener_on(FAR, port, 20)
      local punch <close> = assert(start(plan(from_many_ports(3, port), { max_open = 1 })))
      for i = 1, 3 do
        local stream <close>, place = assert(punch:wait(LONG_S))
        assert.equal(i, place)
        assert.is_true(punch:stats().open <= 1)
        assert.truthy(stream)
      end
      assert.equal("ENODATA", (failure_of(punch)))
      assert.truthy(listener)
    end))

    it("end at the deadline, those whose turn never came as well", in_task(function()
      local _ <close>, there = silent_pair(NEAR, FAR)
      local other = mapping(NEAR, 0, FAR, there.remote_port)
      local mappings = { there, other, other }
      local punch <close> = assert(start(plan(mappings, { max_open = 1, deadline = now() + 0.1 })))
      assert.equal("ETIMEDOUT", (failure_of(punch)))
      assert.same({ 1, 0 }, { punch:stats().fired, punch:stats().open })
    end))

    it("send no more SYNs in a second than they may", in_task(function()
      local there = refused()
      local options = { gap = 0.0005, rate = 7, deadline = now() + 0.5 }
      local punch <close> = assert(start(plan({ there }, options)))
      assert.equal("ECONNREFUSED", (failure_of(punch)))
      assert.equal(7, punch:stats().fired)
    end))

    it("send no more SYNs in all than they may", in_task(function()
      local options = { gap = 0.0005, rate = 1000, syns_max = 5, deadline = now() + 5 }
      local punch <close> = assert(start(plan({ (refused()) }, options)))
      assert.equal("ECONNREFUSED", (failure_of(punch)))
      assert.equal(5, punch:stats().fired)
    end))
  end)

  it("serves several punches at once", in_task(function()
    local port = helper.free_port()
    local listener <close> = listener_on(FAR, port, 20)
    local tasks, at = {}, now() + 0.05
    for i = 1, 8 do
      tasks[i] = task.spawn(function()
        local punch <close> = assert(start(plan({ mapping(NEAR, 0, FAR, port) }, { at = at })))
        local _ <close> = assert(punch:wait(LONG_S))
        return true
      end)
    end
    for _, t in ipairs(tasks) do assert.is_true(t:join()) end
    assert.truthy(listener)
  end))
end)
