local delta = require "p2pd.nat.delta"
local evidence = require "p2pd.nat.evidence"
local nat = require "p2pd.nat"

local INDEPENDENT, ADDRESS, PORT = table.unpack(nat.BEHAVIOURS)
local NIC, OUTSIDE, OWN_PORT = "10.0.0.2", "192.0.2.1", 40000

local function at(port, ip) return { ip = ip or OUTSIDE, port = port } end

-- A server that answers RFC 5780: it saw these external ports from its address, its other one, and its other
-- port.
local function udp(name, filtering, first, other_ip, other_port)
  first = first or OWN_PORT
  local ip = "198.51.100." .. name
  return { name = name, ip = ip, server_port = 3478, port = OWN_PORT, mapped = at(first), is_capable = true,
    again = at(first), filtering = filtering,
    mapping = { { ip = ip, port = 3478, mapped = at(first) },
      { ip = "198.51.100.99", port = 3478, mapped = at(other_ip or first) },
      { ip = ip, port = 3479, mapped = at(other_port or first) } } }
end

local function tcp(name, external)
  return { name = name, ip = "198.51.100." .. name, server_port = 3478, port = OWN_PORT,
    mapped = at(external or OWN_PORT) }
end

local function series(name, rule)
  local probes = {}
  for i, port in ipairs(delta.plan()) do
    probes[i] = { port = port, ip = OUTSIDE, external = rule(port, i) }
  end
  return { name = name, transport = "tcp", bursts = { probes } }
end

local function equal(port) return port end
local function up(_, i) return 30000 + i end
local function random() return math.random(1024, 65535) end

local STRICT, OPEN = { both = false, port = false }, { both = true, port = true }

local function judge(seen)
  local given = { ip = NIC, udp = {}, tcp = {}, tcp_mapping = {}, probes = {}, reasons = {} }
  for key, value in pairs(seen) do given[key] = value end
  return evidence.judge(given)
end

local function kind(result) return { result.type, result.delta, result.value } end

describe("p2pd.nat.evidence", function()
  it("judges one honest server", function()
    local result = judge { udp = { udp("1", STRICT) }, tcp = { tcp "1" }, probes = { series("1", equal) },
      tcp_mapping = udp("1", STRICT).mapping, hairpin = true }
    assert.same({ 5, 2, 0 }, kind(result))
    assert.same({ INDEPENDENT, PORT, INDEPENDENT, true, OUTSIDE },
      { result.mapping, result.filtering, result.tcp_mapping, result.hairpin, result.external })
    assert.same({}, result.missing)
  end)

  it("knows mappings that depend on address, or port too", function()
    assert.equal(ADDRESS, judge({ udp = { udp("1", STRICT, 1, 2, 1) } }).mapping)
    assert.equal(PORT, judge({ udp = { udp("1", STRICT, 1, 2, 3) } }).mapping)
  end)

  it("takes one packet that came through for a proof against several that did not", function()
    local result = judge { udp = { udp("1", STRICT), udp("2", OPEN), udp("3", STRICT) } }
    assert.equal(INDEPENDENT, result.filtering)
    assert.equal(3, result.type)
  end)

  it("believes what most say about the address", function()
    local liar = udp("1", OPEN, 5)
    liar.mapped.ip = "203.0.113.7"
    local result = judge { udp = { liar, udp("2", STRICT), udp("3", STRICT) } }
    assert.same({ OUTSIDE, PORT }, { result.external, result.filtering })
  end)

  it("says that two servers disagree about the address", function()
    local other = udp("2", STRICT)
    other.mapped.ip = "203.0.113.7"
    local result = judge { udp = { udp("1", STRICT), other } }
    assert.equal(OUTSIDE, result.external)
    assert.matches("disagree about the external address", table.concat(result.missing, "; "))
  end)

  it("believes what most say about the ports' rule", function()
    local result = judge { udp = { udp("1", STRICT) }, tcp = { tcp "1", tcp "2", tcp "3" },
      probes = { series("1", random), series("2", up), series("3", up) } }
    assert.same({ 5, 4, 1 }, kind(result))
  end)

  it("promises nothing when they disagree about it", function()
    local result = judge { udp = { udp("1", STRICT) }, tcp = { tcp "1", tcp "2" },
      probes = { series("1", equal), series("2", up) } }
    assert.same({ 5, 6, 0 }, kind(result))
    assert.matches("disagree about how ports", table.concat(result.missing, "; "))
  end)

  it("prefers a rule to none when two are even", function()
    local result = judge { udp = { udp("1", STRICT) }, tcp = { tcp "1", tcp "2" },
      probes = { series("1", random), series("2", up) } }
    assert.same({ 5, 4, 1 }, kind(result))
    result = judge { udp = { udp("1", STRICT) }, tcp = { tcp "1", tcp "2", tcp "3" },
      probes = { series("1", random), series("2", up), series("3", random) } }
    assert.same({ 5, 6, 0 }, kind(result))
  end)

  it("does not ask a liar about ports", function()
    local liar = tcp "1"
    liar.mapped.ip = "203.0.113.7"
    local result = judge { udp = { udp("2", STRICT), udp("3", STRICT) }, tcp = { liar, tcp "2" },
      probes = { series("1", equal), series("2", up) } }
    assert.same({ 5, 4, 1 }, kind(result))
  end)

  it("has no delta without a NAT", function()
    local server, stream = udp("1", OPEN), tcp "1"
    server.mapped, stream.mapped, server.again = at(OWN_PORT, NIC), at(OWN_PORT, NIC), nil
    assert.same({ 1, 1, 0 }, kind(judge { udp = { server }, tcp = { stream } }))
    server.filtering = STRICT
    assert.same({ 2, 1, 0 }, kind(judge { udp = { server }, tcp = { stream } }))
  end)

  it("says what is missing", function()
    local server = udp "1"
    server.is_capable, server.mapping = false, { server.mapping[1] }
    local result = judge { udp = { server } }
    assert.same({ 6, 6, 0 }, kind(result))
    local gaps = table.concat(result.missing, "; ")
    for _, gap in ipairs { "RFC 5780", "only one server address", "how TCP ports are allotted" } do
      assert.matches(gap, gaps, 1, true)
    end
  end)

  it("calls a mapping unstable that most saw change", function()
    local moved, still = udp("1", STRICT), udp("2", STRICT)
    moved.again = at(7)
    assert.is_nil(judge({ udp = { moved, still, udp("3", STRICT) } }).unstable)
    local result = judge { udp = { moved, moved }, probes = { series("1", equal) } }
    assert.same({ 6, 6, 0 }, kind(result))
    assert.same({ true, nat.UNSTABLE }, { result.unstable, result.mapping })
    still.again = nil
    assert.is_nil(judge({ udp = { still } }).unstable)
  end)

  it("tells blocked UDP from no answer at all", function()
    local result = judge { tcp = { tcp "1" }, probes = { series("1", up) }, reasons = { "x: timed out" } }
    assert.same({ 7, 4, 1 }, kind(result))
    assert.equal("UDP is blocked: x: timed out", result.reason)
    local public = tcp "1"
    public.mapped = at(OWN_PORT, NIC)
    assert.same({ 7, 2, 0 }, kind(judge { tcp = { public } }))
    result = judge { reasons = { "x: timed out" } }
    assert.same({ 7, 1, 0 }, kind(result))
    assert.equal("no STUN server answered: x: timed out", result.reason)
    assert.is_nil(result.external)
  end)
end)
