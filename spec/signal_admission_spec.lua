local envelope = require "p2pd.signal.envelope"
local admission = require "p2pd.signal.admission"
local limit = require "p2pd.limit"
local message = require "p2pd.signal.message"
local nodes = require "spec.nodes"
local replay = require "p2pd.signal.replay"
local token = require "p2pd.signal.token"

local FOREIGN = "zmUGXPOFxUBuToh"
local TIME = 1e9 -- network time at the beginning

local count = 0

local function compose(from_id, to_id, changes)
  count = count + 1
  local m = { type = "ECHO", id = "id" .. count, from = from_id, to = to_id, time = TIME, ttl = 60,
    data = "00", address = "0-0-0-" .. from_id }
  for key, value in pairs(changes or {}) do m[key] = value end
  return m
end

-- A node with its admission.
local function keeper(options)
  local node = nodes.new()
  node.admission = admission.new { key = node.key, insecure = options and options.insecure }
  return node
end

local function send(from, to, now, changes, ticket)
  local payload = assert(from.admission:pack(compose(from.id, to.id, changes), ticket, now))
  return to.admission:take(payload, now, TIME + now)
end

-- How many of so many messages get in, and why the last one does not.
local function push(times, make, to, now)
  local taken, reason = 0, nil
  for _ = 1, times do
    local m, why = to.admission:take(make(), now, TIME + now)
    if m then taken = taken + 1 else reason = why end
  end
  return taken, reason
end

local function stranger_payload(to)
  return function()
    local stranger = nodes.new()
    return nodes.seal(stranger, to.id, compose(stranger.id, to.id))
  end
end

local function garbage()
  return "\2" .. ("x"):rep(500)
end

