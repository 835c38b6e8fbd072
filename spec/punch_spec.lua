local core = require "p2pd.core"
local child = require "spec.child"
local helper = require "spec.helper"
local lfs = require "lfs"
local task = require "p2pd.task"
local in_task = helper.task
local start, now = core.punch.start, core.clock.monotonic

local NEAR, FAR = "127.0.0.2", "127.0.0.3"
local LONG_S = 10 -- until a deadline that is not meant to come

local function mapping(ip, port, remote_ip, remote_port, more)
  local m = { ip = ip, port = port, remote_ip = remote_ip, remote_port = remote_port }
  for key, value in pairs(more or {}) do m[key] = value end
  return m
end

local function plan(mappings, more)
  local p = { at = now(), deadline = now() + LONG_S, gap = 0.002, mappings = mappings }
  for key, value in pairs(more or {}) do p[key] = value end
  return p
end

local function listener_on(ip, port, backlog)
  return assert(core.tcp.listen { ip = ip, port = port, reuse_port = true, backlog = backlog })
end

-- As a NAT that drops what it did not ask for: a listener whose queue is full answers no SYN.
local function silence(ip, port)
  local listener = listener_on(ip, port, 0)
  return task.hold(listener, assert(core.tcp.connect(ip, port, nil, 5)))
end

-- Two endpoints that answer no SYN unless they have sent one.
local function silent_pair(near_ip, far_ip)
  local near_port, far_port = helper.ports(2)
  local hold = task.hold(silence(near_ip, near_port), silence(far_ip, far_port))
  return hold, mapping(near_ip, near_port, far_ip, far_port), mapping(far_ip, far_port, near_ip, near_port)
end

-- A mapping to a port where nobody listens, and that endpoint.
local function refused()
  local near_port, far_port = helper.ports(2)
  return mapping(NEAR, near_port, FAR, far_port), far_port
end

local function talk(near, far)
  assert(near:write "from near\n")
  assert(far:write "from far\n")
  assert.equal("from near", far:read "l")
  assert.equal("from far", near:read "l")
end

-- What the punch comes to when it has failed.
local function failure_of(punch)
  local stream, message, code = punch:wait()
  assert.is_nil(stream)
  return code, message
end

local function until_failed(punch, times)
  while punch:stats().failed < times do task.sleep(0.001) end
end

-- The local ports of all our sockets.
local function bound_ports()
  local ports = {}
  for name in lfs.dir "/proc/self/fd" do
    local target = lfs.symlinkattributes("/proc/self/fd/" .. name, "target") or ""
    if target:find "^socket:" then
      local stream <close> = core.stream.fd(math.tointeger(name), false)
      local _, port = stream:getsockname()
      if math.type(port) == "integer" then ports[port] = true end
    end
  end
  return ports
