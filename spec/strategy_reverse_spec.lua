local address = require "p2pd.address"
local core = require "p2pd.core"
local deadline = require "p2pd.deadline"
local helper = require "spec.helper"
local id = require "p2pd.id"
local loopback = require "spec.loopback"
local nodes = require "spec.nodes"
local p2pd = require "p2pd"
local reverse = require "p2pd.strategy.reverse"
local task = helper.task

local WAIT = 5
local ONLY_REVERSE = { strategies = { "reverse" }, timeout = WAIT }

describe("p2pd.strategy.reverse", function()
  local world = loopback.new(setup, teardown)

  local function start(options) return world:start(options) end
  local function pair(fn) return world:pair(fn, loopback.ALLOWING) end

  it("answers with a connection from the peer", pair(function(alice, bob)
    local pipe <close> = assert(alice:connect(bob.address, ONLY_REVERSE))
    local accepted <close> = assert(bob:accept(WAIT))
    local own = address.parse(alice.address)
    local port = tonumber(pipe:info()["local"]:match "%d+$")
    assert.is_true(port == own.ipv4[1].port or own.ipv6[1] and port == own.ipv6[1].port)
    assert.equal(pipe.id, accepted.id)
    assert.same({}, alice.expected)
    assert.equal(0, bob:stats().answering)
  end))

  it("says why at once when the peer can't reach us", pair(function(alice, bob)
    loopback.pretend(alice, helper.free_port())
    local started = core.clock.monotonic()
    local pipe, err = alice:connect(bob.address, ONLY_REVERSE)
    assert.is_nil(pipe)
    assert.matches("^refused by the peer: .*Connection refused", err.reverse)
    assert.is_true(core.clock.monotonic() - started < 1)
  end))

  it("says so when no family is shared", pair(function(alice, bob)
    local own = address.parse(alice.address)
    own.ipv4, own.ipv6 = {}, {}
    alice.signal.address = function() return address.format(own) end
    local _, err = alice:connect(bob.address, ONLY_REVERSE)
    assert.equal("refused by the peer: no address family in common", err.reverse)
  end))

  it("says so when the peer is busy", task(function()
    local alice <close> = start()
    local bob <close> = start { limits = { answers = 0 } }
    local _, err = alice:connect(bob.address, { strategies = { "reverse" }, timeout = 0.1 })
    assert.equal("refused by the peer: too busy", err.reverse)
    assert.equal(1, bob:stats().limits.answers.refused)
  end))

  it("says so when the peer does not answer", task(function()
    local alice <close> = start()
    local nobody = alice.address:gsub("%w+$", nodes.new_id())
    local _, err = alice:connect(nobody, { strategies = { "reverse" }, timeout = 0.1 })
    assert.matches("^no answer within 0.[01]", err.reverse)
  end))

  it("takes no refusal from a stranger", pair(function(alice, bob)
    local carol <close> = start()
    local listener <close> = assert(core.tcp.listen { ip = "127.0.0.1" }) -- bob waits there
    loopback.pretend(alice, select(2, listener:getsockname()))
    local dialing <close> = p2pd.spawn(alice.connect, alice, bob.address, ONLY_REVERSE)
    local request
    repeat
      p2pd.sleep(0)
      for sent, exchange in pairs(alice.signal.exchanges) do
        if not exchange.reply then request = sent end -- nothing but a refusal answers a P2P_DIRECT
      end
    until request
    local function refuse(node, re)
      local m = { type = "REFUSED", id = id.new(), re = re, from = node.id, to = alice.id, pipe = "p",
        address = node.address, time = core.clock.realtime(), ttl = 60, reason = "go away" }
      alice.signal:deliver(nodes.seal(node, alice.id, m))
    end
    refuse(carol, request)
    refuse(bob, id.new())
    assert.is_nil(alice.signal.exchanges[request].answer)
    refuse(bob, request)
    assert.equal("refused by the peer: go away", select(2, dialing:join(WAIT)).reverse)
  end))

  it("takes no connection from a stranger", pair(function(alice, bob)
    local carol <close> = start()
    loopback.pretend(alice, helper.free_port())
    local dialing <close> = p2pd.spawn(alice.connect, alice, bob.address, ONLY_REVERSE)
    repeat p2pd.sleep(0) until next(alice.expected)
    local port = address.parse(alice.address).ipv4[1].port
    local stranger <close> = assert(core.tcp.connect("127.0.0.1", port))
    stranger:write(("P2PD/1 back %s\n"):format((next(alice.expected))))
    local ok, reason = core.tls.server(stranger, carol.tls, alice.id, WAIT)
    assert.is_nil(ok)
    assert.matches("no proof that the peer knows the node id", reason)
    assert.is_nil((dialing:join(WAIT)))
  end))

  it("answers one request at a time for a pipe", pair(function(alice, bob)
    local listener <close> = assert(core.tcp.listen { ip = "127.0.0.1" })
    loopback.pretend(alice, select(2, listener:getsockname()))
    local peer, pipe_id = address.parse(bob.address), id.new()
    for _ = 1, 3 do
      alice.signal:send_until(peer, "P2P_DIRECT", { pipe = pipe_id }, deadline.after(WAIT),
        function() return true end)
    end
    assert.equal("x", alice:echo(bob.address, "x", WAIT)) -- all three have come
    local stream <close> = assert(listener:accept(WAIT))
    local _, _, code = listener:accept(0)
    assert.equal("ETIMEDOUT", code)
    assert.equal(1, bob:stats().answering)
    assert.matches("^P2PD/1 back %w+$", stream:read "l")
    assert(stream:write "P2PD/1 refused nobody waits for this pipe\n")
  end))

  it("gives up on a dialer that never chooses", task(function()
    local bob <close> = start()
    local dialer = nodes.new()
    local listener <close> = assert(core.tcp.listen { ip = "127.0.0.1" })
    local sender = { mqtt = { 0 }, ipv6 = {}, ipv4 = {
      { external = "127.0.0.1", internal = "127.0.0.1", port = select(2, listener:getsockname()) } } }
    local answering <close> = p2pd.spawn(reverse.messages.P2P_DIRECT.answer, bob,
      { pipe = id.new(), from = dialer.id, id = id.new(), sender = sender })
    local stream = assert(listener:accept(WAIT))
    assert.matches("^P2PD/1 back %w+$", stream:read "l")
    assert(core.tls.client(stream, dialer.context, bob.id, WAIT))
    stream:close()
    assert.same({ n = 3, nil, "the dialer chose another stream", "ECANCELED" },
      table.pack(answering:join(WAIT)))
  end))
end)
