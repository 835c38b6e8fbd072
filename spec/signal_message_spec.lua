local address = require "p2pd.address"
local json = require "dkjson"
local message = require "p2pd.signal.message"

local NOW = 1700000000.25
local ADDRESS = "0,1-[0,8.8.8.8,192.168.21.21,58959,3,2,0]-0-alice"

-- Each type with what it carries.
local MESSAGES = {
  ECHO = { data = message.to_hex "hello\0\255" },
  ECHO_REPLY = { data = "", re = "id0" },
  GET_ADDR = {},
  RETURN_ADDR = { re = "id0" },
  REFUSED = { re = "id0", pipe = "pipe1", reason = "too busy" },
}

local function compose(kind, changes)
  local m = { type = kind, id = "id1", from = "alice", to = "bob", address = ADDRESS, time = NOW, ttl = 60 }
  for name, value in pairs(MESSAGES[kind] or {}) do m[name] = value end
  for name, value in pairs(changes or {}) do m[name] = value end
  return m
end

local function decode(bytes, now)
  return message.decode(bytes, "bob", now or NOW)
end

local function fits(m)
  return message.check(m, message.TYPES[m.type].fields)
end

local function refusal(changes, now)
  local m, reason = decode(message.encode(compose("ECHO", changes)), now)
  assert.is_nil(m)
  return reason
end

-- Without field `name`.
local function without(kind, name)
  local m = compose(kind)
  m[name] = nil
  return message.encode(m)
end

