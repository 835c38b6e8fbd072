local helper = require "spec.helper"
local pool = require "p2pd.turn.pool"
local task = helper.task

local WAIT = 10

describe("p2pd.turn.pool", function()
  local server, poor

  setup(function() server, poor = helper.coturn {}, helper.coturn { no_tcp_relay = true } end)
  teardown(helper.close_all)

  local function dead(transport)
    local entry = server:turn(transport)
    entry.port = helper.free_port()
    return entry
  end

  it("allocates on whichever server grants it", task(function()
    local allocation <close> = assert(pool.new { dead "tcp", server:turn "tcp" }:allocate { timeout = WAIT })
    assert.equal(server.port, allocation.server.port)
  end))

  it("tells every server's reason", task(function()
    local wrong = server:turn "tcp"
    wrong.pass = "wrong"
    local _, reason = pool.new { dead "tcp", wrong }:allocate { timeout = WAIT }
    assert.matches("refused", reason)
    assert.matches("401", reason)
  end))

  it("says so when there is none", task(function()
    assert.same({ nil, "no TURN server is configured", "ENOENT" }, { pool.new({}):allocate() })
  end))

  it("asks the nearest one first once it is known, and others a little later", task(function()
    local entry, other = server:turn "tcp", dead "tcp"
    local known = pool.new { other, entry }
    local first <close> = assert(known:allocate { timeout = WAIT })
    assert.equal(entry, first.server)
    known.servers = { other, entry }
    other.host = "nobody.invalid" -- would fail slowly
    local second <close> = assert(known:allocate { timeout = WAIT })
    assert.equal(entry, second.server)
  end))

  it("does not ask again for relays of a kind that a server has refused", task(function()
    local known = pool.new { poor:turn "tcp" }
    local _, reason, code = known:allocate { relay = "tcp", timeout = WAIT }
    assert.equal("EPROTONOSUPPORT", code)
    poor:stop()
    assert.same({ nil, reason, code }, { known:allocate { relay = "tcp", timeout = WAIT } })
    assert.equal("ECONNREFUSED", select(3, known:allocate { timeout = WAIT }))
  end))
end)
