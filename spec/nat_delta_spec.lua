local delta = require "p2pd.nat.delta"
local nat = require "p2pd.nat"

local IP = "192.0.2.1"
local EQUAL, PRESERVING, RANDOM = nat.DELTA_EQUAL, nat.DELTA_PRESERVING, nat.DELTA_RANDOM
local INDEPENDENT, DEPENDENT = nat.DELTA_INDEPENDENT, nat.DELTA_DEPENDENT

-- A burst through a NAT that gives local port p, as the i-th, the port rule(p, i).
local function burst(rule)
  local probes = {}
  for i, port in ipairs(delta.plan()) do probes[i] = { port = port, ip = IP, external = rule(port, i) } end
  return probes
end

local function lose(probes, ...)
  for _, i in ipairs { ... } do probes[i].external, probes[i].ip = nil, nil end
  return probes
end

local function counter(step, start, others)
  local last = start or 30000
  return function()
    for _ = 0, others and others() or 0 do last = last + step end
    return last
  end
end

local function wrapped(step, first, last)
  local port = first + 2 * step
  return function()
    port = port + step
    if port < math.min(first, last) or port > math.max(first, last) then port = first end
    return port
  end
end

-- Blocks of 1024 ports that are scattered, as a NAT whose ports depend on the local one only by neighbours.
local function scattered(port)
  return 2048 + (port // 1024 * 37 + 11) % 61 * 1024 + port % 1024
end

-- How many ports others take before each of ours.
local function traffic()
  local counts, i = { 0, 2, 0, 1, 0, 0, 3, 1, 0, 4, 0, 1, 0 }, math.random(0, 12)
  return function()
    i = i % #counts + 1
    return counts[i]
  end
end

local RULES = {
  { "equal", EQUAL, 0, function() return function(p) return p end end },
  { "preserving", PRESERVING, 0, function() return function(p) return p + 5003 end end },
  { "preserving, with the last ports at the front", PRESERVING, 0, function()
    return function(p) return p + 9000 <= 65535 and p + 9000 or p + 9000 - 64512 end
  end },
  { "independent 1", INDEPENDENT, 1, function() return counter(1) end },
  { "independent 3", INDEPENDENT, 3, function() return counter(3) end },
  { "independent -2", INDEPENDENT, -2, function() return counter(-2) end },
  { "independent 1 among others' traffic", INDEPENDENT, 1, function() return counter(1, nil, traffic()) end },
  { "independent 3 among others' traffic", INDEPENDENT, 3, function() return counter(3, nil, traffic()) end },
  { "independent 1 at the end of the range", INDEPENDENT, 1, function() return wrapped(1, 65526, 65535) end },
  { "independent 3 in a small range", INDEPENDENT, 3, function() return wrapped(3, 65000, 65030) end },
  { "independent -1 in a small range", INDEPENDENT, -1, function() return wrapped(-1, 1040, 1024) end },
  { "dependent 1", DEPENDENT, 1, function() return scattered end },
  { "dependent 2", DEPENDENT, 2, function() return function(p) return 1024 + p * 2 % 64499 end end },
  { "dependent 1 in a range", DEPENDENT, 1, function() return function(p) return 30000 + p % 1000 end end },
  { "dependent -3", DEPENDENT, -3, function() return function(p) return 60000 - p * 3 % 50021 end end },
  { "random", RANDOM, 0, function() return function() return math.random(1024, 65535) end end },
  { "random in 100 ports", RANDOM, 0, function() return function() return math.random(40000, 40099) end end },
}

local ROUNDS = 30

describe("p2pd.nat.delta", function()
  describe("plan()", function()
    it("opens runs of neighbours, spread and in no order", function()
      local ports = delta.plan()
      assert.equal(delta.RUNS * delta.RUN_LENGTH, #ports)
      local starts = {}
      for i = 1, #ports, 2 do
        assert.equal(ports[i] + 1, ports[i + 1])
        starts[#starts + 1] = ports[i]
      end
      table.sort(starts)
      for i = 2, #starts do assert.is_true(starts[i] - starts[i - 1] > 2) end
    end)
  end)

  describe("infer()", function()
    for _, case in ipairs(RULES) do
      it("finds " .. case[1], function()
        for _ = 1, ROUNDS do
          assert.same({ case[2], case[3] }, { delta.infer { burst(case[4]()) } })
        end
      end)

      it(("finds %s although a probe is lost"):format(case[1]), function()
        for lost = 1, delta.RUNS * delta.RUN_LENGTH do
          local probes = lose(burst(case[4]()), lost)
          assert.same({ case[2], case[3] }, { delta.infer { probes } })
        end
      end)
    end

    it("passes over a mapping of old", function()
      for run = 1, delta.RUNS do
        local probes = burst(counter(1))
        for i = 2 * run - 1, 2 * run do probes[i].external = probes[i].external - 700 end
        assert.same({ INDEPENDENT, 1 }, { delta.infer { probes } })
      end
    end)

    it("takes two poor bursts together", function()
      local rule = counter(3)
      local first, second = lose(burst(rule), 2, 3, 5, 8, 9, 11), lose(burst(rule), 1, 2, 6, 7)
      local kind, why = delta.infer { first }
      assert.is_nil(kind)
      assert.matches("too many mappings are unknown", why)
      assert.same({ INDEPENDENT, 3 }, { delta.infer { first, second } })
    end)

    it("says so when next to nothing came back", function()
      local probes = lose(burst(function(p) return p end), 1, 2, 3, 4, 5, 6, 7, 8)
      assert.same({ nil, "only 4 mappings are known" }, { delta.infer { probes } })
      assert.same({ nil, "only 0 mappings are known" }, { delta.infer {} })
    end)

    it("leaves out what came from another external address", function()
      local probes = burst(function(p) return p end)
      probes[3].ip, probes[3].external = "192.0.2.9", 1
      assert.same({ EQUAL, 0 }, { delta.infer { probes } })
    end)

    it("calls it random when the address changes all the time", function()
      local probes = burst(function(p) return p end)
      for i, probe in ipairs(probes) do probe.ip = "192.0.2." .. i % 3 end
      assert.same({ RANDOM, 0 }, { delta.infer { probes } })
    end)
  end)
end)
