local address = require "p2pd.address"

local EXAMPLE = "0,1-[0,8.8.8.8,192.168.21.21,58959,3,2,0]-0-zmUGXPOFxUBuToh"
local RECORD4 = "[0,8.8.8.8,192.168.21.21,58959,3,2,0]"
local RECORD6 = "[1,2606:4700::1,fe80::1,443,1,1,0]"

local function record(fields)
  return "0-[" .. table.concat(fields, ",") .. "]-0-N"
end

local function with(field, value)
  local fields = { "0", "8.8.8.8", "10.0.0.1", "1", "3", "2", "0" }
  fields[field] = value
  return record(fields)
end

-- A legal address from a random generator.
local function generate(random)
  local function ipv4()
    return ("%d.%d.%d.%d"):format(random(1, 223), random(0, 255), random(0, 255), random(0, 255))
  end
  local function ipv6()
    local form = random(2) == 1 and "2%03x:%x::%x" or "2%03X:%X:0:0:0::%X"
    return form:format(random(0, 0xfff), random(0, 0xffff), random(0, 0xffff))
  end
  local function family(ip)
    local list = {}
    for i = 1, random(0, 3) do
      list[i] = ("[%d,%s,%s,%d,%d,%d,%d]"):format(random(0, 9), ip(), ip(), random(1, 65535), random(1, 7),
        random(1, 6), random(-65535, 65535))
    end
    return list[1] and table.concat(list, "|") or "0"
  end
  local offsets, id = {}, {}
  for i = 1, random(1, 5) do offsets[i] = i * 10 + random(0, 9) end
  for i = 1, random(1, 64) do
    local at = random(62)
    id[i] = ("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"):sub(at, at)
  end
  return table.concat({ table.concat(offsets, ","), family(ipv4), family(ipv6), table.concat(id) }, "-")
end

