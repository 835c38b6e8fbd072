local connection = require "p2pd.cli.connection"
local dial = require "p2pd.dial"

local STEP = { kind = "strategy", name = "direct", ["local"] = "192.0.2.1", remote = "192.0.2.2:4", began = 0,
  seconds = 0.123456789, ok = false, reason = "refused", code = "ECONNREFUSED", number = 1 }

local function failure()
  return dial.failure("no connection to you", "EHOSTUNREACH", { { strategy = "direct", ok = false, began = 0,
    seconds = 0.123456789, reason = "refused" }, report = { seconds = 1, count = 1, steps = { STEP } } })
end

-- What a function writes to stderr.
local function listen(fn, ...)
  local said, real = {}, io.stderr
  io.stderr = { write = function(_, ...) said[#said + 1] = table.concat { ... } end } -- luacheck: ignore 122
  local ok, err = pcall(fn, ...)
  io.stderr = real -- luacheck: ignore 122
  assert(ok, err)
  return table.concat(said)
end

-- What tell() says of it.
local function told(args)
  return listen(connection.tell, args, "you", 1.5, nil, failure())
end

describe("p2pd.cli.connection", function()
  it("describe() has what a dial did, in short numbers, and no more", function()
    local object = connection.describe(1.5, nil, failure())
    assert.same({ false, 1.5, "no connection to you (direct: refused)" },
      { object.ok, object.seconds, object.error })
    assert.same({ { strategy = "direct", ok = false, reason = "refused", began = 0, seconds = 0.123457 } },
      setmetatable(object.attempts, nil))
    assert.same({ { kind = "strategy", name = "direct", ["local"] = "192.0.2.1", remote = "192.0.2.2:4",
      began = 0, seconds = 0.123457, ok = false, reason = "refused", code = "ECONNREFUSED" } },
      setmetatable(object.steps, nil))
  end)

  it("describe() has empty lists for what was never tried", function()
    local object = connection.describe(0, nil, dial.failure("not a peer address", "EINVAL"))
    assert.same({ {}, {} }, { object.attempts, object.steps })
    assert.equal("array", getmetatable(object.steps).__jsontype)
  end)

  it("tell() says as much as it is told to", function()
    assert.equal("p2pd: no connection to you (direct: refused)\n", told {})
    assert.matches("\ndirect +192.0.2.1 > 192.0.2.2:4 +|x+ +| +123 ms  refused\n"
      .. "p2pd: no connection to you\n$", told { explain = true })
    assert.matches("^{.*}\n$", told { json = true })
  end)

  it("tell() says what could be done instead of what was tried", function()
    local busy = failure()
    busy.report.facts = { node_id = "you", peer_id = "you" }
    assert.matches("^p2pd: no connection to bob: this is the address of this node itself",
      listen(connection.tell, {}, "bob", 1.5, nil, busy))
  end)

  it("story() tells the paths, and what was between them", function()
    local function path(strategy, since, seconds, why)
      return { strategy = strategy, ["local"] = "192.0.2.1:2", remote = "192.0.2.2:4", since = since,
        seconds = seconds, why = why }
    end
    assert.same({}, connection.story {})
    assert.same({
      "     0.00 s  relay    192.0.2.1:2 > 192.0.2.2:4", "             for 2.00 s: another path",
      "     2.00 s  punch    192.0.2.1:2 > 192.0.2.2:4", "             for 4.00 s: silence",
      "     6.00 s  no path for 1.50 s",
      "     7.50 s  direct   192.0.2.1:2 > 192.0.2.2:4", "             to the end",
    }, connection.story { path("relay", 10, 2, "another path"), path("punch", 8, 4, "silence"),
      path("direct", 2.5, 2.5) })
  end)
end)