describe("p2pd.signal.message", function()
  describe("decode()", function()
    for kind, fields in pairs(MESSAGES) do
      it("gives back a " .. kind, function()
        local m = assert(decode(message.encode(compose(kind))))
        assert.same({ kind, "id1", "alice", "bob", ADDRESS, NOW, 60 },
          { m.type, m.id, m.from, m.to, m.address, m.time, m.ttl })
        for name, value in pairs(fields) do assert.equal(value, m[name]) end
        assert.is_true(fits(m))
        assert.same(address.parse(ADDRESS), m.sender)
      end)

      it("does not fit as a " .. kind .. " without one of its fields", function()
        for name in pairs(message.TYPES[kind].fields) do
          assert.is_false(fits(assert(decode(without(kind, name)))))
        end
      end)
    end

    it("refuses a message without one of the fields that all have", function()
      for _, name in ipairs { "id", "from", "to", "address", "time", "ttl" } do
        assert.same({ nil, "fields" }, { decode(without("ECHO", name)) })
      end
      assert.same({ nil, "fields" }, { decode(without("ECHO", "type")) })
    end)

    it("refuses fields of a wrong type or size", function()
      for _, name in ipairs { "id", "from", "to", "address", "time", "ttl", "data" } do
        for _, value in ipairs { {}, { 1 }, true, "" } do
          local expected = name == "address" and value == "" and "sender" or "fields"
          if name ~= "data" then
            assert.equal(expected, refusal { [name] = value })
          elseif value ~= "" then
            assert.is_false(fits(assert(decode(message.encode(compose("ECHO", { data = value }))))))
          end
        end
      end
      assert.equal("fields", refusal { id = 5 })
      assert.equal("fields", refusal { id = ("x"):rep(65) })
      assert.equal("fields", refusal { from = "a b" })
      assert.equal("fields", refusal { time = "soon" })
      assert.equal("fields", refusal { address = ("x"):rep(5000) })
      for _, data in ipairs { "0", "0g", "AB", "0 0" } do
        assert.is_false(fits(assert(decode(message.encode(compose("ECHO", { data = data }))))))
      end
    end)

    it("refuses times to live that are not above 0 and up to 300", function()
      for _, ttl in ipairs { 0, -1, 300.5, 1e300 } do assert.equal("fields", refusal { ttl = ttl }) end
    end)

    it("refuses what is no type, and another version", function()
      for _, kind in ipairs { "echo", "", "A B", "1A", 5, {} } do
        assert.equal("fields", refusal { type = kind })
      end
      assert.equal("KNOCK", decode(message.encode(compose("ECHO", { type = "KNOCK" }))).type)
      local m = compose "ECHO"
      for _, version in ipairs { 0, 1, "2", {} } do
        m.v = version
        assert.same({ nil, "version" }, { decode(json.encode(m)) })
      end
    end)

    it("refuses a message for another node", function()
      assert.equal("not for us", refusal { to = "carol" })
    end)

    it("refuses an expired message, and takes it until then", function()
      assert.equal("expired", refusal(nil, NOW + 60.5))
      assert.is_table(decode(message.encode(compose "ECHO"), NOW + 60))
    end)

    it("refuses a message ahead of time", function()
      assert.equal("ahead of time", refusal(nil, NOW - message.MAX_AHEAD - 0.5))
      assert.is_table(decode(message.encode(compose "ECHO"), NOW - message.MAX_AHEAD))
    end)

    it("refuses times beyond all numbers", function()
      local bytes = message.encode(compose("ECHO", { time = 12321 }))
      for _, time in ipairs { "1e999", "9223372036854775807" } do
        assert.is_nil((decode((bytes:gsub("12321", time)))))
        assert.is_nil((decode((bytes:gsub("12321", "-" .. time)))))
      end
    end)

    it("refuses a sender that is not the address's", function()
      assert.equal("sender", refusal { from = "eve" })
      assert.equal("sender", refusal { address = "0-0-0-eve" })
      assert.equal("sender", refusal { address = "nonsense" })
    end)

    it("refuses what is too long", function()
      assert.equal("too long", refusal { data = ("ab"):rep(10000) })
      assert.same({ nil, "too long" }, { decode(("x"):rep(10 * 1024 * 1024)) })
    end)

    it("refuses every truncation", function()
      local bytes = message.encode(compose "REFUSED")
      for length = 0, #bytes - 1 do assert.is_nil((decode(bytes:sub(1, length)))) end
    end)

    it("refuses what follows a message", function()
      local bytes = message.encode(compose "ECHO")
      assert.same({ nil, "garbage" }, { decode(bytes .. "x") })
      assert.same({ nil, "garbage" }, { decode(bytes .. bytes) })
    end)

    it("refuses names that are none", function()
      local bytes = message.encode(compose "ECHO")
      for _, name in ipairs { "{}", "[1]", "true", "1.5" } do
        assert.same({ nil, "garbage" }, { decode((bytes:gsub("^{", "{" .. name .. ":1,"))) })
      end
    end)

    it("survives random bytes, and random bytes in a message", function()
      local random = math.random
      local bytes = message.encode(compose "ECHO")
      for _ = 1, 2000 do
        local noise = {}
        for i = 1, random(0, 60) do noise[i] = string.char(random(0, 255)) end
        assert.is_nil((decode(table.concat(noise))))
        local at = random(1, #bytes)
        decode(bytes:sub(1, at - 1) .. string.char(random(0, 255)) .. bytes:sub(at + 1))
      end
    end)

    it("survives JSON that is no message", function()
      for _, text in ipairs { "", "null", "5", '"x"', "[]", "{}", "[1,2]", "true", '{"v":1}',
        '{"v":1,"type":[]}' } do
        assert.is_nil((decode(text)))
      end
    end)

    it("survives deep nesting", function()
      for _, unit in ipairs { "[", '{"v":' } do
        assert.is_nil((decode(unit:rep(3000))))
        assert.is_nil((decode(unit:rep(10000))))
      end
      assert.is_nil((decode(("["):rep(8000) .. ("]"):rep(8000))))
    end)
  end)

  describe("to_hex() and from_hex()", function()
    it("carry every byte", function()
      local bytes = {}
      for i = 0, 255 do bytes[i + 1] = string.char(i) end
      local all = table.concat(bytes)
      assert.equal(all, message.from_hex(message.to_hex(all)))
      assert.equal("00ff0a", message.to_hex "\0\255\n")
      assert.equal("", message.to_hex "")
    end)
  end)
end)