describe("p2pd.address", function()
  describe("parse()", function()
    it("reads the papers' example", function()
      assert.same({
        mqtt = { 0, 1 },
        ipv4 = { {
          interface = 0, external = "8.8.8.8", internal = "192.168.21.21", port = 58959,
          nat = { type = 3, delta = 2, value = 0 },
        } },
        ipv6 = {},
        node_id = "zmUGXPOFxUBuToh",
      }, address.parse(EXAMPLE))
    end)

    it("reads both families, negative deltas and IPv6 as it is written", function()
      local t = assert(address.parse("7-0-[2,2606:4700:0:0::1,FE80::A,1,7,6,-65535]-a"))
      assert.equal("2606:4700:0:0::1", t.ipv6[1].external)
      assert.equal("FE80::A", t.ipv6[1].internal)
      assert.equal(-65535, t.ipv6[1].nat.value)
    end)

    it("reads three records of a family, in any order", function()
      local text = ("0-%s-%s-N"):format(("[2" .. RECORD4:sub(3) .. "|"):rep(2) .. RECORD4,
        (RECORD6 .. "|"):rep(2) .. RECORD6)
      local t = assert(address.parse(text))
      assert.same({ 2, 2, 0 }, { t.ipv4[1].interface, t.ipv4[2].interface, t.ipv4[3].interface })
      assert.equal(3, #t.ipv6)
    end)

    local BAD = {
      [""] = "address: empty",
      ["x"] = "mqtt[1]: x is not a number",
      ["-0-0-N"] = "mqtt[1]: empty",
      ["0,-0-0-N"] = "mqtt[2]: empty",
      ["00-0-0-N"] = "mqtt[1]: 00 has a needless zero",
      ["+1-0-0-N"] = "mqtt[1]: +1 is not a number",
      ["0x1-0-0-N"] = "mqtt[1]: 0x1 is not a number",
      ["1.0-0-0-N"] = "mqtt[1]: 1.0 is not a number",
      [" 1-0-0-N"] = "mqtt[1]:  1 is not a number",
      ["99999999999999999999-0-0-N"] = "mqtt[1]: 99999999999999999999 is not 0 to 65535",
      ["0,1,0-0-0-N"] = "mqtt[3]: offset 0 is there twice",
      ["0"] = "ipv4: missing",
      ["0-0"] = "ipv6: missing",
      ["0-0-0"] = "node id: missing",
      ["0--0-N"] = "ipv4: a record in [] or 0 expected at byte 3",
      ["0-N-0-N"] = "ipv4: a record in [] or 0 expected at byte 3",
      ["0-00-0-N"] = "ipv4: - expected after it, at byte 4",
      ["0-0|0-0-N"] = "ipv4: - expected after it, at byte 4",
      ["0-0-0-"] = "node id: empty",
      ["0-0-0-a-b"] = "node id: a-b is not letters and digits",
      ["0-0-0-a\0b"] = "node id: a\\x00b is not letters and digits",
      ["0-0-0-\xc3\xa4"] = "node id: \\xc3\\xa4 is not letters and digits",
      ["0-0-0-" .. ("a"):rep(65)] = "node id: longer than 64 characters",
      ["0\0-0-0-N"] = "mqtt[1]: 0\\x00 is not a number",
      ["0-[]-0-N"] = "ipv4[1]: 1 fields instead of 7",
      ["0-[0,8.8.8.8,10.0.0.1,1,3,2]-0-N"] = "ipv4[1]: 6 fields instead of 7",
      ["0-[0,8.8.8.8,10.0.0.1,1,3,2,0,0]-0-N"] = "ipv4[1]: 8 fields instead of 7",
      ["0-[0,8.8.8.8,10.0.0.1,1,3,2,0"] = "ipv4[1]: no ] at its end",
      ["0-" .. RECORD4 .. "|-0-N"] = "ipv4: a record in [] or 0 expected at byte 41",
      ["0-" .. RECORD4 .. "|0-0-N"] = "ipv4: a record in [] or 0 expected at byte 41",
      ["0-" .. RECORD4 .. RECORD4 .. "-0-N"] = "ipv4: - expected after it, at byte 40",
      ["0-" .. (RECORD4 .. "|"):rep(3) .. RECORD4 .. "-0-N"] = "ipv4: more than 3 records",
      ["0-0-" .. (RECORD6 .. "|"):rep(3) .. RECORD6 .. "-N"] = "ipv6: more than 3 records",
      ["0-" .. RECORD6 .. "-0-N"] = "ipv4[1].external address: 2606:4700::1 is not IPv4",
      ["0-0-" .. RECORD4 .. "-N"] = "ipv6[1].external address: 8.8.8.8 is not IPv6",
      ["0-0-[0,2606:4700::1,10.0.0.1,1,1,1,0]-N"] = "ipv6[1].internal address: 10.0.0.1 is not IPv6",
      ["0-0-[0,::ffff:8.8.8.8,fe80::1,1,1,1,0]-N"] = "ipv6[1].external address: ::ffff:8.8.8.8 is not IPv6",
      ["0-0-[0,::FFFF:808:808,fe80::1,1,1,1,0]-N"] = "ipv6[1].external address: ::FFFF:808:808 is not IPv6",
      ["0-0-[0,2606:4700::1,fe80::1%lo,1,1,1,0]-N"] =
        "ipv6[1].internal address: fe80::1%lo has a scope, which means nothing elsewhere",
      ["0-" .. RECORD4 .. "|[0,8.8.8.8,10.0.0.1,65536,3,2,0]-0-N"] =
        "ipv4[2].listen port: 65536 is not 1 to 65535",
      [with(1, "")] = "ipv4[1].interface offset: empty",
      [with(1, "-1")] = "ipv4[1].interface offset: -1 is not 0 to 65535",
      [with(2, "")] = "ipv4[1].external address: empty",
      [with(2, "example.org")] = "ipv4[1].external address: example.org is not an IP address",
      [with(2, "8.8.8.8\0")] = "ipv4[1].external address: 8.8.8.8\\x00 is not an IP address",
      [with(2, "08.8.8.8")] = "ipv4[1].external address: 08.8.8.8 is not an IP address",
      [with(2, "0.0.0.0")] = "ipv4[1].external address: 0.0.0.0 is unspecified",
      [with(2, "224.0.0.1")] = "ipv4[1].external address: 224.0.0.1 is multicast",
      [with(2, "255.255.255.255")] = "ipv4[1].external address: 255.255.255.255 is broadcast",
      [with(3, "224.0.0.1")] = "ipv4[1].internal address: 224.0.0.1 is multicast",
      [with(4, "0")] = "ipv4[1].listen port: 0 is not 1 to 65535",
      [with(4, "65536")] = "ipv4[1].listen port: 65536 is not 1 to 65535",
      [with(4, "080")] = "ipv4[1].listen port: 080 has a needless zero",
      [with(4, "+80")] = "ipv4[1].listen port: +80 is not a number",
      [with(4, "8e1")] = "ipv4[1].listen port: 8e1 is not a number",
      [with(5, "0")] = "ipv4[1].NAT type: 0 is not 1 to 7",
      [with(5, "8")] = "ipv4[1].NAT type: 8 is not 1 to 7",
      [with(6, "0")] = "ipv4[1].delta type: 0 is not 1 to 6",
      [with(6, "7")] = "ipv4[1].delta type: 7 is not 1 to 6",
      [with(7, "-0")] = "ipv4[1].delta value: -0 has a needless zero",
      [with(7, "-01")] = "ipv4[1].delta value: -01 has a needless zero",
      [with(7, "65536")] = "ipv4[1].delta value: 65536 is not -65535 to 65535",
      [with(7, "--1")] = "ipv4[1].delta value: --1 is not a number",
      ["0-0-[0,::,fe80::1,1,1,1,0]-N"] = "ipv6[1].external address: :: is unspecified",
      ["0-0-[0,ff02::1,fe80::1,1,1,1,0]-N"] = "ipv6[1].external address: ff02::1 is multicast",
    }
    for text, expected in pairs(BAD) do
      it("says: " .. expected, function()
        assert.same({ nil, expected }, { address.parse(text) })
      end)
    end

    it("refuses every truncation of an address but a shorter node id", function()
      local text = ("0,1-%s|%s-%s-N"):format(RECORD4, RECORD4, RECORD6)
      for length = 0, #text - 1 do
        local t, message = address.parse(text:sub(1, length))
        assert.is_nil(t)
        assert.is_string(message)
      end
    end)

    it("refuses 10 MB at once", function()
      local text = ("0,"):rep(5000000)
      local steps = 0
      debug.sethook(function() steps = steps + 1 end, "", 1000)
      local t, message = address.parse(text)
      debug.sethook()
      assert.is_nil(t)
      assert.equal("address: 10000000 bytes, more than 4096", message)
      assert.equal(0, steps)
    end)

    it("repeats only a little of what is wrong", function()
      for _, unit in ipairs { "0", "[", "a", "0,", "\0", "-" } do
        local _, message = address.parse(unit:rep(4096 // #unit))
        assert.is_true(#message < 250)
      end
    end)

    it("survives changed bytes", function()
      math.randomseed(2)
      local text = ("0,1-%s|%s-%s-N"):format(RECORD4, RECORD4, RECORD6)
      for _ = 1, 5000 do
        local at = math.random(#text)
        local changed = text:sub(1, at - 1) .. string.char(math.random(0, 255)) .. text:sub(at + 1)
        local t, message = address.parse(changed)
        if t then assert.equal(changed, address.format(t)) else assert.is_string(message) end
      end
    end)

    describe("with settings", function()
      local settings = { mqtt = { {}, {} } }

      it("takes the offsets that they have", function()
        assert.same({ 1, 0 }, address.parse("1,0-0-0-N", settings).mqtt)
      end)

      it("refuses offsets beyond them", function()
        assert.same({ nil, "mqtt[2]: offset 2 is beyond the 2 brokers of the settings" },
          { address.parse("0,2-0-0-N", settings) })
      end)
    end)

    it("raises without a string", function()
      assert.error_matches(function() address.parse(nil) end, "string expected, got nil")
    end)
  end)

  describe("format()", function()
    it("gives back every address that parse() takes", function()
      math.randomseed(1)
      for _ = 1, 2000 do
        local text = generate(math.random)
        local t, message = address.parse(text)
        assert.is_nil(message)
        assert.equal(text, address.format(t))
      end
    end)

    local ILLEGAL = {
      ["mqtt is not a list"] = function(t) t.mqtt = nil end,
      ["mqtt%[1%]: empty"] = function(t) t.mqtt = {} end,
      ["mqtt%[1%]: %? is not a number"] = function(t) t.mqtt = { "0,1" } end,
      ["ipv4 is not a list"] = function(t) t.ipv4 = 5 end,
      ["ipv4: more than 3 records"] = function(t)
        for i = 2, 4 do t.ipv4[i] = t.ipv4[1] end
      end,
      ["listen port: 0 is not 1"] = function(t) t.ipv4[1].port = 0 end,
      ["listen port: 80.5 is not a number"] = function(t) t.ipv4[1].port = 80.5 end,
      ["listen port: nil is not a number"] = function(t) t.ipv4[1].port = nil end,
      ["NAT type: nil"] = function(t) t.ipv4[1].nat = nil end,
      ["external address: ::1 is not IPv4"] = function(t) t.ipv4[1].external = "::1" end,
      ["external address: %? is not an IP"] = function(t)
        t.ipv4[1].external = "8.8.8.8,1.1.1.1,1,1,1,0]|[0,8.8.8.8"
      end,
      ["node id: nil%-?"] = function(t) t.node_id = "nil-" end,
    }
    for message, spoil in pairs(ILLEGAL) do
      it("raises: " .. message, function()
        local t = address.parse(EXAMPLE)
        spoil(t)
        message = message:gsub("^node id.*", "node id: ")
        assert.error_matches(function() address.format(t) end, message)
      end)
    end
  end)
end)
