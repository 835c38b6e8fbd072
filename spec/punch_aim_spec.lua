local aim = require "p2pd.punch.aim"
local birthday = require "p2pd.punch.birthday"

local function mapping(port, external)
  return { local_port = port, reply_port = 0, external_port = external }
end

-- A side of a pair behind two routers, but for the fields given.
local function side(fields)
  local route = { nic = "192.168.1.2", external = "8.8.4.4", external_known = true, family = "ipv4",
    prefix = 24, name = "eth0" }
  local result = { meeting = "simultaneous", purpose = "internet", attempt = 1, delay = 0.02, route = route,
    needs = {}, mappings = { mapping(1001, 2001), mapping(1002, 2002) },
    pair = { family = "ipv4", route = route, remote = { internal = "10.0.0.5", external = "9.9.9.9" } } }
  for key, value in pairs(fields or {}) do result[key] = value end
  return result
end

local REMOTE = { mapping(3001, 4001), mapping(3002, 4002) }

local function endpoints(list)
  local texts = {}
  for i, syn in ipairs(list) do
    texts[i] = ("%s:%d > %s:%d"):format(syn.ip, syn.port, syn.remote_ip, syn.remote_port)
  end
  return texts
end

describe("p2pd.punch.aim", function()
  it("points at the peer's outside", function()
    assert.same({ "192.168.1.2:1001 > 9.9.9.9:4001", "192.168.1.2:1002 > 9.9.9.9:4002" },
      endpoints(aim.syns(side(), REMOTE, 1)))
  end)

  it("points at the inside too on one LAN", function()
    local near = side()
    near.pair.remote.internal, near.pair.who = "192.168.1.9", { typed = { ["192.168.1.9"] = true } }
    assert.same({ "192.168.1.2:1001 > 9.9.9.9:4001", "192.168.1.2:1001 > 192.168.1.9:3001",
      "192.168.1.2:1002 > 9.9.9.9:4002", "192.168.1.2:1002 > 192.168.1.9:3002" },
      endpoints(aim.syns(near, REMOTE, 1)))
    assert.same({ 1001, 1002 }, aim.listening_ports(near))
  end)

  it("never at itself", function()
    local here = side { purpose = "machine", mappings = { mapping(3001, 3001) } }
    here.pair.remote = { internal = here.route.nic, external = here.route.nic }
    assert.same({}, aim.syns(here, { mapping(3001, 3001) }, 1))
  end)

  it("lets the answerer's first SYN die on its way in some attempts", function()
    assert.is_nil(aim.syns(side(), REMOTE, 1)[1].ttl)
    assert.equal(2, aim.syns(side { attempt = 2 }, REMOTE, 1)[1].ttl)
    assert.is_nil(aim.syns(side { attempt = 2, is_dialer = true }, REMOTE, 1)[1].ttl)
    assert.is_true(aim.is_low(2))
    assert.is_false(aim.is_low(1))
  end)

  describe("for a birthday attack", function()
    it("opens ports, whichever are free, in each wave", function()
      local list = aim.syns(side { meeting = "birthday local" }, REMOTE, 2)
      assert.equal(birthday.PORTS, #list)
      assert.same({ "192.168.1.2:0 > 9.9.9.9:4001", 2 }, { endpoints(list)[1], list[1].ttl })
    end)

    it("opens none where the peer names no port", function()
      assert.same({}, aim.syns(side { meeting = "birthday local" }, {}, 1))
    end)

    it("guesses other ports in each wave", function()
      local guessing, seen = side { meeting = "birthday remote" }, {}
      for wave = 1, birthday.WAVES do
        local list = aim.syns(guessing, {}, wave)
        assert.equal(birthday.GUESSES, #list)
        for _, syn in ipairs(list) do
          assert.equal(1001, syn.port)
          assert.is_nil(syn.ttl or seen[syn.remote_port])
          seen[syn.remote_port] = true
        end
      end
    end)
  end)
end)