end

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

  describe("close()", function()
    it("before the instant keeps every SYN", in_task(function()
      local port = helper.free_port()
      local listener <close> = listener_on(FAR, port)
      local punch = assert(start(plan({ mapping(NEAR, 0, FAR, port) }, { at = now() + 0.5 })))
      punch:close()
      assert.equal("ETIMEDOUT", select(3, listener:accept(0.6)))
    end))

    it("ends the retries", in_task(function()
      local there, far_port = refused()
      local punch = assert(start(plan { there }))
      until_failed(punch, 2)
      punch:close()
      local listener <close> = listener_on(FAR, far_port)
      assert.equal("ETIMEDOUT", select(3, listener:accept(0.05)))
    end))

    it("drops what is on its way and what nobody took", in_task(function()
      local port = helper.free_port()
      local listener <close> = listener_on(FAR, port)
      local _ <close>, there = silent_pair(NEAR, FAR)
      local punch = assert(start(plan { there, mapping(NEAR, 0, FAR, port) }))
      while punch:stats().established == 0 do task.sleep(0.001) end
      local far <close> = listener:accept(5)
      punch:close()
      assert.is_nil(far:read "l")
    end))

    it("wakes who waits", in_task(function()
      local _ <close>, there = silent_pair(NEAR, FAR)
      local punch <close> = assert(start(plan { there }))
      local t = task.spawn(punch.wait, punch)
      task.sleep(0)
      punch:close()
      assert.equal("EBADF", select(3, t:join()))
      assert.equal("EBADF", select(3, punch:wait()))
      assert.equal("EBADF", select(3, punch:stats()))
      assert.matches("closed", tostring(punch))
      punch:close()
    end))

    it("is what a cancelled task does", in_task(function()
      local _ <close>, there = silent_pair(NEAR, FAR)
      local t = task.spawn(function()
        local punch <close> = assert(start(plan { there }))
        punch:wait()
      end)
      task.sleep(0.01)
      assert.is_true(t:cancel())
    end))

    it("comes with the collector", in_task(function()
      local _ <close>, there = silent_pair(NEAR, FAR)
      assert(start(plan { there }))
      assert(start(plan({ there }, { at = now() + 5 })))
    end))

    it("refuses what is no punch", in_task(function()
      local punch <close> = assert(start(plan { (refused()) }))
      assert.has_error(function() punch.close() end)
      assert.has_error(function() getmetatable(punch).__gc(io.stdout) end)
    end))

    it("may come at any moment", in_task(function()
      local port = helper.free_port()
      local _ <close> = listener_on(FAR, port, 200)
      for i = 1, 60 do
        local mappings = {}
        for k = 1, 8 do
          mappings[k] = mapping(NEAR, 0, FAR, k % 2 == 0 and port or 2, { after = k * 1e-4 })
        end
        local punch <close> = assert(start(plan(mappings, { gap = 0.0005 })))
        punch:wait(i * 5e-5)
      end
    end))
  end)

  describe("wait()", function()
    it("gives up after the timeout", in_task(function()
      local _ <close>, there = silent_pair(NEAR, FAR)
      local punch <close> = assert(start(plan { there }))
      assert.same({ nil, "timed out", "ETIMEDOUT", n = 3 }, table.pack(punch:wait(0.01)))
      assert.same({ nil, "timed out", "ETIMEDOUT", n = 3 }, table.pack(punch:wait(0)))
      assert.is_false(punch:stats().over)
    end))

    it("gives each connection to one of those who wait", in_task(function()
      local port = helper.free_port()
      local _ <close> = listener_on(FAR, port)
      local mappings = { mapping(NEAR, 0, FAR, port), mapping(NEAR, 0, FAR, port, { after = 0.01 }) }
      local punch <close> = assert(start(plan(mappings)))
      local tasks, places = {}, {}
      for i = 1, 2 do
        tasks[i] = task.spawn(function()
          local _ <close>, place = assert(punch:wait(LONG_S))
          places[place] = true
        end)
      end
      for _, t in ipairs(tasks) do t:join() end
      assert.same({ true, true }, places)
    end))
  end)

  it("tells by what means it is punctual", in_task(function()
    local punch <close> = assert(start(plan { (refused()) }))
    until_failed(punch, 1)
    assert.truthy(({ fifo = true, slice = true, normal = true })[punch:stats().scheduler])
    assert.matches("open", tostring(punch))
  end))

  describe("start()", function()
    local function refuses(code, text, mappings, more)
      local punch, message, actual = start(plan(mappings, more))
      assert.is_nil(punch)
      assert.equal(code, actual)
      assert.matches(text, message, 1, true)
    end

    it("refuses instants that make no sense", in_task(function()
      local there = { (refused()) }
      refuses("EINVAL", "'at' is more than 60 s ahead", there, { at = now() + 61, deadline = now() + 70 })
      refuses("EINVAL", "'deadline' is not after", there, { deadline = now() - 1 })
      refuses("EINVAL", "'deadline' is more than 300 s ahead", there, { deadline = now() + 400 })
      refuses("ETIMEDOUT", "'deadline' has passed", there, { at = now() - 2, deadline = now() - 1 })
      there[2] = mapping(NEAR, 0, FAR, 9, { after = 20 })
      refuses("EINVAL", "mappings[2]: its turn is after the 'deadline'", there)
    end))

    it("says which socket could not be made", in_task(function()
      local port = helper.free_port()
      local own <close> = assert(core.tcp.listen { ip = NEAR, port = port })
      local good = refused()
      local taken, foreign = mapping(NEAR, port, FAR, 9), mapping("192.0.2.1", 0, FAR, 9)
      refuses("EADDRINUSE", ("mappings[2]: a socket on 127.0.0.2:%d: Address already in use"):format(port),
        { good, taken })
      refuses("EADDRNOTAVAIL", "mappings[1]: a socket on 192.0.2.1:0", { foreign })
      refuses("ENODEV", "mappings[1]", { mapping(NEAR, 0, FAR, 9, { device = "nosuch0" }) })
      assert.truthy(own)
    end))

    it("says when there are no descriptors left, and keeps none", in_task(function()
      local result = child.run([[
        local now = core.clock.monotonic
        local function count()
          local n = 0
          for _ in require "lfs".dir "/proc/self/fd" do n = n + 1 end
          collectgarbage()
          return n
        end
        print(task.run(function()
          local before = count()
          local mappings = {}
          for i = 1, 64 do mappings[i] = { ip = "127.0.0.2", remote_ip = "127.0.0.3", remote_port = 9 } end
          local _, message, code = core.punch.start { at = now(), deadline = now() + 5, mappings = mappings }
          local after = count()
          local few <close> = core.punch.start { at = now(), deadline = now() + 0.5,
            mappings = table.move(mappings, 1, 5, 1, {}) }
          return code, message:match "mappings%[%d+%]" ~= nil, after == before, select(3, few:wait(5))
        end))
      ]], { shell = "ulimit -n 40" })
      assert.equal("EMFILE\ttrue\ttrue\tECONNREFUSED\n", result.out)
    end))

    it("raises for a bad plan, and names the field", function()
      local function bad(text, more, mappings)
        local ok, message = pcall(start, plan(mappings or { (refused()) }, more))
        assert.is_false(ok)
        assert.matches(text, message, 1, true)
      end
      local function bad_mapping(text, more)
        local m = mapping(NEAR, 0, FAR, 9)
        for key, value in pairs(more) do m[key] = value end
        bad("option 'mappings[2]." .. text, nil, { mapping(NEAR, 0, FAR, 8), m })
      end
      assert.has_error(function() start() end)
      assert.error_matches(function() start { deadline = 1 } end, "option 'at': an instant expected, got nil")
      assert.error_matches(function() start { at = 1 } end, "option 'deadline': an instant expected")
      bad("option 'at'", { at = 0 / 0 })
      bad("option 'at'", { at = "soon" })
      bad("option 'gap': 0.0001 to 10 expected, got 0", { gap = 0 })
      bad("option 'hold'", { hold = -1 })
      bad("option 'spread'", { spread = 1e9 })
      bad("option 'ttl_for'", { ttl_for = -1 })
      bad("option 'max_open': 1 to 320 expected, got 321", { max_open = 321 })
      bad("option 'max_open': a whole number expected, got 1.5", { max_open = 1.5 })
      bad("option 'rate': 1 to 10000 expected, got 0", { rate = 0 })
      bad("option 'mappings': a list expected, got x", { mappings = "x" })
      bad("option 'mappings': 1 to 1024 mappings expected, got 0", nil, {})
      local many = {}
      for i = 1, 1025 do many[i] = mapping(NEAR, 0, FAR, i) end
      bad("option 'mappings': 1 to 1024 mappings expected, got 1025", nil, many)
      bad("option 'mappings[2]': a table expected, got 5", nil, { mapping(NEAR, 0, FAR, 8), 5 })
      bad("option 'mappings[3]': the same as 'mappings[1]'", nil,
        { mapping(NEAR, 7, FAR, 8), mapping(NEAR, 7, FAR, 9), mapping(NEAR, 7, FAR, 8) })
      bad_mapping("remote_port': 1 to 65535 expected, got 0", { remote_port = 0 })
      bad_mapping("remote_port': 1 to 65535 expected, got 70000", { remote_port = 70000 })
      bad_mapping("remote_port': 1 to 65535 expected, got x", { remote_port = "x" })
      bad_mapping("remote_ip': an IP address expected, got peer.example", { remote_ip = "peer.example" })
      bad_mapping("remote_ip': a string expected", { remote_ip = "10.0.0.1\0" })
      bad_mapping("port': 0 to 65535 expected, got -1", { port = -1 })
      bad_mapping("ip': an address of the family of 'remote_ip' expected, got ::1", { ip = "::1" })
      bad_mapping("ip': an IP address expected, got x", { ip = "x" })
      bad_mapping("device': an interface's name expected", { device = ("x"):rep(16) })
      bad_mapping("after': 0 to 300 expected, got -1", { after = -1 })
      bad_mapping("ttl': 1 to 255 expected, got 0", { ttl = 0 })
      bad_mapping("ttl': an IPv4 mapping expected", { ip = "::1", remote_ip = "::1", ttl = 3 })
      bad_mapping("ip': a string expected", { ip = 5 })
      assert.error_matches(function() start(plan { { remote_ip = FAR } }) end, "mappings%[1%].remote_port'")
      assert.error_matches(function() start(plan { { remote_port = 9 } }) end, "mappings%[1%].remote_ip'")
    end)
  end)
end)
