local core = require "p2pd.core"

local pcp = core.pcp

local function bytes(hex)
  return (hex:gsub("%s", ""):gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end))
end

-- Laid out by hand after RFC 6887, figures 2, 3, 9 and 10.
local NONCE = bytes "00 01 02 03 04 05 06 07 08 09 0a 0b"
local MAP_REQUEST = bytes [[
  02 01 0000 00000e10 00000000 00000000 0000ffff 0a000102
  00010203 04050607 08090a0b 06 000000 15b3 15b4 00000000 00000000 0000ffff cb007109 ]]
local MAP_RESPONSE = bytes [[
  02 81 00 00 00000708 00003039 00000000 00000000 00000000
  00010203 04050607 08090a0b 06 000000 15b3 15b5 00000000 00000000 0000ffff cb007109 ]]
local PINHOLE_RESPONSE = bytes [[
  02 81 00 00 00000708 00003039 00000000 00000000 00000000
  00010203 04050607 08090a0b 06 000000 15b3 15b3 20010db8 00000000 00000000 00000001 ]]

describe("p2pd.core.pcp", function()
  describe("encode()", function()
    it("lays out MAP", function()
      assert.equal(MAP_REQUEST, pcp.encode { opcode = "map", client = "10.0.1.2", lifetime = 3600,
        nonce = NONCE, internal_port = 5555, external_port = 5556, external_ip = "203.0.113.9" })
    end)

    it("lays out ANNOUNCE, with an IPv6 client", function()
      assert.equal(bytes "02 00 0000 00000000 20010db8 00000000 00000000 00000002",
        pcp.encode { opcode = "announce", client = "2001:db8::2" })
    end)

    it("suggests any address of the client's family", function()
      local request = pcp.encode { opcode = "map", client = "2001:db8::2", nonce = NONCE, internal_port = 1 }
      assert.equal(("\0"):rep(16), request:sub(-16))
      request = pcp.encode { opcode = "map", client = "10.0.1.2", nonce = NONCE, internal_port = 1 }
      assert.equal(bytes "00000000 00000000 0000ffff 00000000", request:sub(-16))
    end)

    it("raises for what does not fit together", function()
      for _, options in ipairs {
        { opcode = "peer", client = "10.0.1.2" },
        { client = "nobody" },
        { client = "10.0.1.2", lifetime = -1 },
        { opcode = "map", client = "10.0.1.2" },
        { opcode = "map", client = "10.0.1.2", nonce = "short" },
        { opcode = "map", client = "10.0.1.2", nonce = NONCE, external_ip = "2001:db8::1" },
        { opcode = "map", client = "10.0.1.2", nonce = NONCE, internal_port = 65536 },
        { opcode = "map", client = "10.0.1.2", nonce = NONCE, protocol = "sctp" },
      } do
        assert.has_error(function() pcp.encode(options) end)
      end
    end)
  end)

  describe("decode()", function()
    it("reads a mapping", function()
      assert.same({ opcode = "map", result = 0, result_name = "SUCCESS", lifetime = 1800, epoch = 12345,
        nonce = NONCE, protocol = 6, internal_port = 5555, external_port = 5557,
        external_ip = "203.0.113.9" }, pcp.decode(MAP_RESPONSE))
    end)

    it("reads a pinhole", function()
      local answer = pcp.decode(PINHOLE_RESPONSE)
      assert.same({ "2001:db8::1", 5555 }, { answer.external_ip, answer.external_port })
    end)

    it("reads results, and names those that the RFC names", function()
      local answer = pcp.decode(MAP_RESPONSE:sub(1, 3) .. "\2" .. MAP_RESPONSE:sub(5))
      assert.same({ 2, "NOT_AUTHORIZED" }, { answer.result, answer.result_name })
      answer = pcp.decode(MAP_RESPONSE:sub(1, 3) .. "\xee" .. MAP_RESPONSE:sub(5))
      assert.same({ 238, "result 238" }, { answer.result, answer.result_name })
    end)

    it("reads a refusal without its request", function()
      local answer = pcp.decode(bytes "02 81 00 03 00000708 00003039 00000000 00000000 00000000")
      assert.same({ "map", "MALFORMED_REQUEST" }, { answer.opcode, answer.result_name })
      assert.is_nil(answer.external_port)
    end)

    it("passes over options, which have to fit", function()
      assert.is_table(pcp.decode(MAP_RESPONSE .. bytes "02 00 0000" .. bytes "03 00 0005 01020304 05000000"))
      local answer, reason, code = pcp.decode(MAP_RESPONSE .. bytes "03 00 0005 01020304")
      assert.same({ nil, "an option does not fit the message", "EBADMSG" }, { answer, reason, code })
    end)

    it("knows NAT-PMP's answer", function()
      local answer, reason, code = pcp.decode(bytes "00 81 0001 00000009")
      assert.same({ nil, "version 0, not 2", "EPROTONOSUPPORT" }, { answer, reason, code })
    end)

    it("refuses what is none", function()
      for _, data in ipairs {
        "", "\2", MAP_REQUEST, MAP_RESPONSE:sub(1, -2), MAP_RESPONSE:sub(1, 56), MAP_RESPONSE .. "\0",
        bytes "02 82 00 00" .. ("\0"):rep(20), MAP_RESPONSE .. ("\0"):rep(1100),
      } do
        assert.equal("EBADMSG", (select(3, pcp.decode(data))))
      end
    end)
  end)

  it("is_same_epoch() follows RFC 6887 section 8.5", function()
    assert.is_true(pcp.is_same_epoch(100, 10, 110, 20))
    assert.is_true(pcp.is_same_epoch(100, 10, 99, 10))    -- one second of disorder
    assert.is_false(pcp.is_same_epoch(100, 10, 98, 10))   -- went back
    assert.is_true(pcp.is_same_epoch(0, 0, 1000, 1060))   -- its clock is a sixteenth slow
    assert.is_false(pcp.is_same_epoch(0, 0, 1000, 1100))
    assert.is_true(pcp.is_same_epoch(0, 0, 1060, 1000))   -- or fast
    assert.is_false(pcp.is_same_epoch(0, 0, 1100, 1000))
    assert.is_false(pcp.is_same_epoch(500, 0, 510, 600))  -- restarted and counted up again
  end)
end)
