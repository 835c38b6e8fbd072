local core = require "p2pd.core"
local helper = require "spec.helper"
local initiator = require "p2pd.punch.initiator"
local nat = require "p2pd.nat"
local reports = require "p2pd.dial.report"
local task = helper.task

local EQUAL = { type = nat.TYPES["port-restricted"], delta = nat.DELTA_EQUAL, value = 0 }
local RANDOM = { type = nat.SYMMETRIC, delta = nat.DELTA_RANDOM, value = 0 }

local function peer(interface, external, its_nat)
  local record = { interface = interface, external = external, internal = "10.0.0.5",
    port = 4000, nat = its_nat or EQUAL }
  return { ipv4 = { record } }
end

-- A dial of a node with one route; `request` answers what the initiator asks.
local function new_dial(remote, request, route_nat)
  local route = { family = "ipv4", interface = 0, name = "lo", nic = "127.0.0.1", external = "203.0.113.1",
    external_known = true, nat = route_nat or nat.open() }
  local kept = {}
  local node = { routes = { route }, settings = { stun = {} } }
  function node.keep(_, key, make)
    kept[key] = kept[key] or make()
    return kept[key]
  end
  function node.pairs(_, address)
    local list = {}
    for i, record in ipairs(address.ipv4) do list[i] = { family = "ipv4", route = route, remote = record } end
    return list
  end
  return { node = node, peer = remote, request = request, report = reports.new(core.clock.monotonic()) }
end

describe("p2pd.punch.initiator", function()
  it("goes by the peer's newest address in each attempt", task(function()
    local asked = {}
    local dial = new_dial(peer(1, "203.0.113.2"), function(self, kind, fields)
      assert.equal("INITIAL_MAPPINGS", kind)
      asked[#asked + 1] = fields.pair[3]
      if fields.try == 2 then self.peer = peer(7, "203.0.113.3") end
      if fields.try == 4 then return nil, "enough", "EACCES" end
      return nil, "no answer", "ETIMEDOUT"
    end)
    assert.same({ n = 3, nil, "enough", "EACCES" }, table.pack(initiator.dial(dial)))
    assert.same({ 1, 1, 7, 7 }, asked)
  end))

  it("asks nobody where no pair can meet", task(function()
    local function ask() error "asked" end
    local _, reason, code = initiator.dial(new_dial(peer(0, "203.0.113.2", RANDOM), ask, RANDOM))
    assert.matches("^not predictable: ", reason)
    assert.equal("EHOSTUNREACH", code)
    assert.equal("EACCES", select(3, initiator.dial(new_dial(peer(0, "127.0.0.1"), ask))))
    assert.equal("EAFNOSUPPORT", select(3, initiator.dial(new_dial({ ipv4 = {} }, ask))))
  end))

  it("says when our NAT is not known yet", task(function()
    local dial = new_dial(peer(0, "203.0.113.2"), function() error "asked" end)
    dial.node.routes[1].nat = nil
    assert.equal("EAGAIN", select(3, initiator.dial(dial)))
  end))
end)
