local nat = require "p2pd.nat"
local oracle = require "spec.oracle"
local predict = require "p2pd.punch.predict"

local function named(type, delta, value)
  return { type = nat.TYPES[type], delta = nat.DELTAS[delta], value = value or 0 }
end

local function each_nat(fn)
  for type = 1, 7 do
    for delta = 1, 6 do
      fn { type = type, delta = delta, value = (delta == 4 or delta == 5) and 2 or 0 }
    end
  end
end

local function each_pair(fn)
  each_nat(function(a) each_nat(function(b) fn(a, b) end) end)
end

local function text(one)
  return ("%s/%s/%d"):format(nat.TYPES[one.type], nat.DELTAS[one.delta], one.value)
end

-- What a host finds out: probes by what is needed, in the router's present state.
local function observe(router, needs)
  local observed = { ports = {}, held = {} }
  local first = 20100
  if needs.probes == 1 and not needs.each then
    observed.last = { port = first, external = router:leave(first, "stun", 3478) }
  end
  for i = 1, needs.count do observed.ports[i] = first + i end
  if needs.each then
    for _, port in ipairs(observed.ports) do observed.held[port] = router:leave(port, "stun", 3478) end
  end
  return observed
end

local OPPOSITE = { simultaneous = "simultaneous", await = "initiate", initiate = "await",
  ["birthday local"] = "birthday remote", ["birthday remote"] = "birthday local" }

local function new_side(one, meeting, attempt, seed)
  local needs = predict.needs(one, meeting, "internet", attempt)
  local router = oracle.router(one, seed)
  local observed = observe(router, needs)
  return { router = router, needs = needs, listens = needs.listen, observed = observed,
    mappings = assert(predict.mappings(one, needs, observed)) }
end

local function aim(side, peer)
  side.plans = {}
  for i, mapping in ipairs(predict.aim(side.mappings, peer.mappings)) do
    side.plans[i] = { port = mapping.local_port, remote = mapping.reply_port }
  end
end

local function try(a, b, attempt, seed, foreign)
  local meeting = assert(predict.meeting(a, b))
  local near, far = new_side(a, meeting, attempt, seed), new_side(b, OPPOSITE[meeting], attempt, seed + 1)
  aim(near, far)
  aim(far, near)
  near.router:disturb(foreign)
  far.router:disturb((foreign + 1) % predict.SEQUENCE)
  return oracle.meet(near, far)
end

local function externals(mappings)
  local ports = {}
  for i, mapping in ipairs(mappings) do ports[i] = mapping.external_port end
  return ports
end

