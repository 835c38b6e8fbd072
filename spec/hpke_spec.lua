local core = require "p2pd.core"
local known = require "spec.vectors.keys"
local vectors = require "spec.vectors.hpke"
local keys = core.keys

local OVERHEAD = 48 -- the ephemeral key and the tag
local ZEROS = ("\0"):rep(32)

local function bytes(hex)
  return hex and (hex:gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end))
end

local function flip(text, at, mask)
  return text:sub(1, at - 1) .. string.char(text:byte(at) ~ mask) .. text:sub(at + 1)
end

-- The u of the points whose order divides 8: X25519 of any of them is zero.
local SMALL_ORDER = {
  ZEROS, "\1" .. ZEROS:sub(2),
  bytes "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
  bytes "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
}

describe("HPKE", function()
  for mode, v in pairs(vectors) do
    local sealed = bytes(v.enc) .. bytes(v.ciphertext)
    it(("seals as RFC 9180 does in mode_%s"):format(mode), function()
      assert.equal(sealed, keys.hpke_seal(bytes(v.ephemeral), bytes(v.sender), bytes(v.receiver_public),
        bytes(v.info), bytes(v.aad), bytes(v.plain)))
    end)
    it(("opens as RFC 9180 does in mode_%s"):format(mode), function()
      assert.equal(bytes(v.plain), keys.hpke_open(bytes(v.receiver), bytes(v.sender_public),
        bytes(v.info), bytes(v.aad), sealed))
    end)
  end

  it("does not open one mode as the other", function()
    local v = vectors.auth
    local sealed = bytes(v.enc) .. bytes(v.ciphertext)
    local plain, _, code = keys.hpke_open(bytes(v.receiver), nil, bytes(v.info), bytes(v.aad), sealed)
    assert.is_nil(plain)
    assert.equal("EBADMSG", code)
  end)
  it("refuses to seal for a key of small order", function()
    local v = vectors.auth
    for _, public in ipairs(SMALL_ORDER) do
      local sealed, _, code = keys.hpke_seal(bytes(v.ephemeral), bytes(v.sender), public, "", "", "")
      assert.is_nil(sealed)
      assert.equal("EINVAL", code)
    end
  end)
  it("refuses ephemeral and sender keys of small order", function()
    local v = vectors.auth
    for _, public in ipairs(SMALL_ORDER) do
      local forged = public .. ("x"):rep(40)
      assert.equal("EBADMSG", select(3, keys.hpke_open(bytes(v.receiver), nil, "", "", forged)))
      forged = bytes(v.enc) .. ("x"):rep(40)
      assert.equal("EBADMSG", select(3, keys.hpke_open(bytes(v.receiver), public, "", "", forged)))
    end
  end)
end)

