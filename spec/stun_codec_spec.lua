local core = require "p2pd.core"
local vectors = require "spec.vectors.stun"

local ID = "0123456789ab"
local CLASSIC_ID = "0123456789abcdef"

local function bytes(hex)
  return (hex:gsub("%s+", ""):gsub("%x%x", function(pair) return string.char(tonumber(pair, 16)) end))
end

local function key_of(vector)
  return vector.key or core.stun.long_term_key(vector.user, vector.realm, vector.password)
end

local function splice(data, at, piece)
  return data:sub(1, at - 1) .. piece .. data:sub(at + #piece)
end

-- A message of one attribute, written by hand.
local function message_with(type, value, length)
  local padding = ("\0"):rep(-#value % 4)
  local attribute = string.pack(">I2I2", type, length or #value) .. value .. padding
  return string.pack(">I2I2I4", 0x0101, #attribute, 0x2112a442) .. ID .. attribute
end

describe("core.stun", function()
  describe("decode()", function()
    it("reads the sample request of RFC 5769", function()
      local m = assert(core.stun.decode(bytes(vectors.request.hex), vectors.request.key))
      assert.same({ "request", "binding", false }, { m.class, m.method, m.classic })
      assert.same({ "STUN test client", "evtj:h6vY" }, { m.software, m.username })
      assert.same({ true, true }, { m.integrity, m.fingerprint })
      assert.same({ 0x0024 }, m.unknown)
      assert.equal(bytes "b7e7a701bc34d686fa87dfae", m.id)
    end)

    it("reads the sample IPv4 response", function()
      local m = assert(core.stun.decode(bytes(vectors.response4.hex), vectors.response4.key))
      assert.same({ ip = "192.0.2.1", port = 32853 }, m.mapped)
      assert.same({ "success", "test vector" }, { m.class, m.software })
      assert.same({ true, true }, { m.integrity, m.fingerprint })
    end)

    it("reads the sample IPv6 response", function()
      local m = assert(core.stun.decode(bytes(vectors.response6.hex), vectors.response6.key))
      assert.same({ ip = "2001:db8:1234:5678:11:2233:4455:6677", port = 32853 }, m.mapped)
      assert.same({ true, true }, { m.integrity, m.fingerprint })
    end)

    it("reads the sample request with long-term credentials", function()
      local vector = vectors.long_term
      local m = assert(core.stun.decode(bytes(vector.hex), key_of(vector)))
      assert.same({ vector.user, vector.realm, true }, { m.username, m.realm, m.integrity })
      assert.equal("f//499k954d6OL34oL9FSTvy64sA", m.nonce)
      assert.is_nil(m.fingerprint)
    end)

    it("leaves integrity open without a key, and denies it with a wrong one", function()
      local data = bytes(vectors.request.hex)
      assert.is_nil(core.stun.decode(data).integrity)
      assert.is_false(core.stun.decode(data, "wrong").integrity)
    end)

    it("reads a message of RFC 3489", function()
      local body = string.pack(">I2I2BBI2I4", 0x0001, 8, 0, 1, 4660, 0xc0000201)
        .. string.pack(">I2I2BBI2I4", 0x0005, 8, 0, 1, 3479, 0xc0000202)
      local m = assert(core.stun.decode(string.pack(">I2I2", 0x0101, #body) .. CLASSIC_ID .. body))
      assert.is_true(m.classic)
      assert.equal(CLASSIC_ID, m.id)
      assert.same({ ip = "192.0.2.1", port = 4660 }, m.mapped)
      assert.same({ ip = "192.0.2.2", port = 3479 }, m.other)
    end)

    it("prefers the XOR-MAPPED-ADDRESS", function()
      local m = core.stun.decode((core.stun.encode {
        class = "success",
        plain_mapped = { ip = "192.0.2.9", port = 9 }, mapped = { ip = "192.0.2.1", port = 1 },
      }))
      assert.same({ ip = "192.0.2.1", port = 1 }, m.mapped)
      assert.same({ ip = "192.0.2.9", port = 9 }, m.plain_mapped)
    end)

    it("lists unknown required attributes once, and no optional ones", function()
      local attributes = string.pack(">I2I2I2I2I2I2", 0x7ff0, 0, 0x7ff0, 0, 0xfff0, 0)
      local m = core.stun.decode(string.pack(">I2I2I4", 1, #attributes, 0x2112a442) .. ID .. attributes)
      assert.same({ 0x7ff0 }, m.unknown)
      assert.equal(3, #m.attributes)
    end)

    it("ignores what follows an integrity attribute", function()
      local data = core.stun.encode { id = ID, key = "k" }
      local late = string.pack(">I2I2", 0x0006, 4) .. "late" .. string.pack(">I2I2", 0x7ff0, 0)
      data = splice(data .. late, 3, string.pack(">I2", #data + #late - 20))
      local m = assert(core.stun.decode(data, "k"))
      assert.is_nil(m.username)
      assert.same({}, m.unknown)
      assert.is_true(m.integrity)
    end)

    it("refuses every prefix of every sample", function()
      for _, vector in pairs(vectors) do
        local data = bytes(vector.hex)
        for n = 0, #data - 1 do
          local m, _, code = core.stun.decode(data:sub(1, n), key_of(vector))
          assert.is_nil(m)
          assert.equal("EMSGSIZE", code)
        end
      end
    end)

    it("refuses a byte too many", function()
      local m, message, code = core.stun.decode(bytes(vectors.request.hex) .. "\0")
      assert.is_nil(m)
      assert.matches("length 88, but 89 bytes follow", message)
      assert.equal("EMSGSIZE", code)
    end)

    it("notices every changed byte of every sample", function()
      for name, vector in pairs(vectors) do
        local data, key = bytes(vector.hex), key_of(vector)
        for at = 1, #data do
          for _, mask in ipairs { 0x01, 0x80, 0xff } do
            local m = core.stun.decode(splice(data, at, string.char(data:byte(at) ~ mask)), key)
            assert.is_true(not m or not m.integrity or (name ~= "long_term" and not m.fingerprint))
          end
        end
      end
    end)

    it("survives every lying length", function()
      for _, vector in pairs(vectors) do
        local data, key = bytes(vector.hex), key_of(vector)
        for at = 3, #data - 1, 2 do
          for _, lie in ipairs { 0, 1, 3, 4, 5, 8, 19, 20, 21, 0x7fff, 0xfffc, 0xffff } do
            local lying = splice(data, at, string.pack(">I2", lie))
            local m = lying ~= data and core.stun.decode(lying, key)
            assert.is_true(not m or not m.integrity or not m.fingerprint)
          end
        end
      end
    end)

    for _, case in ipairs {
      { "an attribute longer than the message", message_with(0x8022, "abcd", 5), "SOFTWARE .*5 bytes" },
      { "an unknown attribute longer than the message", message_with(0x7ff0, "", 4), "0x7ff0" },
      { "an address of no family", message_with(0x0020, ("\0"):rep(8)), "XOR%-MAPPED%-ADDRESS: family 0" },
      { "an IPv6 address of 8 bytes", message_with(0x0001, "\0\2" .. ("\0"):rep(6)), "ADDRESS: 8 bytes" },
      { "an IPv4 address of 20 bytes", message_with(0x802c, "\0\1" .. ("\0"):rep(18)), "ADDRESS: 20 bytes" },
      { "an empty address", message_with(0x802b, ""), "RESPONSE%-ORIGIN: 0 bytes" },
      { "an error code of 200", message_with(0x0009, "\0\0\2\0"), "ERROR%-CODE: 2%*100%+0" },
      { "an error code of 4*100 + 100", message_with(0x0009, "\0\0\4\100"), "ERROR%-CODE" },
      { "a short error code", message_with(0x0009, "\0\0\4"), "ERROR%-CODE: 3 bytes" },
      { "half an unknown attribute", message_with(0x000a, "abc"), "UNKNOWN%-ATTRIBUTES: 3 bytes" },
      { "an HMAC of 19 bytes", message_with(0x0008, ("x"):rep(19)), "MESSAGE%-INTEGRITY: 19 bytes" },
      { "an HMAC-SHA256 of 18 bytes", message_with(0x001c, ("x"):rep(18)), "SHA256: 18 bytes" },
      { "a fingerprint of 3 bytes", message_with(0x8028, "abc"), "FINGERPRINT: 3 bytes" },
      { "a user name of 514 bytes", message_with(0x0006, ("u"):rep(514)), "USERNAME: 514 bytes" },
      { "a user hash of 31 bytes", message_with(0x001e, ("u"):rep(31)), "USERHASH: 31 bytes" },
      { "algorithm parameters past the end", message_with(0x001d, "\0\1\0\8abcd"), "ALGORITHM: param" },
      { "an odd length", string.pack(">I2I2I4", 1, 1, 0x2112a442) .. ID .. "x", "length 1 " },
      { "channel data", "\x40\0" .. ("\0"):rep(18), "first two bits" },
    } do
      it("refuses " .. case[1] .. " and says so", function()
        local m, message, code = core.stun.decode(case[2])
        assert.is_nil(m)
        assert.matches(case[3], message)
        assert.equal("EBADMSG", code)
      end)
    end

    it("refuses a fingerprint that is not the last", function()
      local data = message_with(0x8028, "abcd") .. string.pack(">I2I2", 0x8022, 0)
      local _, message = core.stun.decode(splice(data, 3, "\0\12"))
      assert.matches("FINGERPRINT: not the last", message)
    end)

    it("raises without a string", function()
      assert.has_error(function() core.stun.decode() end)
      assert.has_error(function() core.stun.decode({}) end)
    end)
  end)

  describe("encode()", function()
    it("writes the long-term sample of RFC 5769 to the byte", function()
      local vector = vectors.long_term
      assert.equal(bytes(vector.hex), (core.stun.encode {
        id = bytes "78ad3433c6ad72c029da412e", key = key_of(vector),
        username = vector.user, realm = vector.realm, nonce = "f//499k954d6OL34oL9FSTvy64sA",
      }))
    end)

    it("gives a new id each time, and the one it was told", function()
      local _, one = core.stun.encode {}
      local _, two = core.stun.encode {}
      local _, told = core.stun.encode { id = ID }
      assert.equal(12, #one)
      assert.not_equal(one, two)
      assert.equal(ID, told)
    end)

    it("writes what decode() reads", function()
      local fields = {
        class = "error", method = 3, id = ID, software = "p2pd", error = { code = 420, reason = "Unknown" },
        unknown_attributes = { 0x7ff0, 3 }, mapped = { ip = "2001:db8::1", port = 65535 },
        plain_mapped = { ip = "192.0.2.7", port = 7 }, origin = { ip = "192.0.2.1", port = 1 },
        other = { ip = "2001:db8::2", port = 2 }, alternate_server = { ip = "192.0.2.3", port = 3 },
        change = { ip = true, port = false }, response_port = 4660, padding = 33, username = "user",
        userhash = core.stun.userhash("user", "realm"), nonce = "", realm = "realm",
        password_algorithms = { 2, 1 }, password_algorithm = 2,
      }
      local m = assert(core.stun.decode((core.stun.encode(fields))))
      for name, value in pairs(fields) do assert.same(value, m[name]) end
      assert.same({}, m.unknown)
    end)

    it("proves with HMAC-SHA256 when asked", function()
      local key = core.stun.long_term_key("user", "realm", "pass", "sha256")
      local data = core.stun.encode { username = "user", key = key, sha256 = true, fingerprint = true }
      local m = core.stun.decode(data, key)
      assert.same({ true, true }, { m.integrity, m.fingerprint })
      assert.is_false(core.stun.decode(data, "other").integrity)
    end)

    it("writes messages of RFC 3489, and proves them", function()
      local data = core.stun.encode { id = CLASSIC_ID, class = "success", key = "secret",
        mapped = { ip = "192.0.2.1", port = 1 }, other = { ip = "192.0.2.2", port = 2 } }
      local m = core.stun.decode(data, "secret")
      assert.same({ true, true, CLASSIC_ID }, { m.classic, m.integrity, m.id })
      assert.same({ 0x0001, 0x0005 }, { m.attributes[1].type, m.attributes[2].type })
    end)

    for _, case in ipairs {
      { "an unknown class", { class = "shout" }, "class" },
      { "an unknown method", { method = "shout" }, "method" },
      { "a method of 13 bits", { method = 0x1000 }, "method" },
      { "a short id", { id = "abc" }, "'id'" },
      { "an address that is none", { mapped = { ip = "1.2.3", port = 1 } }, "mapped.*1%.2%.3" },
      { "an address that is a string", { mapped = "1.2.3.4" }, "mapped.*table" },
      { "a port of 65536", { mapped = { ip = "1.2.3.4", port = 65536 } }, "port" },
      { "an error code of 99", { error = { code = 99 } }, "error%.code" },
      { "an error without a code", { error = {} }, "error%.code" },
      { "a realm of 764 bytes", { realm = ("r"):rep(764) }, "REALM" },
      { "a realm that does not fit at all", { realm = ("r"):rep(70000) }, "fit" },
      { "a user hash of 5 bytes", { userhash = "short" }, "USERHASH" },
      { "a software that is a number", { software = 5 }, "software" },
      { "a response port of 0", { response_port = 0 }, "response_port" },
      { "65 algorithms", { password_algorithms = { ("x"):rep(65):byte(1, -1) } }, "65" },
    } do
      it("raises for " .. case[1], function()
        assert.error_matches(function() core.stun.encode(case[2]) end, case[3])
      end)
    end
  end)

  describe("long_term_key()", function()
    it("is the MD5 of user:realm:password", function()
      assert.equal(bytes "8493fbc53ba582fb4c044c456bdc40eb", core.stun.long_term_key("user", "realm", "pass"))
    end)

    it("is a SHA-256 when asked, and raises for another algorithm", function()
      assert.equal(32, #core.stun.long_term_key("user", "realm", "pass", "sha256"))
      assert.has_error(function() core.stun.long_term_key("user", "realm", "pass", "sha1") end)
    end)
  end)

  describe("frame_length()", function()
    it("tells how long the message is", function()
      assert.equal(108, core.stun.frame_length(bytes(vectors.request.hex):sub(1, 20)))
    end)

    it("refuses what no message begins with", function()
      local _, _, code = core.stun.frame_length(("H"):rep(20))
      assert.equal("EBADMSG", code)
      assert.has_error(function() core.stun.frame_length("short") end)
    end)
  end)

  describe("transaction()", function()
    local request = core.stun.encode { id = ID }
    local answer = core.stun.encode { class = "success", id = ID, mapped = { ip = "192.0.2.1", port = 1 } }

    local function run(t, now)
      local sent = {}
      while true do
        local action, when = t:poll(now)
        if action == "send" then
          assert.equal(request, when)
          sent[#sent + 1] = now
        elseif action == "wait" then
          now = when
        else
          return action, sent, now
        end
      end
    end

    it("sends at 0, 0.5, 1.5, 3.5, 7.5, 15.5 and 31.5 s and fails at 39.5 s", function()
      local action, sent, now = run(core.stun.transaction(request), 0)
      assert.equal("failed", action)
      assert.same({ 0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5 }, sent)
      assert.equal(39.5, now)
    end)

    it("sends once over a reliable transport", function()
      local action, sent, now = run(core.stun.transaction(request, { reliable = true }), 0)
      assert.same({ "failed", { 0 }, 39.5 }, { action, sent, now })
    end)

    it("takes other parameters", function()
      local action, sent, now = run(core.stun.transaction(request, { rto = 1, rc = 2, rm = 3 }), 10)
      assert.same({ "failed", { 10, 11 }, 14 }, { action, sent, now })
    end)

    it("never sends a burst after a long sleep", function()
      local t = core.stun.transaction(request)
      t:poll(0)
      assert.equal("send", (t:poll(100)))
      assert.equal("wait", (t:poll(100)))
      assert.equal(101, t:due())
    end)

    it("takes the answer, and is done", function()
      local t = core.stun.transaction(request)
      t:poll(0)
      assert.equal("192.0.2.1", t:feed(answer).mapped.ip)
      assert.equal("done", (t:poll(99)))
      assert.equal(math.huge, t:due())
    end)

    it("takes an error response", function()
      local t = core.stun.transaction(request)
      t:poll(0)
      local refusal = core.stun.encode { class = "error", id = ID, error = { code = 401, reason = "no" } }
      local m = t:feed(refusal)
      assert.same({ code = 401, reason = "no" }, m.error)
    end)

    it("skips another id, another method, a request, a wrong fingerprint, and what comes early", function()
      local t = core.stun.transaction(request)
      local function refused(data) assert.equal("ENOMSG", select(3, t:feed(data))) end
      refused(answer)
      t:poll(0)
      refused(core.stun.encode { class = "success", id = ID:reverse() })
      refused(core.stun.encode { class = "success", id = ID, method = 3 })
      refused(request)
      local whole = core.stun.encode { class = "success", id = ID, fingerprint = true }
      refused(whole:sub(1, -2) .. string.char(whole:byte(-1) ~ 1))
      assert.equal("EMSGSIZE", select(3, t:feed("x")))
      assert.is_table(t:feed(whole))
    end)

    it("with a key, skips answers that are not proved by it", function()
      local t = core.stun.transaction(request, { key = "secret" })
      t:poll(0)
      assert.is_nil(t:feed(answer))
      assert.is_nil(t:feed((core.stun.encode { class = "success", id = ID, key = "wrong" })))
      assert.is_true(t:feed((core.stun.encode { class = "success", id = ID, key = "secret" })).integrity)
    end)

    it("raises for what is no request, and for times that make no sense", function()
      assert.has_error(function() core.stun.transaction("hello") end)
      assert.has_error(function() core.stun.transaction(answer) end)
      local nonsense = { { rto = 0 }, { rto = -1 }, { rto = 0 / 0 }, { rc = 0 }, { rm = 0 }, { ti = 0 } }
      for _, options in ipairs(nonsense) do
        assert.has_error(function() core.stun.transaction(request, options) end)
      end
    end)

    it("shows its state", function()
      local t = core.stun.transaction(request)
      t:poll(0)
      assert.matches("waiting, 1 sent", tostring(t))
    end)
  end)
end)
