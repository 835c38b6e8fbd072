-- Punching through the lab's NATs, by nodes that find out themselves what theirs are; `make matrix` has all.
local address = require "p2pd.address"
local control = require "spec.lab.control"
local core = require "p2pd.core"
local json = require "dkjson"
local lab = require "p2pd.lab"
local labs = require "spec.lab.labs"
local p2pd = require "p2pd"
local peers = require "spec.lab.peers"

local AT_ONCE = 3 -- nodes that start: a busy machine's measurements are none

labs.describe("p2pd.strategy.punch in the lab", function()
  local l
  local nodes = {}

  local function host(type, delta, unsolicited, value)
    local nat = { type = type, delta = delta, value = value, unsolicited = unsolicited }
    return { nats = { nat }, latency = 0.005 }
  end

  setup(function()
    l = assert(lab.open {
      hosts = {
        public = { latency = 0.005 },
        cone = host("full cone", "random", "rst"),
        known = host("address-restricted", "preserving", "drop"),
        equal = host("port-restricted", "equal", "drop"),
        strict = host("port-restricted", "equal", "rst"),
        random = host("port-restricted", "random", "rst"),
        counter = host("symmetric", "independent", "drop", 1),
        counter2 = host("symmetric", "independent", "rst", 2),
        dice = host("symmetric", "random", "drop"),
        dice2 = host("symmetric", "random", "rst"),
        carrier = { nats = { { type = "port-restricted" }, { type = "port-restricted", delta = "random" } },
          latency = 0.005 },
        freer = { latency = 0.005, nats = { { type = "symmetric", delta = "random",
          tcp = { type = "port-restricted", delta = "random" } } } },
        meaner = { latency = 0.005, nats = { { type = "port-restricted", delta = "equal",
          tcp = { type = "symmetric", delta = "random" } } } },
        neighbour = { lan = "equal" },
        two = { interfaces = { { nats = { { type = "symmetric", delta = "random" } } },
          { nats = { { type = "port-restricted" } } } } },
      },
      servers = { brokers = 1, stuns = 2, ntps = 1 },
    })
    core.task.run(function()
      local names, starters = {}, {}
      for name in pairs(l.plan.hosts) do names[#names + 1] = name end
      for i = 1, AT_ONCE do
        starters[i] = function()
          for name in function() return table.remove(names) end do nodes[name] = peers.start(l, name) end
          return true
        end
      end
      assert(p2pd.all(starters))
    end)
  end)

  teardown(function()
    core.task.run(function()
      for _, node in pairs(nodes) do node:close() end
    end)
    l:close()
  end)

  local function dial(from, to, options)
    local result
    core.task.run(function() result = nodes[from]:dial(nodes[to], options) end)
    return result
  end

  local function check(from, to)
    local result = dial(from, to)
    assert.is_true(result.ok, ("%s dials %s: %s"):format(from, to, result.reason))
    return result
  end

  local function is_alone(from, to)
    core.task.run(function() control.unreachable(l, from, to) end)
    local result = dial(from, to, { strategies = { "direct" }, timeout = 0.5 })
    assert.is_false(result.ok)
  end

  for _, case in ipairs {
    { "equal", "strict" }, { "strict", "random" }, { "random", "known" }, { "counter", "random" },
    { "counter2", "counter" }, { "carrier", "equal" },
  } do
    local text = "connects %s and %s, both ways, who do not reach each other without"
    it(text:format(case[1], case[2]), function()
      is_alone(case[1], case[2])
      check(case[1], case[2])
      check(case[2], case[1])
    end)
  end

  it("meets a host that comes from anywhere at one that lets anybody in", function()
    for _, name in ipairs { "public", "cone", "known" } do
      check("dice", name)
      check(name, "dice2")
    end
  end)

  it("guesses a random port", function()
    is_alone("equal", "dice")
    check("equal", "dice")
    check("dice2", "random")
  end)

  it("says at once what can not be", function()
    for _, case in ipairs { { "dice", "dice2" }, { "dice2", "counter" }, { "counter", "dice" } } do
      local result = dial(case[1], case[2])
      assert.is_false(result.ok)
      assert.matches("punch: not predictable: ", result.reason)
      assert.is_true(result.seconds < 1)
    end
  end)

  it("connects two hosts of one LAN by their own addresses, when the peer trusts the dialer", function()
    assert.matches("refused by the peer: not reachable", dial("equal", "neighbour").reason)
    core.task.run(function()
      local trusting <close> = peers.start(l, "neighbour",
        { node = { trust = { nodes.equal.address:match "%w+$" } } })
      local result = nodes.equal:dial(trusting)
      assert.is_true(result.ok, result.reason)
      assert.matches("^" .. l:address "neighbour":gsub("%.", "%%."), result.theirs)
    end)
  end)

  it("connects two nodes of one host behind a NAT, the same way", function()
    core.task.run(function()
      local other <close> = peers.start(l, "strict",
        { node = { trust = { nodes.strict.address:match "%w+$" } } })
      local result = nodes.strict:dial(other)
      assert.is_true(result.ok, result.reason)
    end)
  end)

  it("takes the interface by which it can be done", function()
    local result = check("two", "random")
    assert.matches("^" .. l:address("two", "eth1"):gsub("%.", "%%."), result.mine)
    check("random", "two")
  end)

  it("does not mind wrong clocks, mended by NTP or not", function()
    core.task.run(function()
      local late <close> = peers.start(l, "random", { skew = -0.5 })
      assert.equal("ntp", late:wait_for_time())
      local result = late:dial(nodes.strict)
      assert.is_true(result.ok, result.reason)
      for _, skew in ipairs { 0.5, -0.5, 0.05 } do
        late:set_skew(skew)
        for _, pair in ipairs { { late, nodes.strict }, { nodes.strict, late } } do
          result = pair[1]:dial(pair[2])
          assert.is_true(result.ok, result.reason)
        end
      end
    end)
  end)

  it("goes by what TCP mappings do where UDP's are others", function()
    check("freer", "equal")
    check("counter", "freer")
    check("meaner", "cone")
    check("known", "meaner")
    local result = dial("meaner", "counter")
    assert.is_false(result.ok)
    assert.matches("not predictable: ", result.reason)
  end)

  it("connects to several peers at once, even where they share a counter", function()
    core.task.run(function()
      local dials = {}
      for _, from in ipairs { "equal", "counter" } do
        for _, name in ipairs { "strict", "random", "counter2", "known", "cone", "public" } do
          dials[#dials + 1] = function()
            local result = nodes[from]:dial(nodes[name], { timeout = 15 })
            return result.ok or nil, result.reason
          end
        end
      end
      assert(p2pd.all(dials))
    end)
  end)

  it("is what p2pd connect does", function()
    core.task.run(function()
      local node <close> = assert(l:p2pd("known", { "node", "--echo" }))
      node:stdout():settimeout(10)
      local given = assert(node:stdout():read "l"):match "^address: (.*)$"
      local child <close> = assert(l:p2pd("random", { "connect", given, "--strategies", "punch", "--json" }))
      assert(child:stdin():write "hello\n")
      child:stdin():shutdown()
      child:stdout():settimeout(10)
      assert.equal("hello\n", child:stdout():read "a")
      assert.same({ "exit", 0 }, { child:wait(10) })
      local report = assert(json.decode(child:stderr():read("a"):match "{[^\n]*}"))
      assert.same({ true, "punch" }, { report.ok, report.strategy })
    end)
  end)

  it("ends with a reason when the peer vanishes", function()
    core.task.run(function()
      local mortal = peers.start(l, "random")
      mortal:close()
      local result = nodes.strict:dial(mortal, { timeout = 1 })
      assert.is_false(result.ok)
      assert.matches("punch: ", result.reason)
    end)
  end)

  it("goes through firewalls over IPv6", function()
    local six <close> = assert(lab.open { hosts = {
      a = { nats = { { type = "port-restricted" } }, ipv6 = true, latency = 0.005 },
      b = { nats = { { type = "port-restricted", unsolicited = "rst" } }, ipv6 = true, latency = 0.005 },
    }, servers = { brokers = 1, stuns = 1, ntps = 1 } })
    core.task.run(function()
      local a <close> = peers.start(six, "a")
      local b <close> = peers.start(six, "b")
      local given = address.parse(b.address)
      assert.equal(1, #given.ipv6)
      given.ipv4 = {}
      local only = setmetatable({ address = address.format(given) }, { __index = b })
      local direct = a:dial(only, { strategies = { "direct" }, timeout = 0.5 })
      assert.is_false(direct.ok)
      local result = a:dial(only)
      assert.is_true(result.ok, result.reason)
      assert.matches(":.*:", result.theirs)
    end)
  end)
end)
