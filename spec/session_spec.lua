local core = require "p2pd.core"
local address = require "p2pd.address"
local loopback = require "spec.loopback"
local p2pd = require "p2pd"
local session = require "p2pd.session"

local WAIT = 5

-- Pipes between two nodes: what alice has opened, and bob accepted.
local function join(alice, bob, options)
  local near = assert(alice:connect(bob.address, options))
  local far = assert(bob:accept(WAIT))
  return near, far
end

-- Closes pipes when the block ends.
local function ends(...)
  return setmetatable({ ... }, { __close = function(pipes)
    for _, pipe in ipairs(pipes) do pipe:close() end
  end })
end

local function check_both_ways(near, far, text)
  assert(near:write(text, "\n"))
  assert.equal(text, far:read())
  assert(far:write(text:upper(), "\n"))
  assert.equal(text:upper(), near:read())
end

-- Breaks a session's path, as its peer's end: without a word.
local function break_path(of)
  local path = of:path()
  of:drop(path.number, "broken by the spec")
end

local function until_true(check)
  local limit = core.clock.monotonic() + WAIT
  while not check() do
    assert(core.clock.monotonic() < limit, "it does not come true")
    p2pd.sleep(0.005)
  end
end

describe("p2pd.session", function()
  local world = loopback.new(setup, teardown)

  describe("connect()", function()
    it("opens a stream where a session is", world:pair(function(alice, bob)
      local one, first = join(alice, bob)
      local _ <close> = ends(one, first)
      local two, second = join(alice, bob)
      local _ <close> = ends(two, second)
      check_both_ways(one, first, "one")
      check_both_ways(two, second, "two")
      assert.same({ 1, 1 }, { #alice:sessions(), #bob:sessions() })
      assert.equal(one:info().session.id, two:info().session.id)
      assert.equal(two.id, second.id)
      assert.same({ "direct", "direct" }, { two.strategy, second.strategy })
    end))

    it("goes the other way by the same session", world:pair(function(alice, bob)
      local near, far = join(alice, bob)
      local _ <close> = ends(near, far)
      check_both_ways(near, far, "there")
      local back, accepted = join(bob, alice)
      local _ <close> = ends(back, accepted)
      check_both_ways(back, accepted, "and back")
      assert.same({ 1, 1 }, { #alice:sessions(), #bob:sessions() })
    end))

    local gate = p2pd.condition()
    local function allow(_, m) return m.protocol ~= "slow" or gate:wait(WAIT) end

    it("is not held up by pipes about which the peer's user thinks", world:pair(function(alice, bob)
      local pipes <close> = ends()
      for i = 1, 5 do pipes[i] = assert(alice:connect(bob.address, { protocol = "slow" })) end
      for i = 1, 10 do
        pipes[#pipes + 1] = assert(alice:connect(bob.address, { protocol = "quick/" .. i }))
        local far <close> = assert(bob:accept("quick/" .. i, WAIT))
        check_both_ways(pipes[#pipes], far, "quick " .. i)
      end
      gate:broadcast()
      for _ = 1, 5 do pipes[#pipes + 1] = assert(bob:accept("slow", WAIT)) end
    end, { protocols = { "slow" } }, function()
      local protocols = { "slow" }
      for i = 1, 10 do protocols[i + 1] = "quick/" .. i end
      return { allow = allow, protocols = protocols }
    end))

    it("waits for the dial that is under way", world:pair(function(alice, bob)
      local tasks = {}
      for i = 1, 20 do
        tasks[i] = p2pd.spawn(function()
          local pipe <close> = assert(alice:connect(bob.address))
          assert(pipe:write(i, "\n"))
          return tonumber(pipe:read())
        end)
      end
      for _ = 1, 20 do
        local pipe <close> = assert(bob:accept(WAIT))
        local line = pipe:read "L"
        assert(pipe:write(line))
      end
      for i = 1, 20 do assert.equal(i, tasks[i]:join(WAIT)) end
      assert.same({ 1, 20 }, { #alice:sessions(), bob:stats().accepted })
    end))

    it("gives one session to two nodes that dial each other at once", world:pair(function(alice, bob)
      local other = p2pd.spawn(function() return join(bob, alice) end)
      local near, far = join(alice, bob)
      local _ <close> = ends(near, far)
      local back, accepted = other:join(WAIT)
      local _ <close> = ends(back, accepted)
      check_both_ways(near, far, "there")
      check_both_ways(back, accepted, "back")
      assert.same({ 1, 1 }, { #alice:sessions(), #bob:sessions() })
    end))

    it("with exclusive = true makes a path that is the pipe", world:pair(function(alice, bob)
      local near, far = join(alice, bob, { exclusive = true })
      local _ <close> = ends(near, far)
      check_both_ways(near, far, "alone")
      assert.same({ 0, 0 }, { #alice:sessions(), #bob:sessions() })
      assert.is_nil(near:info().session)
    end))

    it("dials anew for a strategy that does not carry the session", world:pair(function(alice, bob)
      local near, far = join(alice, bob, { strategies = { "direct" } })
      local _ <close> = ends(near, far)
      local two, second = join(alice, bob, { strategies = { "reverse" } })
      local _ <close> = ends(two, second)
      check_both_ways(near, far, "one")
      check_both_ways(two, second, "two")
      assert.same({ "reverse", "reverse", 1 }, { two.strategy, near.strategy, #alice:sessions() })
    end, loopback.ALLOWING))

    it("goes without TLS where both sides want that", world:pair(function(alice, bob)
      local near, far = join(alice, bob, { secure = false })
      local _ <close> = ends(near, far)
      local two, second = join(alice, bob)
      local _ <close> = ends(two, second)
      check_both_ways(near, far, "open")
      check_both_ways(two, second, "open too")
      assert.same({ false, 1 }, { near.secure, #alice:sessions() })
    end, { secure = false }))
  end)

  describe("a session", function()
    it("goes on by another path, and no pipe notices", world:pair(function(alice, bob)
      local near, far = join(alice, bob)
      local _ <close> = ends(near, far)
      check_both_ways(near, far, "before")
      break_path(alice:sessions()[1])
      check_both_ways(near, far, "after")
      break_path(bob:sessions()[1])
      check_both_ways(near, far, "and after that")
      until_true(function() return near:info().session.resumed >= 2 end)
      assert.equal("broken by the spec", alice:sessions()[1]:info().story[1].why)
    end))

    it("tells of its paths", world:pair(function(alice, bob)
      local events <close> = alice:events()
      local near, far = join(alice, bob)
      local _ <close> = ends(near, far)
      check_both_ways(near, far, "before")
      break_path(alice:sessions()[1])
      check_both_ways(near, far, "after")
      local told = {}
      while #told < 2 do
        local event = assert(events:next(WAIT))
        if event.type == "path" then told[#told + 1] = event end
      end
      assert.same({ bob.id, "direct", bob.id, "direct", "direct" },
        { told[1].peer, told[1].to, told[2].peer, told[2].from, told[2].to })
    end))

    it("that the peer gives up is over", world:pair(function(alice, bob)
      local near, far = join(alice, bob)
      local _ <close> = ends(near, far)
      check_both_ways(near, far, "before")
      bob:sessions()[1]:fail("enough of it", "ECONNRESET")
      local data, reason, code = near:read()
      assert.is_nil(data)
      assert.matches("enough of it", reason)
      assert.equal("ECONNRESET", code)
      until_true(function() return #alice:sessions() == 0 and #bob:sessions() == 0 end)
    end))

    it("that has no path for its time ends, with the reasons", world:pair(function(alice, bob)
      local near, far = join(alice, bob)
      local _ <close> = ends(near, far)
      check_both_ways(near, far, "before")
      alice:sessions()[1].address = address.parse("0-0-0-" .. bob.id, world.settings)
      bob.denied[alice.id], alice.denied[bob.id] = true, true
      break_path(alice:sessions()[1])
      local data, reason, code = near:read()
      assert.is_nil(data)
      assert.matches("the peer vanished: no path for 0.5 s", reason)
      assert.equal("ETIMEDOUT", code)
    end, { resume = 0.5 }))

    it("that the peer has lost is over at once", world:pair(function(alice, bob)
      local near, far = join(alice, bob)
      local _ <close> = ends(near, far)
      check_both_ways(near, far, "before")
      local lost = bob:sessions()[1]
      bob.open_sessions.by_key = {}
      break_path(lost)
      lost.tasks:cancel()
      lost.accepting:cancel()
      local data, reason, code = near:read()
      assert.is_nil(data)
      assert.equal("the peer has lost the session", reason)
      assert.equal("ECONNRESET", code)
    end))

    it("is nobody else's, though he knows its id", world:pair(function(alice, bob)
      local thief <close> = world:start()
      local near, far = join(alice, bob)
      local _ <close> = ends(near, far)
      check_both_ways(near, far, "ours")
      local stolen = alice:sessions()[1].id
      local mine, theirs = join(thief, bob)
      local _ <close> = ends(mine, theirs)
      local other = thief:sessions()[1]
      other.id = stolen
      break_path(other)
      assert.equal("ECONNRESET", select(3, mine:read()))
      check_both_ways(near, far, "still ours")
      assert.is_truthy(theirs)
    end))

    it("is closed when it has had no pipe for a while", world:pair(function(alice, bob)
      local linger = session.LINGER
      session.LINGER = 0.05
      local _ <close> = setmetatable({}, { __close = function() session.LINGER = linger end })
      local near, far = join(alice, bob)
      check_both_ways(near, far, "done")
      near:close()
      far:close()
      until_true(function() return #alice:sessions() == 0 and #bob:sessions() == 0 end)
    end))

    it("ends with the nodes, and what was written arrives", world:pair(function(alice, bob)
      local near, far = join(alice, bob)
      local _ <close> = ends(near, far)
      assert(near:write(("x"):rep(300000)))
      near:close()
      alice:close()
      assert.equal(300000, #far:read "a")
    end))

    it("tells what is known of it", world:pair(function(alice, bob)
      local near, far = join(alice, bob)
      local _ <close> = ends(near, far)
      check_both_ways(near, far, "known")
      local info = near:info()
      assert.same({ "direct", 1, 0, 1 },
        { info.path.strategy, info.session.paths, info.session.resumed, info.session.pipes })
      assert.matches("^[%d%.%[%]:]+:%d+$", info.remote)
      assert.matches("^session with " .. bob.id, tostring(alice:sessions()[1]))
    end))

    it("says that its pipes cannot be detached", world:pair(function(alice, bob)
      local near, _ = join(alice, bob)
      local _ <close> = ends(near, _)
      assert.equal("EOPNOTSUPP", select(3, near:detach()))
    end))
  end)

  describe("flush()", function()
    for _, exclusive in ipairs { false, true } do
      it("waits until the peer has it, exclusive: " .. tostring(exclusive), world:pair(function(alice, bob)
        local near, far = join(alice, bob, { exclusive = exclusive })
        local _ <close> = ends(near, far)
        assert(near:write(("x"):rep(100000)))
        assert.equal(near, near:flush(WAIT))
        near:close()
        assert.equal(100000, #far:read "a")
      end))
    end
  end)
end)
