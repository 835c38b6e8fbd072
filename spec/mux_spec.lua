local core = require "p2pd.core"
local helper = require "spec.helper"
local nodes = require "spec.nodes"
local p2pd_task = require "p2pd.task"
local sessions = require "spec.sessions"
local streams = require "spec.streams"

local task = helper.task
local WAIT = 5

-- Both ends of a mux, on a pair of streams.
local function muxes(options)
  local pair, near, far = streams.pair()
  local a, b = core.mux.new(near, "client", options), core.mux.new(far, "server", options)
  return p2pd_task.hold(a, b, pair), a, b
end

describe("p2pd.core.mux", function()
  it("carries streams both ways", task(function()
    local _ <close>, a, b = muxes()
    local near <close> = assert(a:open())
    near:write "hello\n"
    local far <close> = assert(b:accept(WAIT))
    assert.equal("hello", far:read())
    far:write "and back\n"
    assert.equal("and back", near:read())
    local other <close> = assert(b:open())
    other:write "from the server\n"
    local accepted <close> = assert(a:accept(WAIT))
    assert.equal("from the server", accepted:read())
    assert.equal(2, a:info().streams)
  end))

  it("ends halves", task(function()
    local _ <close>, a, b = muxes()
    local near <close> = assert(a:open())
    near:write "question"
    near:shutdown()
    local far <close> = assert(b:accept(WAIT))
    assert.equal("question", far:read "a")
    core.task.spawn(function()
      far:write(("x"):rep(600000))
      far:close()
    end)
    assert.equal(600000, #near:read "a")
  end))

  it("delivers what a closed stream, and a closed mux, have written", task(function()
    local _ <close>, a, b = muxes()
    local near = assert(a:open())
    near:write(("x"):rep(200000))
    near:close()
    a:close()
    local far <close> = assert(b:accept(WAIT))
    assert.equal(200000, #far:read "a")
  end))

  it("resets", task(function()
    local _ <close>, a, b = muxes()
    local near = assert(a:open())
    near:write "x"
    local far <close> = assert(b:accept(WAIT))
    near:abort()
    far:read(1)
    local data, reason, code = far:read()
    assert.is_nil(data)
    assert.matches("the peer has reset the stream", reason)
    assert.equal("ECONNRESET", code)
  end))

  it("resets who writes to a stream that nobody reads any more", task(function()
    local _ <close>, a, b = muxes()
    local near <close> = assert(a:open())
    near:write "x"
    local far = assert(b:accept(WAIT))
    far:close()
    assert.is_nil(near:read())
    near:settimeout(WAIT)
    local result
    repeat result = table.pack(near:write(("x"):rep(1000))) until not result[1]
    assert.equal("ECONNRESET", result[3])
  end))

  it("lets a writer wait for the reader, and others go on", task(function()
    local _ <close>, a, b = muxes()
    local full <close> = assert(a:open())
    local writing <close> = core.task.spawn(function() return full:write(("x"):rep(2000000)) end)
    local reader <close> = assert(b:accept(WAIT))
    local near <close> = assert(a:open())
    near:write "quick\n"
    local far <close> = assert(b:accept(WAIT))
    assert.equal("quick", far:read())
    assert.is_true(b:info().unread <= 256 * 1024)
    assert.equal(2000000, #reader:read(2000000))
    assert.equal(full, writing:join(WAIT))
  end))

  it("has many writers wait in line for a connection that takes little at a time", task(function()
    local pair, near, far = streams.pair()
    local _ <close> = pair
    local mux <close> = core.mux.new(near, "client")
    local writers <close> = require "p2pd.task".group()
    for _ = 1, 60 do
      local stream = assert(mux:open())
      writers:spawn(function()
        local held <close> = stream
        for _ = 1, 250 do
          if not held:write(("x"):rep(1000)) then return end
        end
      end)
    end
    for _ = 1, 200 do
      assert(far:read(3001))
      core.task.sleep(0)
    end
    local left = 60 * 250 * 1000 - 200 * 3001
    while left > 0 do left = left - #assert(far:recv()) end
    mux:abort()
  end))

  it("pings", task(function()
    local _ <close>, a, b = muxes()
    assert.is_true(a:ping(WAIT) >= 0)
    assert.is_true(b:ping(WAIT) >= 0)
  end))

  it("takes no more streams after going away", task(function()
    local _ <close>, a, b = muxes()
    local near <close> = assert(a:open())
    near:write "x\n"
    local far <close> = assert(b:accept(WAIT))
    b:go_away()
    far:write "y\n"
    assert.equal("y", near:read())
    local stream, reason, code = a:open()
    assert.is_nil(stream)
    assert.equal("no more streams are taken", reason)
    assert.equal("EPIPE", code)
  end))

  it("tells when there is no stream", task(function()
    local _ <close>, a, b = muxes()
    assert.is_true(a:wait_idle(0))
    local near = assert(a:open())
    near:write "x"
    assert.equal("ETIMEDOUT", select(3, a:wait_idle(0)))
    near:close()
    assert.is_true(a:wait_idle(WAIT))
    local far = assert(b:accept(WAIT))
    far:close()
    assert.is_true(b:wait_idle(WAIT))
  end))

  it("fails all streams when its own has failed", task(function()
    local pair <close>, near, far = streams.pair()
    local mux <close> = core.mux.new(near, "client")
    local stream <close> = assert(mux:open())
    assert.is_truthy(pair)
    far:abort()
    assert.equal("ECONNRESET", select(3, stream:read()))
    assert.is_nil((mux:open()))
    assert.is_nil((mux:accept(WAIT)))
  end))

  it("opens many streams, and each gets its own", task(function()
    local _ <close>, a, b = muxes { backlog = 2000 }
    local tasks = {}
    for i = 1, 1000 do
      tasks[i] = core.task.spawn(function()
        local stream <close> = assert(a:open())
        stream:write(i, "\n")
        return tonumber(stream:read "l")
      end)
    end
    for _ = 1, 1000 do
      local stream = assert(b:accept(WAIT))
      core.task.spawn(function()
        local held <close> = stream
        held:write(held:read "L")
      end)
    end
    for i = 1, 1000 do assert.equal(i, tasks[i]:join(WAIT)) end
  end))

  it("carries streams over TLS, and tells of what is below", task(function()
    local pair <close>, near, far = streams.pair()
    local alice, bob = nodes.new(), nodes.new()
    nodes.encrypt(near, alice, far, bob)
    local a <close>, data = core.mux.new(near, "client"), ("x"):rep(3000000)
    local b <close> = core.mux.new(far, "server")
    local stream <close> = a:open()
    local writing <close> = core.task.spawn(function()
      stream:write(data)
      stream:shutdown()
    end)
    local accepted <close> = assert(b:accept(WAIT))
    assert.is_true(accepted:read "a" == data)
    writing:join()
    local facts = stream:stats()
    assert.equal("TLSv1.3", facts.tls.protocol)
    assert.same({ 1, 1 }, { facts.mux.stream, facts.mux.streams })
    assert.is_true(facts.mux.window >= 256 * 1024)
    assert.is_truthy(pair)
  end))

  -- What several tasks write at once in pieces of all sizes, each on a stream of its own, comes whole; some
  -- readers read little, or late.
  local function carry_pieces(a, b)
    local SIZES, COUNT, BYTES = { 1, 60, 5000, 65536, 65524, 100000, 16384, 12 }, 6, 2000000
    local data = sessions.noise(BYTES)
    local group <close> = p2pd_task.group()
    local function write(stream, i)
      local at = 1
      while at <= BYTES do
        local size = SIZES[(at + i) % #SIZES + 1]
        assert(stream:write(data:sub(at, at + size - 1)))
        at = at + size
      end
      stream:shutdown()
    end
    local function read(stream, i)
      local parts = {}
      while true do
        local part = i % 3 == 0 and stream:recv(100 * i + 7) or i % 3 > 0 and stream:recv()
        if not part then break end
        parts[#parts + 1] = part
        if i % 2 == 0 then p2pd_task.sleep(0) end
      end
      assert.is_true(table.concat(parts) == data)
    end
    local running = {}
    for i = 1, COUNT do
      local near = a:open()
      local far = assert(b:accept(WAIT))
      local from, to = near, far
      if i % 2 == 0 then from, to = far, near end
      group:spawn(write, from, i)
      running[i] = group:spawn(function()
        local _ <close> = p2pd_task.hold(near, far)
        read(to, i)
      end)
    end
    for _, one in ipairs(running) do assert(select("#", one:join(10 * WAIT)) == 0) end
  end

  it("carries pieces of all sizes", task(function()
    local _ <close>, a, b = muxes()
    carry_pieces(a, b)
  end))

  describe("on a session", function()
    local function on_sessions(fn)
      return task(function()
        local _ <close>, near, far = streams.pair()
        nodes.encrypt(near, nodes.new(), far, nodes.new())
        local one <close> = core.session.new { initiator = true }
        local two <close> = core.session.new {}
        assert(one:attach(near))
        assert(two:attach(far))
        local a <close> = core.mux.new(one:stream(), "client")
        local b <close> = core.mux.new(two:stream(), "server")
        fn(a, b)
      end)
    end

    it("carries pieces of all sizes", on_sessions(carry_pieces))

    it("goes on when a reader that was told does not read", on_sessions(function(a, b)
      local up <close> = a:open()
      local other <close> = a:open()
      local down <close> = assert(b:accept(WAIT))
      local beside <close> = assert(b:accept(WAIT))
      for _ = 1, 20 do
        local reader = p2pd_task.spawn(down.recv, down)
        p2pd_task.sleep(0)
        up:write(("x"):rep(60000))
        reader:cancel()
        other:write "y\n"
        beside:settimeout(WAIT)
        assert.equal("y", beside:read())
        down:settimeout(WAIT)
        assert.equal(("x"):rep(60000), down:read(60000))
      end
    end))

    it("goes on when a reader closes its stream in a frame's midst", on_sessions(function(a, b)
      for _ = 1, 20 do
        local up <close> = a:open()
        local other <close> = a:open()
        local down <close> = assert(b:accept(WAIT))
        local beside <close> = assert(b:accept(WAIT))
        up:write(("x"):rep(65536))
        assert(down:read(100))
        down:close()
        other:write "y\n"
        beside:settimeout(WAIT)
        assert.equal("y", beside:read())
      end
    end))
  end)

  describe("when it is closed", function()
    it("ends who waits", task(function()
      local _ <close>, a = muxes()
      local waiting = {}
      for _, call in ipairs { "accept", "wait_idle" } do
        waiting[call] = core.task.spawn(function() return a[call](a) end)
      end
      local stream <close> = a:open()
      core.task.sleep(0)
      a:close()
      assert.same({ nil, "the mux is closed", "EBADF", n = 3 }, table.pack(waiting.accept:join(WAIT)))
      assert.is_true(waiting.wait_idle:join(WAIT))
      for _, call in ipairs { "open", "accept", "ping", "info" } do
        assert.equal("EBADF", select(3, a[call](a)))
      end
      a:close()
      a:abort()
      a:go_away()
      assert.matches("mux %(closed%)", tostring(a))
      assert.is_truthy(stream)
    end))

    it("lets streams go on that are there", task(function()
      local _ <close>, a, b = muxes()
      local near <close> = a:open()
      near:write "question\n"
      local far <close> = assert(b:accept(WAIT))
      a:close()
      assert.equal("question", far:read())
      far:write "answer\n"
      assert.equal("answer", near:read())
    end))

    it("refuses what nobody has accepted", task(function()
      local _ <close>, a, b = muxes()
      local near <close> = a:open()
      assert.is_true(a:ping(WAIT) >= 0)
      b:close()
      assert.equal("ECONNRESET", select(3, near:read()))
    end))
  end)

  it("is cancelled wherever a task waits", task(function()
    local _ <close>, a, b = muxes()
    local near <close> = a:open()
    near:write "x"
    local far <close> = assert(b:accept(WAIT))
    local waits = {
      function() a:accept() end,
      function() a:wait_idle() end,
      function() while true do a:ping() end end,
      function() near:read() end,
      function() while true do near:write(("x"):rep(100000)) end end,
      function() while true do local held <close> = a:open() held:write "x" held:read() end end,
    }
    for _, wait in ipairs(waits) do
      local waiting <close> = core.task.spawn(wait)
      for _ = 1, 20 do core.task.sleep(0) end
      assert.equal("waiting", waiting:status())
      waiting:cancel()
    end
    assert.is_true(a:ping(WAIT) >= 0)
    assert.equal("x", far:read(1))
  end))

  it("aborts with all its streams", task(function()
    local _ <close>, a, b = muxes()
    local near <close> = a:open()
    near:write "x"
    local far <close> = assert(b:accept(WAIT))
    a:abort()
    assert.equal("ECONNABORTED", select(3, near:read()))
    far:read(1)
    assert.equal("ECONNRESET", select(3, far:read()))
    assert.is_nil((b:accept(WAIT)))
  end))

  describe("new()", function()
    it("refuses options that make no sense", task(function()
      local pair <close>, near = streams.pair()
      assert.error_matches(function() core.mux.new(near, "both") end, "invalid option 'both'")
      for _, name in ipairs { "backlog", "streams_max", "window_max", "memory_max" } do
        assert.error_matches(function() core.mux.new(near, "client", { [name] = 0 }) end,
          ("option '%s': %%d+ to %%d+ expected"):format(name))
      end
      assert.is_truthy(pair)
    end))

    it("leaves a stream that is of no use as it is", task(function()
      local pair <close>, near = streams.pair()
      near:shutdown()
      assert.equal("EPIPE", select(3, core.mux.new(near, "client")))
      assert.matches("open", tostring(near))
      assert.is_truthy(pair)
    end))
  end)
end)