describe("core.keys", function()
  local alice = keys.from_seed(bytes(known[1].seed))
  local bob = keys.from_seed(bytes(known[2].seed))
  local carol = keys.generate()
  local INFO, AAD, PLAIN = "p2pd", "topic", "the quick brown fox"
  local sealed = assert(alice:seal(bob:id(), INFO, AAD, PLAIN))

  local function refused(key, from, info, aad, message)
    local plain, text, code = key:open(from, info, aad, message)
    assert.is_nil(plain)
    assert.equal("EBADMSG", code)
    assert.equal("not sealed by that node for this one, or altered", text)
  end

  describe("seal() and open()", function()
    it("carry a message", function()
      assert.equal(#PLAIN + OVERHEAD, #sealed)
      assert.equal(PLAIN, bob:open(alice:id(), INFO, AAD, sealed))
    end)
    it("carry every length", function()
      for _, length in ipairs { 0, 1, 15, 16, 17, 63, 64, 65, 1000, 16384, 1 << 20 } do
        local plain = ("\xff"):rep(length)
        assert.is_true(bob:open(alice:id(), "", "", alice:seal(bob:id(), "", "", plain)) == plain)
      end
    end)
    it("carry messages to oneself", function()
      assert.equal(PLAIN, alice:open(alice:id(), INFO, AAD, alice:seal(alice:id(), INFO, AAD, PLAIN)))
    end)
    it("differ each time", function()
      assert.not_equal(sealed, alice:seal(bob:id(), INFO, AAD, PLAIN))
    end)
    it("are HPKE with the keys that follow from the ids", function()
      local info = INFO .. alice:public() .. bob:public()
      assert.equal(PLAIN,
        keys.hpke_open(bytes(known[2].x25519), bytes(known[1].x25519_public), info, AAD, sealed))
    end)
    it("show nothing of the message", function()
      assert.is_nil(sealed:find(PLAIN, 1, true))
      assert.is_nil(sealed:find(alice:public(), 1, true))
    end)
  end)

  describe("open()", function()
    it("refuses a flip of any bit", function()
      for at = 1, #sealed do
        for bit = 0, 7 do
          refused(bob, alice:id(), INFO, AAD, flip(sealed, at, 1 << bit))
        end
      end
    end)
    it("refuses every truncation", function()
      for length = 0, #sealed - 1 do refused(bob, alice:id(), INFO, AAD, sealed:sub(1, length)) end
    end)
    it("refuses more than was sealed", function()
      refused(bob, alice:id(), INFO, AAD, sealed .. "\0")
      refused(bob, alice:id(), INFO, AAD, "\0" .. sealed)
      refused(bob, alice:id(), INFO, AAD, ("\0"):rep((1 << 20) + OVERHEAD + 1))
    end)
    it("refuses another sender", function()
      refused(bob, carol:id(), INFO, AAD, sealed)
      refused(bob, bob:id(), INFO, AAD, sealed)
    end)
    it("refuses the sender whose key is the negative", function()
      refused(bob, known[1].negative_id, INFO, AAD, sealed)
    end)
    it("refuses what was sealed for another", function()
      refused(carol, alice:id(), INFO, AAD, sealed)
      refused(alice, alice:id(), INFO, AAD, sealed)
      refused(bob, alice:id(), INFO, AAD, alice:seal(known[2].negative_id, INFO, AAD, PLAIN))
    end)
    it("refuses a reflected message", function()
      refused(alice, bob:id(), INFO, AAD, sealed)
    end)
    it("refuses another info and another aad", function()
      for _, other in ipairs { "", "p2pe", "p2pd ", "topic" } do
        refused(bob, alice:id(), other, AAD, sealed)
      end
      for _, other in ipairs { "", "topic\0", "p2pd", "Topic" } do
        refused(bob, alice:id(), INFO, other, sealed)
      end
    end)
    it("tells a sender that is no node", function()
      local plain, message, code = bob:open("alice", INFO, AAD, sealed)
      assert.same({ nil, "not the id of a node key", "EINVAL" }, { plain, message, code })
    end)
    it("still works after refusals", function()
      assert.equal(PLAIN, bob:open(alice:id(), INFO, AAD, sealed))
    end)
  end)

  describe("seal()", function()
    it("refuses a receiver that is no node", function()
      for _, id in ipairs { "", "bob", known.small_order[1], known.not_reduced[1] } do
        local message, _, code = alice:seal(id, INFO, AAD, PLAIN)
        assert.is_nil(message)
        assert.equal("EINVAL", code)
      end
    end)
    it("refuses what is too long", function()
      assert.error_matches(function() alice:seal(bob:id(), ("x"):rep(257), "", "") end, "256 bytes")
      assert.error_matches(function() alice:seal(bob:id(), "", "", ("x"):rep((1 << 20) + 1)) end, "1 MiB")
    end)
    it("wants strings", function()
      assert.error(function() alice:seal(bob:id(), INFO, AAD) end)
      assert.error(function() alice:seal(bob, INFO, AAD, PLAIN) end)
    end)
  end)
end)
