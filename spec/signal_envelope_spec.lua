local core = require "p2pd.core"
local envelope = require "p2pd.signal.envelope"
local message = require "p2pd.signal.message"
local nodes = require "spec.nodes"
local token = require "p2pd.signal.token"

local alice, bob, eve = nodes.new(), nodes.new(), nodes.new()
local TOKEN = ("t"):rep(24)

local function compose(changes)
  local m = { type = "ECHO", id = "id1", from = alice.id, to = bob.id, time = 1, ttl = 60, data = "00",
    address = "0-[0,203.0.113.7,192.168.1.2,54321,5,2,0]-0-" .. alice.id }
  for key, value in pairs(changes or {}) do m[key] = value end
  return m
end

describe("p2pd.signal.envelope", function()
  it("brings a message to its receiver, with the sender's id", function()
    local payload = envelope.seal(alice.key, compose(), TOKEN)
    local text, from = envelope.open(bob.key, payload)
    assert.equal("00", message.decode(text, bob.id, 1).data)
    assert.equal(alice.id, from)
    local tag, sealed = envelope.split(payload)
    assert.equal(token.tag(TOKEN, sealed), tag)
    assert.equal(("t"):rep(8), tag:sub(1, 8))
  end)

  it("is what docs/protocol.md says", function()
    assert.equal("ECHO", nodes.open(bob, envelope.seal(alice.key, compose { time = core.clock.realtime() },
      TOKEN)).type)
    assert.equal(alice.id, select(2, envelope.open(bob.key, nodes.seal(alice, bob.id, compose()))))
  end)

  it("shows nothing, not even who has sent it", function()
    local payload = envelope.seal(alice.key, compose(), TOKEN)
    for _, secret in ipairs { "ECHO", "203.0.113.7", "192.168.1.2", "54321", "id1", alice.id, bob.id,
      alice.key:public(), bob.key:public() } do
      assert.is_nil(payload:find(secret, 1, true))
    end
  end)

  it("has one length for many a message", function()
    local lengths = {}
    for size = 0, 40, 2 do
      lengths[#envelope.seal(alice.key, compose { data = ("0"):rep(size) }, TOKEN)] = true
    end
    local count = 0
    for _ in pairs(lengths) do count = count + 1 end
    assert.is_true(count <= 2)
  end)

  it("never looks the same twice", function()
    local first, second = envelope.seal(alice.key, compose()), envelope.seal(alice.key, compose())
    for _, at in ipairs { 2, 10, 18, 50, 98 } do
      assert.not_equal(first:sub(at, at + 7), second:sub(at, at + 7))
    end
    local _, _, number = envelope.split(first)
    assert.not_equal(number, (select(3, envelope.split(second))))
  end)

  it("opens for nobody else, and not when a byte differs", function()
    local payload = envelope.seal(alice.key, compose(), TOKEN)
    assert.is_nil((envelope.open(eve.key, payload)))
    assert.is_nil((envelope.open(alice.key, payload)))
    for at = 2, #payload, 7 do
      at = at < 10 and at or at + 8 -- not the token's proof, which admission judges
      if at > #payload then break end
      local changed = payload:sub(1, at - 1) .. string.char(payload:byte(at) ~ 0x80) .. payload:sub(at + 1)
      assert.is_nil((envelope.open(bob.key, changed)))
    end
    for length = 0, #payload - 1, 5 do assert.is_nil((envelope.open(bob.key, payload:sub(1, length)))) end
  end)

  it("is told from something else", function()
    for _, payload in ipairs { "", "{}", "\2", "\2" .. ("t"):rep(15), "\2" .. ("t"):rep(47),
      "\3" .. ("t"):rep(100) } do
      assert.is_nil((envelope.split(payload)))
    end
  end)

  it("refuses what is too long, and a receiver without a key", function()
    assert.equal("EMSGSIZE", select(3, envelope.seal(alice.key, compose { data = ("00"):rep(8192) }, TOKEN)))
    assert.equal("EINVAL", select(3, envelope.seal(alice.key, compose { to = "bob" }, TOKEN)))
  end)
end)
