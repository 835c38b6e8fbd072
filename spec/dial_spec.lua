local address = require "p2pd.address"
local core = require "p2pd.core"
local dial = require "p2pd.dial"
local deadline = require "p2pd.deadline"
local helper = require "spec.helper"
local id = require "p2pd.id"
local lfs = require "lfs"
local loopback = require "spec.loopback"
local nodes = require "spec.nodes"
local p2pd = require "p2pd"
local task = helper.task
local wait_until = helper.wait_until

local WAIT = 5

local function descriptors()
  local n = 0
  for _ in lfs.dir "/proc/self/fd" do n = n + 1 end
  return n
end

describe("p2pd.dial", function()
  local world = loopback.new(setup, teardown)

  teardown(function() package.loaded["spec.strategies.own"] = nil end)

  local function start(options) return world:start(options) end
  local function pair(fn) return world:pair(fn) end

  -- The peer's address with ports where nobody listens.
  local function stale(text)
    local parsed = address.parse(text)
    for _, family in ipairs { "ipv4", "ipv6" } do
      for _, record in ipairs(parsed[family]) do record.port = helper.free_port() end
    end
    return address.format(parsed)
  end

  local function nobody(node)
    return (stale(node.address):gsub("%w+$", nodes.new_id()))
  end

  local function check_pipe(alice, bob, options, strategy)
    local pipe <close> = assert(alice:connect(bob.address, options))
    local accepted <close> = assert(bob:accept(WAIT))
    assert.same({ strategy, bob.id, "lo" }, { pipe.strategy, pipe.peer, pipe.interface })
    assert.equal(pipe.id, accepted.id)
    assert.same({ strategy, alice.id, "lo" }, { accepted.strategy, accepted.peer, accepted.interface })
    local ours, theirs = pipe:info(), accepted:info()
    assert.same({ ours["local"], ours.remote }, { theirs.remote, theirs["local"] })
    assert.same({ strategy, bob.id, pipe.id, "lo" }, { ours.strategy, ours.peer, ours.id, ours.interface })
    pipe:write "ping\n"
    accepted:write(accepted:read "L", "pong\n")
    assert.same({ "ping", "pong" }, { pipe:read("l", "l") })
    assert.is_nil((bob:accept(0.05)))
    assert.equal(1, bob:stats().accepted)
    assert.equal(0, alice:stats().accepted)
  end

  describe("connect()", function()
    it("by direct", pair(function(alice, bob)
      check_pipe(alice, bob, { strategies = { "direct" } }, "direct")
    end))

    it("by reverse", pair(function(alice, bob)
      check_pipe(alice, bob, { strategies = { "reverse" } }, "reverse")
    end))

    it("by both at once: one pipe comes out", pair(function(alice, bob)
      check_pipe(alice, bob, { policy = "race" }, "direct")
    end))

    it("by one after the other", pair(function(alice, bob)
      check_pipe(alice, bob, { policy = "sequence", strategies = { "reverse", "direct" } }, "reverse")
    end))

    it("in sequence goes on to the next strategy", pair(function(alice, bob)
      local pipe <close> = assert(alice:connect(bob.address,
        { policy = "sequence", strategies = { "relay", "direct" } }))
      assert.equal("direct", pipe.strategy)
      assert.same({ "relay", "refused by the peer: not reachable" },
        { pipe.attempts[1].strategy, pipe.attempts[1].reason })
      assert.is_true(pipe.attempts[2].ok)
    end))

    it("takes a node's own address", task(function()
      local alice <close> = start()
      local pipe <close> = assert(alice:connect(alice.address, { strategies = { "direct" } }))
      local accepted <close> = assert(alice:accept(WAIT))
      assert.equal(pipe.id, accepted.id)
    end))

    it("heals a stale address", pair(function(alice, bob)
      local pipe <close> = assert(alice:connect(stale(bob.address), { strategies = { "direct" } }))
      assert.equal("direct", pipe.strategy)
      assert.equal(bob.id, pipe.peer)
    end))

    it("takes a node id alone, and what its node is the first to tell", pair(function(alice, bob)
      local pipe <close> = assert(alice:connect(bob.id))
      assert.equal(bob.id, pipe.peer)
      assert.equal("online before", pipe.report.steps[1].reason)
      assert.is_nil(pipe.report.facts)
    end))

    it("tells its steps when it fails, too", task(function()
      local alice <close> = start()
      local _, err = alice:connect(nobody(alice), { timeout = 0.3 })
      local names = {}
      for _, step in ipairs(err.report.steps) do names[step.kind .. " " .. step.name] = step.code end
      assert.same({ "ECONNREFUSED", "ETIMEDOUT" }, { names["strategy direct"], names["strategy reverse"] })
      assert.is_string(names["signal GET_ADDR"])
      assert.equal(alice.id, err.report.facts.node_id)
    end))

    it("does not take another node for the peer", pair(function(alice, bob)
      local pipe, err = alice:connect(bob.address:gsub("%w+$", nodes.new_id()),
        { strategies = { "direct" }, timeout = 0.3 })
      assert.is_nil(pipe)
      assert.matches("the peer hung up in the TLS handshake: it may be another node$", err.direct)
    end))

    it("to nobody ends within its timeout, with each strategy's reason", task(function()
      local alice <close> = start()
      local started = core.clock.monotonic()
      local pipe, err = alice:connect(nobody(alice), { timeout = 1, strategies = { "direct", "reverse" } })
      assert.is_nil(pipe)
      assert.is_true(core.clock.monotonic() - started < 4) -- what reverse would have taken by itself
      assert.matches("refused", err.direct)
      local left = tonumber(err.reverse:match "^no answer within ([%d.]+) s$")
      assert.is_true(left > 0 and left <= core.clock.monotonic() - started)
      assert.matches("^no connection to %w+ %(.*direct: .+; reverse: .+%)$", tostring(err))
      assert.equal("ETIMEDOUT", err.code)
      assert.equal(2, #err.attempts)
      for _, attempt in ipairs(err.attempts) do assert.is_number(attempt.seconds) end
    end))

    it("ends as soon as every way is closed", task(function()
      local dead = { mqtt = { { host = "127.0.0.1", port = helper.free_port() } }, stun = {}, ntp = {} }
      local alice <close> = start { settings = dead }
      local started = core.clock.monotonic()
      local pipe, err = alice:connect(nobody(alice), { timeout = 60 })
      assert.is_nil(pipe)
      assert.matches("refused", err.direct)
      assert.matches("^no broker of the peer's answers %(127.0.0.1:%d+: ", err.reverse)
      assert.equal("EHOSTUNREACH", err.code)
      assert.is_true(core.clock.monotonic() - started < 30)
    end))

    it("refuses bad addresses with the field's name", task(function()
      local alice <close> = start()
      local bad = {
        [""] = "address: empty",
        nonsense = "nonsense is neither an address nor a node id",
        ["0-[0,1.2.3.4,1.2.3.4,0,1,1,0]-0-me"] = "ipv4%[1%]%.listen port: 0 is not",
        ["0-0-0-a b"] = "node id: ",
        ["9-0-0-me"] = "offset 9 is beyond",
        [("x"):rep(100000)] = "100000 bytes",
      }
      for text, reason in pairs(bad) do
        local pipe, err = alice:connect(text)
        assert.is_nil(pipe)
        assert.matches(reason, tostring(err))
        assert.equal("EINVAL", err.code)
        assert.same({}, err.attempts)
      end
      assert.equal("the address is not a string", tostring(select(2, alice:connect(nil))))
    end))

    it("raises for what is not there", pair(function(alice, bob)
      local function connecting(options)
        return function() return alice:connect(bob.address, options) end
      end
      assert.error_matches(connecting { strategies = { "no.such" } }, '^no strategy "no.such"$')
      assert.error_matches(connecting { strategies = { "string" } }, '^no strategy "string"$')
      assert.error_matches(connecting { strategies = { {} } }, "a module with a function dial")
      assert.error_matches(connecting { strategies = {} }, "strategies is not a list of one or more")
      assert.error_matches(connecting { strategies = "direct" },
        "connect: strategies is direct, and not a list")
      assert.error_matches(connecting { policy = "slow" },
        "connect: policy is slow, and not the name of a policy")
      assert.error_matches(connecting { timeout = "soon" },
        "connect: timeout is soon, and not a number of seconds")
      assert.error_matches(connecting { timeout = -1 }, "connect: timeout is %-1, and not a number")
      assert.error_matches(connecting { timeuot = 1 }, "connect: no option is called timeuot")
    end))
  end)

  describe("with secure = false", function()
    local function start_insecure()
      return start { secure = false }
    end

    local function check_insecure(alice, bob, options)
      for _, name in ipairs { "direct", "reverse" } do
        local pipe <close> = assert(alice:connect(bob.address,
          { strategies = { name }, secure = options.secure }))
        local accepted <close> = assert(bob:accept(WAIT))
        assert.same({ false, false, name }, { pipe.secure, accepted.secure, accepted.strategy })
        assert.same({ alice.id, nil }, { accepted.peer, pipe:info().tls })
        pipe:write "ping\n"
        assert.equal("ping", accepted:read "l")
      end
    end

    it("on both nodes gives insecure pipes", task(function()
      local alice <close> = start_insecure()
      local bob <close> = start_insecure()
      check_insecure(alice, bob, {})
    end))

    it("in the dial and on the other node does, too", task(function()
      local alice <close> = start()
      local bob <close> = start_insecure()
      check_insecure(alice, bob, { secure = false })
    end))

    it("on one side fails, and says why", task(function()
      local alice <close> = start_insecure()
      local bob <close> = start()
      local pipe, err = alice:connect(bob.address, { timeout = WAIT, policy = "sequence" })
      assert.is_nil(pipe)
      assert.equal("refused by the peer: only encrypted pipes here", err.direct)
      assert.equal("refused by the peer: only encrypted pipes here", err.reverse)
    end))

    it("on the answering side alone gives TLS", task(function()
      local alice <close> = start()
      local bob <close> = start_insecure()
      local pipe <close> = assert(alice:connect(bob.address))
      local accepted <close> = assert(bob:accept(WAIT))
      assert.same({ true, true }, { pipe.secure, accepted.secure })
      assert.equal("TLSv1.3", pipe:info().tls.protocol)
    end))

    it("alone dials a node id that is no key", task(function()
      local alice <close> = start()
      local foreign = alice.address:gsub("%w+$", "zmUGXPOFxUBuToh")
      local _, err = alice:connect(foreign)
      assert.matches("its node id zmUGXPOFxUBuToh has 15 characters instead of 43 or 44", tostring(err))
      assert.equal("EINVAL", err.code)
      _, err = alice:connect(foreign, { secure = false, timeout = WAIT, strategies = { "direct" } })
      assert.matches("127.0.0.1 is our own listener here", err.direct)
    end))
  end)

  it("proves where it comes from to the peer, whatever its pipe is carried by", task(function()
    local alice <close> = start()
    local bob <close> = start()
    for _, exclusive in ipairs { true, false } do
      bob.limits.trust = require("p2pd.limit.trust").new()
      local pipe <close> = assert(alice:connect(bob.address, { exclusive = exclusive, timeout = WAIT }))
      local accepted <close> = assert(bob:accept(WAIT))
      local ip = accepted:info().remote:match "^%[?(.-)%]?:%d+$"
      helper.wait_until(function() return bob.limits.trust:is_proven(ip) end)
      assert.is_not_nil(pipe)
    end
  end))

  it("waits for room at a peer that has little", task(function()
    local alice <close> = start()
    local bob <close> = start { limits = { answers = 2, unverified_of_strangers = 2 } }
    local count, dials = 12, {}
    for i = 1, count do
      dials[i] = function()
        local pipe <close> = assert(alice:connect(bob.address, { strategies = { "reverse" }, timeout = 15,
          exclusive = true }))
        return pipe.strategy
      end
    end
    assert.equal(count, select("#", p2pd.all(dials)))
    assert.is_true(bob:stats().limits.answers.refused > 0)
  end))

  describe("with a user's own", function()
    local direct = require "p2pd.strategy.direct"

    it("strategy, as a module or a table", pair(function(alice, bob)
      local own = { name = "own", dial = direct.dial }
      package.loaded["spec.strategies.own"] = own
      for _, strategy in ipairs { "spec.strategies.own", own } do
        local pipe <close> = assert(alice:connect(bob.address, { strategies = { strategy } }))
        assert.equal("own", pipe.strategy)
      end
      local other = { name = "own", dial = function() end }
      assert.error_matches(function() alice:connect(bob.address, { strategies = { own, other } }) end,
        'two strategies are called "own"')
    end))

    it("strategy that fails in its own way", pair(function(alice, bob)
      local list = {
        { name = "raises", dial = function() error "out of luck" end },
        { name = "says", dial = function() return nil, "not today" end },
        { name = "hangs", once_per_dial = true, dial = function() p2pd.sleep(100) end },
      }
      local log = stub(core.log, "write")
      local pipe, err = alice:connect(bob.address, { strategies = list, timeout = 0.5 })
      log:revert()
      assert.is_nil(pipe)
      assert.matches("^an error in the strategy: .*out of luck$", err.raises)
      assert.equal("not today", err.says)
      assert.matches("^no answer within 0%.%d+ s$", err.hangs)
    end))

    it("policy", pair(function(alice, bob)
      local function backwards(d)
        for i = #d.strategies, 1, -1 do
          local stream = d:attempt(d.strategies[i], 1)
          if stream then return stream end
        end
      end
      local pipe <close> = assert(alice:connect(bob.address,
        { policy = backwards, strategies = { "direct", "reverse" } }))
      assert.equal("reverse", pipe.strategy)
      local none, err = alice:connect(bob.address, { policy = function() end })
      assert.is_nil(none)
      assert.same({}, err.attempts)
    end))

    it("policy that fails in its own way", pair(function(alice, bob)
      local cases = {
        ["an error in the policy: .*no idea"] = function() error "no idea" end,
        ["the policy returned a number, and no verified stream"] = function() return 5 end,
        ["an error in the policy: .*the dial has no strategy \"teleport\""] =
          function(d) return d:attempt "teleport" end,
      }
      local log = stub(core.log, "write")
      for reason, policy in pairs(cases) do
        local pipe, err = alice:connect(bob.address, { policy = policy })
        assert.is_nil(pipe)
        assert.matches("^no connection to %w+: " .. reason, tostring(err))
        assert.equal("EFAULT", err.code)
      end
      log:revert()
    end))

    it("policy that never returns ends with the dial's timeout", pair(function(alice, bob)
      local function policy() p2pd.sleep(100) end
      local pipe, err = alice:connect(bob.address, { timeout = 0.05, policy = policy })
      assert.is_nil(pipe)
      assert.equal("ETIMEDOUT", err.code)
    end))

    it("strategy on one side only is refused by the other", task(function()
      local alice <close> = start()
      local bob <close> = start { strategies = { "direct" } }
      for _, name in ipairs { "reverse", "punch" } do
        local pipe, err = alice:connect(bob.address, { strategies = { name }, timeout = WAIT })
        assert.is_nil(pipe)
        assert.matches("^refused by the peer: this node knows no message", err[name])
      end
      local pipe <close> = assert(alice:connect(bob.address))
      assert.equal("direct", pipe.strategy)
    end))
  end)

  it("gives the node's policy to its dials", task(function()
    local asked
    local function policy() asked = true end
    local alice <close> = start { policy = policy }
    alice:connect(nobody(alice))
    assert.is_true(asked)
  end))

  it("connects in both directions at once", pair(function(alice, bob)
    local there = p2pd.spawn(alice.connect, alice, bob.address)
    local back = p2pd.spawn(bob.connect, bob, alice.address)
    local out <close> = assert(there:join(WAIT))
    local home <close> = assert(back:join(WAIT))
    local at_bob <close> = assert(bob:accept(WAIT))
    local at_alice <close> = assert(alice:accept(WAIT))
    assert.same({ out.id, home.id }, { at_bob.id, at_alice.id })
    assert.are_not.equal(out.id, home.id)
  end))

  it("connects many at once", pair(function(alice, bob)
    local dials = {}
    for i = 1, 20 do dials[i] = function() return (assert(alice:connect(bob.address))) end end
    local pipes = table.pack(p2pd.all(dials))
    for _ = 1, 20 do assert(bob:accept(WAIT)):close() end
    for _, pipe in ipairs(pipes) do pipe:close() end
    assert.equal(20, #pipes)
  end))

  it("cancelled at any moment, leaves no descriptor, even before any collection", pair(function(alice, bob)
    assert(alice:connect(bob.address)):close()
    bob:accept(WAIT):close()
    wait_until(function() return bob:stats().unverified == 0 end)
    for _, strategies in ipairs { { "direct" }, { "reverse" }, { "direct", "reverse" } } do
      p2pd.sleep(0.02)
      collectgarbage()
      collectgarbage "stop"
      local before = descriptors()
      for turns = 0, 40 do
        local dialing = p2pd.spawn(function()
          local pipe <close> = alice:connect(bob.address, { strategies = strategies, exclusive = true })
          p2pd.sleep(1)
          return pipe ~= nil
        end)
        for _ = 1, turns do p2pd.sleep(0) end
        dialing:cancel()
      end
      local function is_over()
        local late = bob:accept(0)
        if late then late:close() end
        return descriptors() <= before
      end
      wait_until(is_over)
      collectgarbage "restart"
    end
  end))

  it("gone while the peer answers, leaves nothing at the peer", pair(function(alice, bob)
    local listener <close> = assert(core.tcp.listen { ip = "127.0.0.1" })
    local own = address.parse(alice.address)
    own.ipv4[1].port, own.ipv6 = select(2, listener:getsockname()), {}
    alice.signal.address = function() return address.format(own) end
    local asking <close> = p2pd.spawn(alice.signal.send_until, alice.signal, address.parse(bob.address),
      "P2P_DIRECT", { pipe = id.new() }, deadline.after(WAIT), function() return true end)
    local stream = assert(listener:accept(WAIT))
    assert.matches("^P2PD/1 back %w+$", stream:read "l")
    assert.equal(1, bob:stats().answering)
    stream:close()
    wait_until(function() return bob:stats().answering == 0 end)
    assert.equal(0, bob:stats().accepted)
    assert(asking:join(WAIT))
  end))

  it("gives the end of a peer that is killed in mid-pipe", task(function()
    local child = helper.p2pd("node", "--echo", "--settings", world.path, "--interface", "lo")
    child:stdout():settimeout(WAIT)
    local text = (child:stdout():read "l"):match "^address: (.*)"
    local alice <close> = start()
    for _, strategy in ipairs { "direct", "reverse" } do
      local pipe <close> = assert(alice:connect(text, { strategies = { strategy } }))
      pipe:settimeout(WAIT)
      pipe:write "hello\n"
      assert.equal("hello", pipe:read "l")
      if strategy == "reverse" then
        child:kill "KILL"
        assert.is_nil((pipe:read "l"))
      end
    end
    child:close()
  end))

  describe("failure()", function()
    it("is one sentence and fields", function()
      local err = dial.failure("no luck", "EX", { { strategy = "direct", reason = "refused" } })
      assert.equal("no luck (direct: refused)", tostring(err))
      assert.same({ "refused", "EX", "no luck" }, { err.direct, err.code, err.message })
      assert.equal("no luck", tostring(dial.failure "no luck"))
    end)
  end)
end)
