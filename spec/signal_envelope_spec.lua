local core = require "p2pd.core"
local envelope = require "p2pd.signal.envelope"
local message = require "p2pd.signal.message"
local nodes = require "spec.nodes"

local alice, bob, eve = nodes.new(), nodes.new(), nodes.new()
local TAG = ("t"):rep(16)

local function compose(changes)
  local m = { type = "ECHO", id = "id1", from = alice.id, to = bob.id, time = 1, ttl = 60, data = "00",
    address = "0-[0,203.0.113.7,192.168.1.2,54321,5,2,0]-0-" .. alice.id }
  for key, value in pairs(changes or {}) do m[key] = value end
  return m
end

describe("p2pd.signal.envelope", function()
  it("brings a message to its receiver, with the sender's id", function()
    local payload = envelope.seal(alice.key, compose(), TAG)
    local text, from = envelope.open(bob.key, payload)
    assert.equal("00", message.decode(text, bob.id, 1).data)
    assert.equal(alice.id, from)
    assert.equal(TAG, envelope.tag_of(payload))
  end)

  it("is what docs/protocol.md says", function()
    assert.equal("ECHO", nodes.open(bob, envelope.seal(alice.key, compose { time = core.clock.realtime() },
      TAG)).type)
    assert.equal(alice.id, select(2, envelope.open(bob.key, nodes.seal(alice, bob.id, compose()))))
  end)

  it("shows nothing, not even who has sent it", function()
    local payload = envelope.seal(alice.key, compose(), TAG)
    for _, secret in ipairs { "ECHO", "203.0.113.7", "192.168.1.2", "54321", "id1", alice.id, bob.id,
      alice.key:public(), bob.key:public() } do
      assert.is_nil(payload:find(secret, 1, true))
    end
  end)

  it("has one length for many a message", function()
    local lengths = {}
    for size = 0, 40, 2 do
      lengths[#envelope.seal(alice.key, compose { data = ("0"):rep(size) }, TAG)] = true
    end
    local count = 0
    for _ in pairs(lengths) do count = count + 1 end
    assert.is_true(count <= 2)
  end)

  it("never looks the same twice", function()
    local first = envelope.seal(alice.key, compose(), TAG)
    assert.not_equal(first:sub(18), envelope.seal(alice.key, compose(), TAG):sub(18))
    assert.not_equal(envelope.new_tag(), envelope.new_tag())
  end)

  it("opens for nobody else, and not when a byte differs", function()
    local payload = envelope.seal(alice.key, compose(), TAG)
    assert.is_nil((envelope.open(eve.key, payload)))
    assert.is_nil((envelope.open(alice.key, payload)))
    for at = 2, #payload, 7 do
      local changed = payload:sub(1, at - 1) .. string.char(payload:byte(at) ~ 0x80) .. payload:sub(at + 1)
      assert.is_nil((envelope.open(bob.key, changed)))
    end
    for length = 0, #payload - 1, 5 do assert.is_nil((envelope.open(bob.key, payload:sub(1, length)))) end
  end)

  it("has no tag when it is something else", function()
    for _, payload in ipairs { "", "{}", "\2", "\2" .. ("t"):rep(15), "\3" .. ("t"):rep(100) } do
      assert.is_nil(envelope.tag_of(payload))
    end
  end)

  it("refuses what is too long, and a receiver without a key", function()
    assert.equal("EMSGSIZE", select(3, envelope.seal(alice.key, compose { data = ("00"):rep(8192) }, TAG)))
    assert.equal("EINVAL", select(3, envelope.seal(alice.key, compose { to = "bob" }, TAG)))
  end)
end)
