--- NATs to be recognised, each a host of one lab, and what is to be said of them.
local agent = require "spec.lab.agent"
local nat = require "p2pd.nat"

local nats = {}

local INDEPENDENT, ADDRESS, PORT = table.unpack(nat.BEHAVIOURS)

-- What a NAT's own description says about it.
local FILTERING = {
  ["open internet"] = INDEPENDENT, ["symmetric UDP firewall"] = PORT, ["full cone"] = INDEPENDENT,
  ["address-restricted"] = ADDRESS, ["port-restricted"] = PORT, ["symmetric"] = PORT,
}

local function expectation(one)
  local delta = one.delta or one.type == "symmetric" and "random" or "equal"
  if one.type == "open internet" or one.type == "symmetric UDP firewall" then delta = "not applicable" end
  local is_blocked = one.type == "blocked"
  local mapping = one.type == "symmetric" and PORT or INDEPENDENT
  return {
    type = one.type, delta = delta, value = one.value or 0,
    mapping = not is_blocked and mapping or nil, filtering = FILTERING[one.type],
    tcp_mapping = mapping, hairpin = one.hairpin,
  }
end

local function case(name, router, changed)
  local expected = expectation(router)
  for key, value in pairs(changed or {}) do expected[key] = value end
  return { name = name, host = { nats = { router } }, expected = { expected } }
end

local function restricted(delta, value) return { type = "port-restricted", delta = delta, value = value } end

local FIRST = { type = "full cone", delta = "independent", value = 1 }
local SECOND = { type = "symmetric", delta = "random" }

--- One host each: `name`, `host` (as the lab takes it), `expected` (of each
-- route, in words of p2pd.nat).
nats.CASES = {
  case("open", { type = "open internet" }),
  case("firewall", { type = "symmetric UDP firewall" }),
  case("full_cone", { type = "full cone" }),
  case("address_restricted", { type = "address-restricted" }),
  case("port_restricted", restricted "equal"),
  case("symmetric", { type = "symmetric" }),
  case("blocked", { type = "blocked" }),
  case("preserving", restricted "preserving"),
  case("independent_1", restricted("independent", 1)),
  case("independent_3", restricted("independent", 3)),
  case("dependent_1", restricted("dependent", 1)),
  case("dependent_2", restricted("dependent", 2)),
  case("random", restricted "random"),
  case("random_in_range", { type = "full cone", delta = "random", ports = { 40000, 40999 } }),
  case("independent_in_range", { type = "address-restricted", delta = "independent", value = 1,
    ports = { 40000, 40999 } }),
  case("symmetric_independent", { type = "symmetric", delta = "independent", value = 2 }),
  case("resetting", { type = "port-restricted", unsolicited = "rst" }),
  case("hairpin", { type = "port-restricted", hairpin = true }),
  case("tcp_differs", { type = "port-restricted", tcp = { type = "symmetric", delta = "random" } },
    { delta = "random", tcp_mapping = PORT }),
  {
    name = "carrier",
    host = { nats = { { type = "full cone" }, restricted "preserving" } },
    expected = { expectation(restricted "preserving") },
  },
  {
    name = "two_interfaces",
    host = { interfaces = { { nats = { FIRST } }, { nats = { SECOND } } } },
    expected = { expectation(FIRST), expectation(SECOND) },
  },
}

local CLASSIFY = [[
local interfaces, config = require "p2pd.net.interfaces", require "p2pd.config"
local routing = require "p2pd.net.routes"
local path, hairpin, meanwhile = ...
local settings = assert(config.load(path))
local started = core.clock.monotonic()
local routes, notes
local classifying = task.spawn(function()
  routes, notes = routing.find(assert(interfaces.list()), settings.stun, { hairpin = hairpin })
  return true
end)
task.sleep(0)
if meanwhile then os.execute(meanwhile) end
assert(classifying:join())
return { seconds = core.clock.monotonic() - started, routes = routes, notes = notes }]]

--- Classifies in a host of a lab.
-- @tparam agent inside
-- @tparam string settings path of the settings file
-- @tparam[opt] boolean hairpin whether that is to be looked at too
-- @tparam[opt] string meanwhile a command line to run there while the first answers are on their way
-- @treturn table `seconds`, `routes`, `notes`
function nats.classify(inside, settings, hairpin, meanwhile)
  return inside:call(CLASSIFY, settings, hairpin or false, meanwhile)
end

local KEYS = { "type", "delta", "value", "mapping", "filtering", "tcp_mapping", "hairpin" }

--- What was found, in the words of an expectation.
function nats.words(found)
  local words = { type = nat.TYPES[found.type], delta = nat.DELTAS[found.delta] }
  for i = 3, #KEYS do words[KEYS[i]] = found[KEYS[i]] end
  return words
end

local function find_difference(expected, found)
  local words = nats.words(found)
  for _, key in ipairs(KEYS) do
    local wanted = expected[key]
    if words[key] ~= wanted and not (key == "hairpin" and not wanted and not words[key]) then
      return ("%s: %s, not %s"):format(key, words[key], wanted)
    end
  end
end

--- The first thing that is not as expected, such as "type: symmetric, not full cone", or nil.
-- @tparam table one of @{CASES}
-- @tparam table result of @{classify}
-- @treturn ?string
function nats.difference(one, result)
  if #result.routes ~= #one.expected then
    return ("%d routes, not %d"):format(#result.routes, #one.expected)
  end
  for i, expected in ipairs(one.expected) do
    local difference = find_difference(expected, result.routes[i].nat)
    if difference then return difference end
  end
end

local function merge(a, b)
  local merged = {}
  for key, value in pairs(a) do merged[key] = value end
  for key, value in pairs(b or {}) do merged[key] = value end
  return merged
end

--- A lab's description with a host for each case.
-- @tparam table link latency and loss, for all
-- @tparam[opt=2] integer stuns
function nats.description(link, stuns)
  local hosts = {}
  for _, one in ipairs(nats.CASES) do
    local interfaces = {}
    for i, interface in ipairs(one.host.interfaces or { one.host }) do
      interfaces[i] = merge(interface, link)
    end
    hosts[one.name] = { interfaces = interfaces }
  end
  return { hosts = hosts, servers = { stuns = stuns or 2 } }
end

nats.agent = agent.start

return nats