describe("p2pd.punch.predict", function()
  describe("meeting()", function()
    it("agrees with the oracle on the whole table", function()
      each_pair(function(a, b)
        local surely, by_luck = oracle.feasible(a, b)
        local what = text(a) .. " with " .. text(b)
        assert.equal(surely, predict.meeting(a, b) ~= nil, what)
        assert.equal(by_luck, predict.meeting(a, b, "internet", true) ~= nil, what .. ", birthday")
      end)
    end)

    it("is seen alike from both sides", function()
      for _, birthday in ipairs { false, true } do
        each_pair(function(a, b)
          local near, far = predict.meeting(a, b, nil, birthday), predict.meeting(b, a, nil, birthday)
          assert.equal(OPPOSITE[near], far, text(a) .. " with " .. text(b))
        end)
      end
    end)

    it("has a reason wherever it is not to be", function()
      each_pair(function(a, b)
        local meeting, reason = predict.meeting(a, b)
        if not meeting then assert.matches("^not predictable: .", reason) end
      end)
    end)

    it("finds everybody on the same LAN and machine", function()
      each_pair(function(a, b)
        assert.equal("simultaneous", predict.meeting(a, b, "lan"))
        assert.equal("simultaneous", predict.meeting(a, b, "machine"))
      end)
    end)

    it("goes by what TCP mappings do", function()
      local random, peer = named("symmetric", "random"), named("port-restricted", "equal")
      assert.is_nil(predict.meeting(random, peer))
      random.tcp_mapping = "endpoint-independent"
      assert.equal("simultaneous", predict.meeting(random, peer))
      local cone = named("full cone", "random")
      assert.equal("simultaneous", predict.meeting(cone, peer))
      cone.tcp_mapping = "address-and-port-dependent"
      assert.is_nil(predict.meeting(cone, peer))
    end)

    it("raises for a purpose that there is not", function()
      assert.error_matches(function() predict.meeting(nat.open(), nat.open(), "war") end, "no purpose war")
    end)
  end)

  describe("advertise()", function()
    it("tells the type that counts for TCP", function()
      local one = named("symmetric", "random")
      assert.same(one, predict.advertise(one))
      one.tcp_mapping = "endpoint-independent"
      assert.same(named("port-restricted", "random"), predict.advertise(one))
      one = named("full cone", "independent", 3)
      one.tcp_mapping = "address-and-port-dependent"
      assert.same(named("symmetric", "independent", 3), predict.advertise(one))
    end)

    it("keeps the type where it makes no difference", function()
      for _, type in ipairs { "symmetric", "port-restricted", "blocked", "open internet" } do
        local one = named(type, "equal")
        one.tcp_mapping = "endpoint-independent"
        assert.same(named(type, "equal"), predict.advertise(one))
      end
    end)
  end)

  describe("mappings()", function()
    it("make a connection wherever the oracle says that one can be", function()
      for seed = 1, 3 do
        each_pair(function(a, b)
          if predict.meeting(a, b) then
            for foreign = 0, predict.SEQUENCE - 1 do
              local ok = try(a, b, 1, seed, foreign)
              assert.is_true(ok, ("%s with %s, %d foreign"):format(text(a), text(b), foreign))
            end
          end
        end)
      end
    end)

    it("make one on the second attempt too", function()
      each_pair(function(a, b)
        if predict.meeting(a, b) then assert.is_true(try(a, b, 2, 5, 1), text(a) .. " with " .. text(b)) end
      end)
    end)

    it("need help: without the peer's SYNs nothing gets in where ports are filtered", function()
      local a, b = named("port-restricted", "equal"), named("port-restricted", "equal")
      local near, far = new_side(a, "simultaneous", 1, 1), new_side(b, "simultaneous", 1, 2)
      aim(near, far)
      far.plans = {}
      assert.is_false(oracle.meet(near, far))
    end)

    it("are the local ports for an equal delta, without a probe", function()
      local one = named("port-restricted", "equal")
      local needs = predict.needs(one, "simultaneous")
      assert.equal(0, needs.probes)
      assert.same({ { local_port = 5000, reply_port = 0, external_port = 5000 },
        { local_port = 5001, reply_port = 0, external_port = 5001 } },
        predict.mappings(one, needs, { ports = { 5000, 5001 } }))
    end)

    it("are looked at the second time", function()
      local needs = predict.needs(named("port-restricted", "equal"), "simultaneous", "internet", 2)
      assert.equal("held", needs.rule)
      assert.equal(0, predict.needs(named("symmetric", "equal"), "simultaneous", "internet", 2).probes)
      assert.equal(0, predict.needs(nat.open(), "simultaneous", "internet", 2).probes)
      assert.equal(0, predict.needs(named("port-restricted", "equal"), "simultaneous", "lan", 2).probes)
    end)

    it("are the held ones for a cone with random ports", function()
      local one = named("full cone", "random")
      local needs = predict.needs(one, "simultaneous")
      assert.equal(needs.count, needs.probes)
      assert.is_true(needs.listen)
      assert.same({ { local_port = 5001, reply_port = 0, external_port = 777 } },
        predict.mappings(one, needs, { ports = { 5000, 5001 }, held = { [5001] = 777 } }))
    end)

    it("keep a preserving router's distance", function()
      local one = named("symmetric", "preserving")
      assert.same({ { local_port = 5001, reply_port = 0, external_port = 6001 } }, predict.mappings(one,
        predict.needs(one, "simultaneous"), { ports = { 5001 }, last = { port = 5000, external = 6000 } }))
    end)

    it("aim all for one port of a counter", function()
      local one = named("symmetric", "independent", -3)
      local list = predict.mappings(one, predict.needs(one, "simultaneous"),
        { ports = { 1, 2, 3, 4 }, last = { port = 9, external = 5000 } })
      assert.same({ 4988, 4988, 4988, 4988 }, externals(list))
    end)

    it("stop at the last port", function()
      local one = named("symmetric", "dependent", 2)
      local needs = predict.needs(one, "simultaneous")
      local ports = { 1, 2, 3, 4 }
      local list = predict.mappings(one, needs, { ports = ports, last = { port = 9, external = 65530 } })
      assert.same({ 65534, 65534, 65534, 65534 }, externals(list))
      local none, reason = predict.mappings(one, needs,
        { ports = ports, last = { port = 9, external = 65535 } })
      assert.is_nil(none)
      assert.matches("^not predictable: ", reason)
    end)

    it("say 0 for what is not known", function()
      local one = named("symmetric", "random")
      local list = predict.mappings(one, predict.needs(one, "birthday local"), { ports = { 5000, 5001 } })
      assert.same({ 0, 0 }, externals(list))
      assert.equal(1, predict.needs(named("port-restricted", "random"), "birthday remote").probes)
    end)
  end)

  describe("aim()", function()
    local function map(port, external)
      return { local_port = port, reply_port = 0, external_port = external }
    end

    local function replies(...)
      local ports = {}
      for i, mapping in ipairs(predict.aim(...)) do ports[i] = mapping.reply_port end
      return ports
    end

    it("pairs ports in order", function()
      assert.same({ 21, 22 }, replies({ map(1, 11), map(2, 12) }, { map(3, 21), map(4, 22), map(5, 23) }))
      assert.same({ 21, 21 }, replies({ map(1, 11), map(2, 12) }, { map(3, 21) }))
      assert.same({ 21, 22, 21 }, replies({ map(1, 11), map(2, 12), map(9, 13) }, { map(3, 21), map(4, 22) }))
    end)

    it("points at a counter's one port", function()
      assert.same({ 21, 21 }, replies({ map(1, 11), map(2, 12) }, { map(3, 21), map(4, 21) }))
    end)

    it("points anywhere where nothing is known, and leaves its arguments alone", function()
      local one = { map(1, 11) }
      assert.same({ 1 }, replies(one, {}))
      assert.same({ 1 }, replies(one, { map(3, 0) }))
      assert.equal(0, one[1].reply_port)
    end)
  end)
end)
