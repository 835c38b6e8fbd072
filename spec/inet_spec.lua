local core = require "p2pd.core"
local helper = require "spec.helper"

local inet = core.inet

local function call(fn, ...)
  local args = table.pack(...)
  return function() return fn(table.unpack(args, 1, args.n)) end
end

local function assert_fails(code, ...)
  local value, message, got = ...
  assert.is_nil(value)
  assert.is_string(message)
  assert.equal(code, got)
end

describe("p2pd.core.inet", function()
  describe("parse()", function()
    it("gives the canonical spelling and the family", function()
      assert.same({ ip = "192.168.0.1", family = "ipv4" }, inet.parse "192.168.0.1")
      assert.same({ ip = "2001:db8::1", family = "ipv6" }, inet.parse "2001:0DB8:0:0::0001")
      assert.same({ ip = "::ffff:1.2.3.4", family = "ipv6" }, inet.parse "::FFFF:102:304")
    end)

    it("keeps the scope of a link-local address, by name or number", function()
      local expected = { ip = "fe80::1%lo", family = "ipv6", scope = "lo" }
      assert.same(expected, inet.parse "fe80::1%lo")
      assert.same(expected, inet.parse "fe80::1%1")
    end)

    for _, text in ipairs {
      "", " ", "localhost", "1.2.3", "1.2.3.4.5", "256.1.1.1", "01.2.3.4", "1.2.3.4 ", "1.2.3.4\0",
      "+1.2.3.4", ":::", "1::2::3", "12345::", "[::1]", "::1%lo", "fe80::1%", "fe80::1%no-such-if",
      "fe80::1%-1",
      "fe80::1%99999999999999999999", ("1"):rep(100000), ("fe80::1%"):rep(1000),
    } do
      it(("refuses %q"):format(#text > 40 and text:sub(1, 40) or text), function()
        assert_fails("EINVAL", inet.parse(text))
      end)
    end

    it("raises without a string", function()
      assert.has_error(call(inet.parse, nil))
      assert.has_error(call(inet.parse, {}))
    end)
  end)

  describe("class()", function()
    local CLASSES = {
      ["unspecified"] = { "0.0.0.0", "0.1.2.3", "::" },
      ["loopback"] = { "127.0.0.1", "127.255.255.255", "::1", "::ffff:127.0.0.1" },
      ["link-local"] = { "169.254.0.1", "fe80::1", "febf::1" },
      ["private"] = { "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "fc00::1", "fdff::1" },
      ["shared"] = { "100.64.0.1", "100.127.255.255" },
      ["multicast"] = { "224.0.0.1", "239.255.255.255", "ff02::1" },
      ["broadcast"] = { "255.255.255.255" },
      ["reserved"] = { "192.0.2.1", "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1",
        "240.0.0.1", "2001:db8::1", "3fff::1", "100::1", "4000::1", "fec0::1" },
      ["global"] = { "1.1.1.1", "9.255.255.255", "11.0.0.1", "100.63.255.255", "100.128.0.1", "172.15.0.1",
        "172.32.0.1", "192.167.1.1", "198.20.0.1", "223.255.255.255",
        "2606:4700::1", "3ffe::1", "64:ff9b::8.8.8.8" },
    }
    for class, ips in pairs(CLASSES) do
      it("knows " .. class .. " addresses", function()
        for _, ip in ipairs(ips) do assert.equal(class, (inet.class(ip)), ip) end
      end)
    end

    it("is the embedded IPv4 address's, where that is not global", function()
      for ip, class in pairs {
        ["::127.0.0.1"] = "loopback", ["::8.8.8.8"] = "reserved", ["::10.0.0.1"] = "private",
        ["::ffff:10.0.0.1"] = "private", ["::ffff:8.8.8.8"] = "global",
        ["::ffff:255.255.255.255"] = "broadcast",
        ["64:ff9b::127.0.0.1"] = "loopback", ["64:ff9b::192.168.7.1"] = "private",
        ["64:ff9b::100.64.0.1"] = "shared", ["64:ff9b::224.0.0.1"] = "multicast",
        ["64:ff9b::8.8.8.8"] = "global",
        ["64:ff9b:1::10.0.0.1"] = "private", ["64:ff9b:1::8.8.8.8"] = "reserved",
        ["2002:7f00:1::"] = "loopback", ["2002:c0a8:701::1"] = "private", ["2002:808:808::1"] = "global",
        ["2001:0:808:808::f7f7:f7f7"] = "global", ["2001:0:808:808::f5ff:fffe"] = "private",
        ["2001:0:a00:1::f7f7:f7f7"] = "private", ["2606:4700::5efe:10.0.0.1"] = "private",
        ["2606:4700::200:5efe:8.8.8.8"] = "global", ["fe80::5efe:8.8.8.8"] = "link-local",
        ["fd00::5efe:127.0.0.1"] = "private", ["ff02::5efe:10.0.0.1"] = "multicast",
      } do assert.equal(class, (inet.class(ip)), ip) end
    end)

    it("tells the family too", function()
      assert.same({ "global", "ipv6" }, { inet.class "2606:4700::1" })
      assert.same({ "global", "ipv4" }, { inet.class "8.8.8.8" })
    end)

    it("refuses what is no address", function()
      assert_fails("EINVAL", inet.class "nobody")
      assert_fails("EINVAL", inet.class "1.2.3.4\0")
    end)
  end)

  describe("embedded()", function()
    it("finds the IPv4 address", function()
      for ip, expected in pairs {
        ["::ffff:1.2.3.4"] = "1.2.3.4", ["::1.2.3.4"] = "1.2.3.4", ["64:ff9b::102:304"] = "1.2.3.4",
        ["64:ff9b:1::102:304"] = "1.2.3.4", ["64:ff9b:1:ffff::102:304"] = "1.2.3.4",
        ["2002:102:304::9"] = "1.2.3.4", ["2001:0:808:808:8000:63bf:fefd:fcfb"] = "1.2.3.4",
        ["2606:4700::5efe:102:304"] = "1.2.3.4", ["fe80::200:5efe:102:304%lo"] = "1.2.3.4",
      } do assert.equal(expected, inet.embedded(ip), ip) end
    end)

    it("finds none in others", function()
      for _, ip in ipairs { "::", "::1", "1.2.3.4", "2606:4700::1", "64:ff9b:2::1", "64:ff9b::1:0:0",
        "2003::1", "2001:1::1", "fe80::1:5efe:102:304", "::fffe:1.2.3.4" } do
        assert.is_nil((inet.embedded(ip)), ip)
      end
    end)

    it("refuses what is no address", function()
      assert_fails("EINVAL", inet.embedded "nobody")
    end)
  end)

  describe("is_subnet_broadcast()", function()
    it("compares the bits of hosts", function()
      assert.is_true(inet.is_subnet_broadcast("10.0.0.255", "10.0.0.1", 24))
      assert.is_true(inet.is_subnet_broadcast("10.0.3.255", "10.0.0.1", 22))
      assert.is_true(inet.is_subnet_broadcast("10.0.0.3", "10.0.0.1", 30))
      assert.is_true(inet.is_subnet_broadcast("255.255.255.255", "10.0.0.1", 0))
      assert.is_true(inet.is_subnet_broadcast("10.0.0.0", "10.0.0.1", 24))
      assert.is_true(inet.is_subnet_broadcast("10.0.0.0", "10.0.3.1", 22))
      assert.is_false(inet.is_subnet_broadcast("10.0.3.0", "10.0.0.1", 22))
      assert.is_false(inet.is_subnet_broadcast("10.0.0.255", "10.0.0.1", 22))
      assert.is_false(inet.is_subnet_broadcast("10.0.1.255", "10.0.0.1", 24))
      assert.is_false(inet.is_subnet_broadcast("10.0.0.254", "10.0.0.1", 24))
    end)

    it("is false where there is none", function()
      assert.is_false(inet.is_subnet_broadcast("10.0.0.1", "10.0.0.0", 31))
      assert.is_false(inet.is_subnet_broadcast("10.0.0.1", "10.0.0.1", 32))
      assert.is_false(inet.is_subnet_broadcast("2001:db8::ffff", "2001:db8::1", 112))
      assert.is_false(inet.is_subnet_broadcast("10.0.0.255", "2001:db8::1", 24))
    end)

    it("refuses what is no address, and raises for no prefix", function()
      assert_fails("EINVAL", inet.is_subnet_broadcast("x", "10.0.0.1", 24))
      assert.has_error(call(inet.is_subnet_broadcast, "10.0.0.1", "10.0.0.1", 129))
    end)
  end)

  describe("same_subnet()", function()
    it("compares so many bits", function()
      assert.is_true(inet.same_subnet("10.1.2.3", "10.1.2.250", 24))
      assert.is_false(inet.same_subnet("10.1.2.3", "10.1.3.3", 24))
      assert.is_true(inet.same_subnet("10.1.2.3", "10.1.3.3", 23))
      assert.is_true(inet.same_subnet("10.1.2.3", "192.168.0.1", 0))
      assert.is_true(inet.same_subnet("2001:db8::1", "2001:db8::ffff", 64))
      assert.is_false(inet.same_subnet("2001:db8::1", "2001:db8::2", 128))
    end)

    it("is false for two families, or more bits than there are", function()
      assert.is_false(inet.same_subnet("10.0.0.1", "::1", 0))
      assert.is_false(inet.same_subnet("10.0.0.1", "10.0.0.1", 33))
    end)

    it("refuses what is no address, and raises for no prefix", function()
      assert_fails("EINVAL", inet.same_subnet("10.0.0.1", "x", 8))
      assert.has_error(call(inet.same_subnet, "10.0.0.1", "10.0.0.1", 129))
      assert.has_error(call(inet.same_subnet, "10.0.0.1", "10.0.0.1"))
    end)
  end)

  describe("resolve()", function()
    it("answers a numeric address without a task", function()
      assert.same({ "127.0.0.1" }, inet.resolve "127.0.0.1")
      assert.same({ "::1" }, inet.resolve("0::1", "ipv6"))
    end)

    it("refuses a numeric address of the other family", function()
      assert_fails("ENOENT", inet.resolve("127.0.0.1", "ipv6"))
    end)

    it("looks names up", helper.task(function()
      local ips = assert(inet.resolve("localhost", "ipv4"))
      assert.same({ "127.0.0.1" }, ips)
    end))

    it("runs more lookups than there are threads", helper.task(function()
      local tasks <close> = require("p2pd.task").group()
      local all = {}
      for i = 1, 40 do all[i] = tasks:spawn(inet.resolve, "localhost", "ipv4") end
      for _, one in ipairs(all) do assert.same({ "127.0.0.1" }, one:join()) end
    end))

    it("says when there is no such name", helper.task(function()
      local ips, message, code = inet.resolve(("a"):rep(64)) -- a longer label than DNS has
      assert.is_nil(ips)
      assert.equal("ENOENT", code)
      assert.matches("^resolve aaa", message)
    end))

    -- The resolver opens the file of aliases, and nobody ever writes to that one.
    it("drops the result when time is up", helper.task(function()
      local fifo = helper.scratch() .. "/aliases"
      assert(os.execute(("LD_PRELOAD= mkfifo '%s'"):format(fifo)))
      local child <close> = helper.p2pd { "-e", [[
        local inet = require("p2pd.core").inet
        print(select(3, inet.resolve("nonesuch", "any", 0.02)))
        print(inet.resolve("localhost", "ipv4")[1])]], env = { HOSTALIASES = fifo } }
      assert.equal("ETIMEDOUT\n127.0.0.1\n", child:stdout():read "a")
      assert.same({ "exit", 0 }, { child:wait() })
    end))

    it("drops the result when its task is cancelled", helper.task(function()
      local lookup = core.task.spawn(inet.resolve, "localhost")
      core.task.sleep(0)
      lookup:cancel()
      assert_fails("ECANCELED", lookup:join())
      assert(inet.resolve "localhost")
    end))

    it("refuses names that are none", helper.task(function()
      assert_fails("EINVAL", inet.resolve "")
      assert_fails("EINVAL", inet.resolve "local\0host")
      assert_fails("ENAMETOOLONG", inet.resolve(("a"):rep(254)))
      assert_fails("ENAMETOOLONG", inet.resolve(("a"):rep(10000000)))
    end))

    it("raises for misuse", function()
      assert.has_error(call(inet.resolve, nil))
      assert.has_error(call(inet.resolve, "localhost", "ipv5"))
      assert.has_error(call(inet.resolve, "localhost", "any", -1))
      assert.error_matches(call(inet.resolve, "localhost"), "outside a task")
    end)
  end)
end)
