local envelope = require "p2pd.signal.envelope"
local admission = require "p2pd.signal.admission"
local message = require "p2pd.signal.message"
local nodes = require "spec.nodes"

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

describe("p2pd.signal.admission", function()
  local alice, bob

  before_each(function()
    alice, bob = keeper(), keeper()
  end)

  it("lets messages and their answers in", function()
    local request = assert(send(alice, bob, 0))
    assert.equal(alice.id, request.from)
    assert.equal("ECHO_REPLY",
      send(bob, alice, 0, { type = "ECHO_REPLY", re = request.id }, request.ticket).type)
  end)

  it("lets each message in once, for as long as it could come again", function()
    local payload = alice.admission:pack(compose(alice.id, bob.id), nil, 0)
    assert(bob.admission:take(payload, 0, TIME))
    for now = 0, 60, 5 do
      assert.equal("duplicate", select(2, bob.admission:take(payload, now, TIME + now)))
    end
    assert.equal("expired", select(2, bob.admission:take(payload, 61, TIME + 61)))
  end)

  it("forgets no message while thousands come", function()
    local payload = alice.admission:pack(compose(alice.id, bob.id), nil, 0)
    assert(bob.admission:take(payload, 0, TIME))
    for i = 1, 20000 do bob.admission.seen:set("other" .. i, true, 30) end
    assert.equal("duplicate", select(2, bob.admission:take(payload, 30, TIME + 30)))
  end)

  it("opens only so many messages of strangers", function()
    local make = stranger_payload(bob)
    local taken, reason = push(230, make, bob, 0)
    assert.same({ admission.LIMITS.stranger[2], "too many of strangers" }, { taken, reason })
    assert.equal(1, (push(20, make, bob, 0.015)))
  end)

  it("spends as little on garbage", function()
    local opened = spy.on(envelope, "open")
    local _, reason = push(5000, function() return "\2" .. ("x"):rep(500) end, bob, 0)
    assert.spy(opened).was.called(admission.LIMITS.stranger[2])
    opened:revert()
    assert.equal("too many of strangers", reason)
  end)

  it("lets a friend in among strangers, who needs his ticket", function()
    bob.admission:trust(alice.id, 0)
    local request = assert(send(alice, bob, 0))
    assert(send(bob, alice, 0, { type = "ECHO_REPLY", re = request.id }, request.ticket))
    push(1000, function() return "\2" .. ("x"):rep(500) end, bob, 0)
    for i = 1, 50 do
      local again = assert(send(alice, bob, i / 100))
      assert(send(bob, alice, i / 100, { type = "ECHO_REPLY", re = again.id }, again.ticket))
      push(100, function() return "\2" .. ("x"):rep(500) end, bob, i / 100)
    end
    local unknown = keeper()
    assert.equal("too many of strangers", select(2, send(unknown, bob, 0.5)))
  end)

  it("lets answers in, whatever strangers do", function()
    alice.admission:trust(bob.id, 0)
    local request = assert(send(alice, bob, 0))
    push(1000, function() return "\2" .. ("x"):rep(500) end, alice, 0)
    assert(send(bob, alice, 0, { type = "ECHO_REPLY", re = request.id }, request.ticket))
  end)

  it("takes a ticket a few times", function()
    local request = assert(send(alice, bob, 0))
    push(300, function() return "\2" .. ("x"):rep(500) end, alice, 0)
    local taken = 0
    for _ = 1, 20 do
      local m = send(bob, alice, 0, { type = "ECHO_REPLY", re = request.id }, request.ticket)
      taken = m and taken + 1 or taken
    end
    assert.equal(8, taken)
  end)

  it("lets who has stolen a ticket do little with it", function()
    local request = assert(send(alice, bob, 0))
    local stolen = message.from_hex(request.ticket)
    local opened = spy.on(envelope, "open")
    push(1000, function() return "\2" .. stolen .. ("x"):rep(500) end, alice, 0)
    assert.spy(opened).was.called(8 + admission.LIMITS.stranger[2])
    opened:revert()
  end)

  it("limits each node", function()
    local function make() return nodes.seal(alice, bob.id, compose(alice.id, bob.id)) end
    admission.LIMITS.sender, admission.LIMITS.old = { 2, 3 }, admission.LIMITS.sender
    local taken, reason = push(10, make, bob, 0)
    admission.LIMITS.sender, admission.LIMITS.old = admission.LIMITS.old, nil
    assert.same({ 3, "too many of a sender" }, { taken, reason })
    assert(send(keeper(), bob, 0))
  end)

  it("keeps strangers who have tickets apart from friends", function()
    bob.admission:trust(alice.id, 0)
    local request = assert(send(alice, bob, 0))
    send(bob, alice, 0, { type = "ECHO_REPLY", re = request.id }, request.ticket)
    for _ = 1, 1000 do bob.admission.limits.guest:take(0) end
    assert(send(alice, bob, 0))
    local guest = keeper()
    request = assert(send(guest, bob, 0))
    send(bob, guest, 0, { type = "ECHO_REPLY", re = request.id }, request.ticket)
    assert.equal("too many of guests", select(2, send(guest, bob, 0)))
  end)

  it("remembers a bounded number of nodes and tickets", function()
    for i = 1, 20000 do
      bob.admission:trust("node" .. i, 0)
      bob.admission:pack(compose(bob.id, FOREIGN), nil, 0)
      bob.admission.issued.guest:set("tag" .. i, {}, 0)
    end
    local total = 0
    for _, m in ipairs { bob.admission.friends, bob.admission.issued.guest, bob.admission.senders } do
      for _ in pairs(m.young) do total = total + 1 end
      for _ in pairs(m.old) do total = total + 1 end
    end
    assert.is_true(total <= 2 * (1024 + 4096))
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