describe("p2pd.signal.admission", function()
  local alice, bob

  before_each(function()
    alice, bob = keeper(), keeper()
  end)

  it("lets messages and their answers in", function()
    local request = assert(send(alice, bob, 0))
    assert.equal(alice.id, request.from)
    assert.equal("ECHO_REPLY",
      send(bob, alice, 0, { type = "ECHO_REPLY", re = request.id }, request.token).type)
  end)

  it("lets each message in once, for as long as it could come again", function()
    local payload = alice.admission:pack(compose(alice.id, bob.id), nil, 0)
    assert(bob.admission:take(payload, 0, TIME))
    for now = 0, 60, 5 do
      assert.equal("duplicate", select(2, bob.admission:take(payload, now, TIME + now)))
    end
    local late = nodes.seal(alice, bob.id, compose(alice.id, bob.id))
    assert.equal("expired", select(2, bob.admission:take(late, 61, TIME + 61)))
  end)

  it("forgets no message while thousands come", function()
    local payload = alice.admission:pack(compose(alice.id, bob.id), nil, 0)
    assert(bob.admission:take(payload, 0, TIME))
    for i = 1, 20000 do bob.admission.replay:add(i, TIME, 30) end
    assert.equal("duplicate", select(2, bob.admission:take(payload, 30, TIME + 30)))
  end)

  it("lets no message in twice by changing what the seal does not cover", function()
    local payload = alice.admission:pack(compose(alice.id, bob.id), nil, 0)
    assert(bob.admission:take(payload, 0, TIME))
    for at = 10, 17 do
      local changed = payload:sub(1, at - 1) .. string.char(payload:byte(at) ~ 1) .. payload:sub(at + 1)
      assert.equal("duplicate", select(2, bob.admission:take(changed, 1, TIME + 1)))
    end
  end)

  it("opens only so many messages of strangers", function()
    local make = stranger_payload(bob)
    local taken, reason = push(230, make, bob, 0)
    assert.same({ 200, "too many of strangers" }, { taken, reason })
    assert.equal(1, (push(20, make, bob, 0.015)))
  end)

  it("spends as little on garbage", function()
    local opened = spy.on(envelope, "open")
    local _, reason = push(5000, garbage, bob, 0)
    assert.spy(opened).was.called(200)
    opened:revert()
    assert.equal("too many of strangers", reason)
  end)

  describe("a reply token", function()
    it("lets a trusted peer in among strangers", function()
      bob.admission:trust(alice.id, 0)
      local request = assert(send(alice, bob, 0))
      assert(send(bob, alice, 0, { type = "ECHO_REPLY", re = request.id }, request.token))
      push(1000, garbage, bob, 0)
      for i = 1, 50 do
        local again = assert(send(alice, bob, i / 100))
        assert(send(bob, alice, i / 100, { type = "ECHO_REPLY", re = again.id }, again.token))
        push(100, garbage, bob, i / 100)
      end
      assert.equal("too many of strangers", select(2, send(keeper(), bob, 0.5)))
    end)

    it("lets answers in, whatever strangers do", function()
      alice.admission:trust(bob.id, 0)
      local request = assert(send(alice, bob, 0))
      push(1000, garbage, alice, 0)
      assert(send(bob, alice, 0, { type = "ECHO_REPLY", re = request.id }, request.token))
    end)

    it("is never on the wire", function()
      local request = assert(send(alice, bob, 0))
      local payload = bob.admission:pack(compose(bob.id, alice.id), request.token, 0)
      assert.is_nil(payload:find(message.from_hex(request.token):sub(9), 1, true))
    end)

    it("is of no use to who has seen it at the broker, and he can't use it up", function()
      local request = assert(send(alice, bob, 0))
      assert(send(bob, alice, 0, { type = "ECHO_REPLY", re = request.id }, request.token))
      local payload = alice.admission:pack(compose(alice.id, bob.id), nil, 0)
      local seen, opened = payload:sub(2, 17), spy.on(envelope, "open")
      push(1000, garbage, bob, 0)
      push(1000, function() return "\2" .. seen .. ("x"):rep(500) end, bob, 0)
      local eve = nodes.new()
      push(1000, function() return nodes.seal(eve, bob.id, compose(eve.id, bob.id), seen) end, bob, 0)
      assert.spy(opened).was.called(199) -- and her first message
      opened:revert()
      assert(bob.admission:take(payload, 0, TIME))
    end)

    it("is of no use to another peer, who was told it", function()
      local request = assert(send(alice, bob, 0))
      local reply = assert(send(bob, alice, 0, { type = "ECHO_REPLY", re = request.id }, request.token))
      local eve = nodes.new()
      local payload = nodes.seal(eve, bob.id, compose(eve.id, bob.id), message.from_hex(reply.token))
      assert.same({ n = 3, nil, "another's token", eve.id }, table.pack(bob.admission:take(payload, 0, TIME)))
    end)

    it("is good for ten minutes, and no more after twenty", function()
      local tokens = token.new()
      local given = tokens:give(alice.id, 0)
      local tag = token.tag(given, "sealed")
      for _, now in ipairs { 0, 599, 600, 1100 } do
        assert.equal(tokens:number_of(alice.id), tokens:find(tag, "sealed", now))
      end
      assert.is_nil(tokens:find(tag, "other", 1100))
      assert.is_nil(tokens:find(tag, "sealed", 1300))
      assert.is_nil(tokens:find(tag, "sealed", 9000))
    end)

    it("that is kept for a trusted peer is not forgotten for strangers' sake", function()
      bob.admission:trust(alice.id, 0)
      assert(send(alice, bob, 0))
      for i = 1, 20000 do bob.admission.held.stranger:set("node" .. i, "token", 0) end
      assert.is_string(bob.admission.held.trusted:get(alice.id))
    end)
  end)

  describe("replays", function()
    local function payload_of_alice()
      return nodes.seal(alice, bob.id, compose(alice.id, bob.id))
    end

    it("are refused after a restart, whatever is older than it", function()
      local payload = payload_of_alice()
      assert(bob.admission:take(payload, 100, TIME))
      local again = admission.new { key = bob.key, started = 5 }
      assert.equal("sent too early", select(2, again:take(payload, 10, TIME + 35)))
      assert(again:take(nodes.seal(alice, bob.id, compose(alice.id, bob.id, { time = TIME + 31 })), 10,
        TIME + 35))
    end)

    it("are refused when network time is set back", function()
      local payload = payload_of_alice()
      local known = true
      local one = admission.new { key = bob.key, started = 0, is_time_known = function() return known end }
      assert(one:take(payload, 0, TIME))
      for now = 86400, 90000, 300 do
        one:take(nodes.seal(alice, bob.id, compose(alice.id, bob.id, { time = TIME + now })), now, TIME + now)
      end
      assert.equal("expired", select(2, one:take(payload, 90000, TIME + 10)))
      known = false
      assert.equal("expired", select(2, one:take(payload, 90000, TIME + 10)))
    end)

    it("are refused when more has come than can be remembered", function()
      local filter = replay.new(120, 100)
      for i = 1, 1000 do
        if not filter:has(i) and not filter:is_old(TIME + i) then filter:add(i, TIME + i, i / 1000) end
      end
      for i = 1, 1000 do assert.is_true(filter:has(i) or filter:is_old(TIME + i)) end
      assert.is_false(filter:is_old(TIME + 1001))
    end)

    it("of answers do not push requests out", function()
      local payload = payload_of_alice()
      assert(bob.admission:take(payload, 0, TIME))
      for i = 1, 20000 do bob.admission.replay:add(i, TIME, 0, true) end
      assert.equal("duplicate", select(2, bob.admission:take(payload, 1, TIME + 1)))
      assert.is_false(bob.admission.replay:is_old(TIME))
    end)
  end)

  it("limits each node", function()
    local limits = limit.new { limits = { messages_of_peer = { number = 2, burst = 3 } } }
    bob.admission = admission.new { key = bob.key, limits = limits }
    local taken, reason = push(10, function() return nodes.seal(alice, bob.id, compose(alice.id, bob.id)) end,
      bob, 0)
    assert.same({ 3, "too many of a sender" }, { taken, reason })
    assert(send(keeper(), bob, 0))
  end)

  it("keeps strangers who have tokens apart from trusted peers", function()
    bob.admission:trust(alice.id, 0)
    local request = assert(send(alice, bob, 0))
    send(bob, alice, 0, { type = "ECHO_REPLY", re = request.id }, request.token)
    for _ = 1, 1000 do bob.admission.limits:take("messages", { step = "known" }, 1, 0) end
    assert(send(alice, bob, 0))
    local known = keeper()
    request = assert(send(known, bob, 0))
    send(bob, known, 0, { type = "ECHO_REPLY", re = request.id }, request.token)
    assert.equal("too many of known", select(2, send(known, bob, 0)))
  end)

  it("remembers little", function()
    collectgarbage()
    local before = collectgarbage "count"
    for i = 1, 20000 do
      bob.admission:pack(compose(bob.id, FOREIGN), nil, 0)
      bob.admission.tokens:give("node" .. i, 0)
      bob.admission.held.stranger:set("node" .. i, "token", 0)
      bob.admission.limits:take("messages_of_peer", { peer = i }, 1, 0)
      bob.admission.replay:add(i, TIME, i / 200)
    end
    collectgarbage()
    assert.is_true(collectgarbage "count" - before < 3000)
  end)

  describe("plain messages", function()
    local function plain(from_id, to)
      return message.encode(compose(from_id, to.id))
    end

    it("come in at a insecure node alone, and from nodes without a key alone", function()
      local open = keeper { insecure = true }
      assert.equal(FOREIGN, open.admission:take(plain(FOREIGN, open), 0, TIME).from)
      assert.equal("not sealed", select(2, open.admission:take(plain(alice.id, open), 0, TIME)))
      assert.equal("not sealed", select(2, bob.admission:take(plain(FOREIGN, bob), 0, TIME)))
    end)

    it("come in from a node without a key that was asked", function()
      bob.admission:trust(FOREIGN, 0)
      assert(bob.admission:take(plain(FOREIGN, bob), 0, TIME))
      assert.equal("not sealed", select(2, bob.admission:take(plain("another", bob), 0, TIME)))
    end)

    it("go out to nodes without a key", function()
      assert.equal("{", bob.admission:pack(compose(bob.id, FOREIGN), nil, 0):sub(1, 1))
      assert.equal("\2", bob.admission:pack(compose(bob.id, alice.id), nil, 0):sub(1, 1))
    end)

    it("are limited like strangers' sealed ones", function()
      local open = keeper { insecure = true }
      local _, reason = push(300, function() return plain(FOREIGN, open) end, open, 0)
      assert.equal("too many of strangers", reason)
    end)
  end)
end)
