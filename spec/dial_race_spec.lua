--- The race, with strategies that do what they are told, and a node whose network the spec makes up.
local core = require "p2pd.core"
local dials = require "p2pd.dial"
local p2pd = require "p2pd"
local helper = require "spec.helper"
local task = helper.task

local NAT = { type = 5, delta = 2, value = 0 }

local function record(n)
  return { interface = 0, external = "203.0.113." .. n, internal = "10.0.0." .. n, port = 4000 + n,
    nat = NAT }
end

local function peer(...)
  return { mqtt = { 0 }, ipv4 = { ... }, ipv6 = {}, node_id = "you" }
end

-- A node with one route, whose peer never answers unless `present` says its address.
local function new_node(present)
  local node = { id = "me", settings = {}, dials = {}, strategies = {}, expected = {}, routes = {},
    route = { nic = "192.168.1.2", external = "198.51.100.1", nat = NAT } }
  function node:pairs(address, is_mixed)
    local list = {}
    for i, remote in ipairs(is_mixed and address.ipv6 or address.ipv4) do
      list[i] = { route = self.route, remote = remote, family = "ipv4" }
    end
    return list
  end
  node.signal = { request = function(_, to, kind, _, timeout)
    node.asked = kind
    if not present then
      core.task.sleep(timeout)
      return nil, "the peer does not answer", "ETIMEDOUT"
    end
    present.waiting:wait(timeout)
    return { from = to.node_id, sender = present.address, address = "changed" }
  end, stats = function() return { brokers = {} } end }
  return node
end

-- A stream that a strategy of ours may return.
local function new_stream(dial)
  local stream = setmetatable({ closed = 0 }, { __close = function(self) self.closed = self.closed + 1 end })
  function stream:close() self.closed = self.closed + 1 end
  dial.verified[stream] = true
  return stream
end

-- A strategy: `acts(dial, pair)` says true for a stream; what ran is in `log`.
local function new_strategy(name, cost, acts, fields)
  local module = { name = name, cost = cost, log = {}, streams = {} }
  function module.dial(dial, pair)
    module.log[#module.log + 1] = pair and pair.remote.external or "once"
    module.began = module.began or core.clock.monotonic()
    local _ <close> = setmetatable({}, { __close = function() module.ended = true end })
    local result, reason, code = acts(dial, pair)
    if result ~= true then return result, reason, code end
    local stream = new_stream(dial)
    table.insert(module.streams, stream)
    return stream
  end
  for key, value in pairs(fields or {}) do module[key] = value end
  return module
end

local function never() core.task.condition():wait() end
local function succeeds() return true end
local function fails() return nil, "no luck" end

local function after(seconds)
  return function()
    core.task.sleep(seconds)
    return true
  end
end

-- Runs a race as a policy of a dial; the winner's name, and the attempts by strategy.
local function race(modules, options)
  options = options or {}
  local dial = dials.new(options.node or new_node(), options.peer or peer(record(1)),
    { strategies = modules, timeout = options.timeout or 5, policy = "race" })
  local children <close> = require("p2pd.task").group()
  dial.children = children
  dial.node.dials[dial] = true
  if options.meanwhile then children:spawn(options.meanwhile, dial) end
  local stream, name = dial:race(nil, options.timeout)
  local attempts = {}
  for _, attempt in ipairs(dial.attempts) do attempts[attempt.strategy] = attempt end
  return name, attempts, stream
end

local UNEXPECTED = { expected = function() return false end }
local TALKS = { expected = UNEXPECTED.expected, messages = { KNOCK = {} } }

describe("p2pd.dial.race", function()
  it("starts all at once, and the first wins", task(function()
    local quick, slow = new_strategy("quick", 2, after(0.01)), new_strategy("slow", 3, never)
    assert.equal("quick", (race { quick, slow }))
    assert.same({ 1, true }, { #slow.log, slow.ended })
  end))

  it("starts each pair, and once per dial where one call serves all", task(function()
    local each = new_strategy("each", 1, fails)
    local once = new_strategy("once", 2, fails, { once_per_dial = true })
    assert.is_nil((race({ each, once }, { peer = peer(record(1), record(2)), timeout = 0.1 })))
    table.sort(each.log)
    assert.same({ { "203.0.113.1", "203.0.113.2" }, { "once" } }, { each.log, once.log })
  end))

  it("joins hosts without a family in common by who can do that alone", task(function()
    local far, near = new_strategy("far", 5, succeeds, { once_per_dial = true, any_family = true }),
      new_strategy("near", 1, succeeds)
    local other = peer()
    other.ipv6 = { record(1) }
    assert.equal("far", (race({ near, far }, { peer = other })))
    assert.same({ {}, { "once" } }, { near.log, far.log })
  end))

  it("prefers a cheaper stream that lands within a moment, and closes the other", task(function()
    local cheap, dear = new_strategy("cheap", 1, after(0.101)), new_strategy("dear", 2, after(0.1))
    assert.equal("cheap", (race { cheap, dear }))
    assert.equal(1, dear.streams[1].closed)
    assert.equal(0, cheap.streams[1].closed)
  end))

  it("waits for no cheaper one of which nothing is expected", task(function()
    local cheap = new_strategy("cheap", 1, never, UNEXPECTED)
    assert.equal("dear", (race { cheap, new_strategy("dear", 2, succeeds) }))
    assert.is_true(cheap.ended)
  end))

  describe("a peer that has no room", function()
    local function busy(times, code)
      local left = times
      return function()
        left = left - 1
        if left >= 0 then return nil, "too busy", code or "EBUSY" end
        return true
      end
    end

    it("is asked again, until the dial is over", task(function()
      local once = new_strategy("once", 2, busy(2), { once_per_dial = true })
      assert.equal("once", (race { once }))
      assert.same({ "once", "once", "once" }, once.log)
      local name, attempts = race({ new_strategy("never", 2, busy(1000)) }, { timeout = 0.1 })
      assert.is_nil(name)
      assert.equal("too busy", attempts.never.reason)
    end))

    it("is asked a few times when it hangs up, which may be another node's doing", task(function()
      local other = new_strategy("other", 2, busy(1000, "ECONNRESET"))
      assert.is_nil((race({ other }, { timeout = 10 })))
      assert.equal(4, #other.log)
    end))

    it("is not asked again by ways without hope while others have some", task(function()
      local likely = new_strategy("likely", 2, busy(2))
      local unlikely = new_strategy("unlikely", 1, busy(1000), UNEXPECTED)
      assert.equal("likely", (race { unlikely, likely }))
      assert.equal(1, #unlikely.log)
    end))

    it("is not asked again when it refuses for good", task(function()
      local refused = new_strategy("refused", 2, busy(1000, "EACCES"))
      assert.is_nil((race({ refused }, { timeout = 5 })))
      assert.equal(1, #refused.log)
    end))
  end)

  describe("a head start", function()
    it("is given to cheaper ones of which something is expected", task(function()
      local cheap = new_strategy("cheap", 1, after(0.05))
      local dear = new_strategy("dear", 5, succeeds, { head_start = 10 })
      assert.equal("cheap", (race { cheap, dear }))
      assert.same({}, dear.log)
    end))

    it("ends when they have failed", task(function()
      local cheap = new_strategy("cheap", 1, fails)
      local dear = new_strategy("dear", 5, succeeds, { head_start = 10 })
      assert.equal("dear", (race { cheap, dear }))
    end))

    it("is not given to those of which nothing is expected", task(function()
      local cheap = new_strategy("cheap", 1, never, UNEXPECTED)
      local dear = new_strategy("dear", 5, succeeds, { head_start = 10 })
      assert.equal("dear", (race { cheap, dear }))
      assert.equal(1, #cheap.log)
    end))

    it("is used to prepare", task(function()
      local prepared
      local dear = new_strategy("dear", 5, succeeds, { head_start = 0.02, prepare = function()
        prepared = core.clock.monotonic()
        return setmetatable({}, { __close = function() end })
      end })
      assert.equal("dear", (race { new_strategy("cheap", 1, never), dear }))
      assert.is_true(prepared < dear.began)
    end))
  end)

  it("sends nothing without hope while something is expected of others", task(function()
    local hopeless = new_strategy("hopeless", 1, never, TALKS)
    local hopeful = new_strategy("hopeful", 2, after(0.02))
    assert.equal("hopeful", (race { hopeless, hopeful }))
    assert.same({}, hopeless.log)
    local last = new_strategy("last", 1, succeeds, TALKS)
    assert.equal("last", (race { last, new_strategy("other", 2, fails) }))
  end))

  describe("what is not feasible", function()
    it("says so and does not run", task(function()
      local blocked = new_strategy("blocked", 1, succeeds,
        { feasible = function() return nil, "not predictable" end })
      local name, attempts = race({ blocked, new_strategy("other", 2, after(0.01)) })
      assert.equal("other", name)
      assert.same({ {}, 0 }, { blocked.log, #blocked.streams })
      assert.is_nil(attempts.blocked.began)
    end))

    it("ends the race at once when nothing else is left", task(function()
      local started = core.clock.monotonic()
      local blocked = new_strategy("blocked", 1, succeeds, { feasible = function() return nil, "why" end })
      local node = new_node { waiting = core.task.condition(), address = peer(record(1)) }
      local name, attempts = race({ blocked }, { node = node, timeout = 30, meanwhile = function(dial)
        dial.refresh_ended = true
        dial:wake()
      end })
      assert.is_nil(name)
      assert.equal("why", attempts.blocked.reason)
      assert.is_true(core.clock.monotonic() - started < 10)
    end))

    it("runs once our own NAT is known", task(function()
      local node = new_node()
      node.discovering, node.route.nat = true, nil
      local punch = new_strategy("punch", 1, succeeds, { feasible = function(_, pair)
        if pair.route.nat then return true end
        return nil, "not known yet", "EAGAIN"
      end })
      assert.equal("punch", (race({ punch }, { node = node, meanwhile = function(dial)
        assert.same({}, punch.log)
        node.route.nat, node.discovering = NAT, false
        dial:wake()
      end })))
    end))
  end)

  it("starts what the peer's present address adds, and goes on with what has begun", task(function()
    local present = { waiting = core.task.condition(), address = peer(record(7)) }
    local strategy = new_strategy("mine", 1, function(_, pair)
      if pair.remote.external == "203.0.113.7" then return true end
      core.task.condition():wait()
    end)
    local node = new_node(present)
    assert.equal("mine", (race({ strategy }, { node = node, meanwhile = function()
      helper.wait_until(function() return node.asked ~= nil end)
      assert.same({ "203.0.113.1" }, strategy.log)
      present.waiting:broadcast()
    end })))
    assert.same({ "203.0.113.1", "203.0.113.7" }, strategy.log)
  end))

  it("has an address without records told first", task(function()
    local present = { waiting = core.task.condition(), address = peer(record(7)) }
    local node, strategy = new_node(present), new_strategy("mine", 1, succeeds, { once_per_dial = true })
    assert.equal("mine", (race({ strategy }, { node = node, peer = peer(), meanwhile = function()
      helper.wait_until(function() return node.asked ~= nil end)
      assert.equal("GET_ADDR", node.asked)
      present.waiting:broadcast()
    end })))
  end))

  describe("a strategy", function()
    local function reason_of(acts, fields)
      local log = stub(core.log, "write")
      local name, attempts = race({ new_strategy("mine", 1, acts, fields) }, { timeout = 0.2 })
      log:revert()
      assert.is_nil(name)
      return attempts.mine.reason
    end

    it("that raises has failed", task(function()
      assert.matches("^an error in the strategy: .*oops$", reason_of(function() error "oops" end))
      assert.matches("^an error in the strategy: .*oops$",
        reason_of(succeeds, { feasible = function() error "oops" end }))
    end))

    it("that returns nonsense has failed", task(function()
      assert.equal("the strategy returned a number, and no stream that dial:secure has verified",
        reason_of(function() return 5 end))
      assert.equal("the strategy gave no reason", reason_of(function() end))
    end))

    it("that returns a stream which nobody has verified has failed, and the stream is closed", task(function()
      local stream = setmetatable({}, { __close = function(self) self.closed = true end })
      assert.matches("^the strategy returned a table", reason_of(function() return stream end))
      assert.is_true(stream.closed)
    end))

    it("that never returns ends with its budget", task(function()
      local reason = reason_of(never, { budget = 0.05 })
      local seconds = tonumber(reason:match "^no answer within ([%d.]+) s$")
      assert.is_true(seconds >= 0.05)
    end))
  end)

  it("leaves nothing running when it is cancelled", task(function()
    local slow = new_strategy("slow", 1, never)
    local racing = p2pd.spawn(race, { slow })
    helper.wait_until(function() return slow.began ~= nil end)
    racing:cancel()
    assert.is_true(slow.ended)
  end))
end)
