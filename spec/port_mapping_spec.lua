local core = require "p2pd.core"
local gateways = require "spec.gateways"
local helper = require "spec.helper"
local http = require "p2pd.port_mapping.http"
local igd = require "p2pd.port_mapping.igd"
local json = require "dkjson"
local keeper = require "p2pd.port_mapping.keeper"
local natpmp = require "p2pd.port_mapping.natpmp"
local pcp = require "p2pd.port_mapping.pcp"
local port_mapping = require "p2pd.port_mapping"
local ssdp = require "p2pd.port_mapping.ssdp"

local GATEWAY, STRANGER, NIC, PORT = "127.5.3.52", "127.5.3.53", "127.0.0.1", 5555

describe("p2pd.port_mapping", function()
  local getenv, find, protocols, lifetime = os.getenv, ssdp.find, keeper.PROTOCOLS, keeper.LIFETIME
  local folder, listened

  before_each(function()
    folder, listened = helper.scratch(), {}
    rawset(os, "getenv", function(name) return name == "XDG_STATE_HOME" and folder or getenv(name) end)
    ssdp.find = function() return nil, "no answer", "ETIMEDOUT" end
    keeper.PROTOCOLS = { pcp }
  end)

  after_each(function()
    rawset(os, "getenv", getenv)
    ssdp.find, keeper.PROTOCOLS, keeper.LIFETIME = find, protocols, lifetime
  end)

  teardown(helper.close_all)

  local function target()
    return { family = "ipv4", gateway = GATEWAY, nic = NIC, name = "lo" }
  end

  local function start()
    return keeper.start {
      target = target(), port = PORT, on_change = function() end,
      listen = function(port)
        listened[#listened + 1] = port
        return true
      end,
    }
  end

  local function settle(one)
    helper.wait_until(function() return one.state ~= "asking" end)
    return one:describe()
  end

  local function file() return folder .. "/p2pd/port-mappings" end

  -- The keys of what the file says is mapped.
  local function remembered()
    local keys = {}
    for line in helper.read(file()):gmatch "[^\n]+" do
      local entry = json.decode(line) or { key = "garbage" }
      keys[entry.key] = entry.record and true or nil
    end
    return keys
  end

  describe("by PCP", function()
    it("asks for our own port, and remembers until it is removed", helper.task(function()
      local gateway <close> = gateways.pcp(GATEWAY)
      local one <close> = start()
      local found = settle(one)
      assert.same({ "mapped", "PCP", "203.0.113.9", PORT },
        { found.state, found.protocol, found.ip, found.port })
      assert.same({ PORT, {} }, { gateway.last.external, listened })
      assert.is_truthy(next(remembered()))
      one:close()
      helper.wait_until(function() return not gateway.mappings[PORT] end)
      assert.is_nil(next(remembered()))
    end))

    it("listens on the port that the gateway gives instead", helper.task(function()
      local gateway <close> = gateways.pcp(GATEWAY, { port = 6000 })
      local one <close> = start()
      assert.same({ 6000, { 6000 }, 1 }, { settle(one).port, listened, gateway.requests })
    end))

    it("renews at half the life, by the same nonce and port", helper.task(function()
      keeper.LIFETIME = 2
      local gateway <close> = gateways.pcp(GATEWAY, { port = 6000 })
      local one <close> = start()
      settle(one)
      local nonce = gateway.last.nonce
      helper.wait_until(function() return gateway.requests == 3 end)
      assert.same({ nonce, 6000 }, { gateway.last.nonce, gateway.last.external })
      assert.equal("mapped", one.state)
    end))

    it("maps again when the epoch went back, though nothing was to be renewed", helper.task(function()
      local gateway <close> = gateways.pcp(GATEWAY)
      local one <close> = start()
      settle(one)
      one:refresh()
      helper.wait_until(function() return gateway.announces == 2 end)
      assert.equal(1, gateway.requests)
      gateway.mappings, gateway.epoch = {}, core.clock.monotonic()
      one:refresh()
      helper.wait_until(function() return gateway.mappings[PORT] end)
      assert.equal("mapped", one.state)
    end))

    it("maps again when the gateway's address may be another one, which an announcement does not tell",
      helper.task(function()
        local gateway <close> = gateways.pcp(GATEWAY)
        local one <close> = start()
        settle(one)
        one:renew()
        helper.wait_until(function() return gateway.requests == 2 end)
        assert.equal(1, gateway.announces)
        one:refresh()
        helper.wait_until(function() return gateway.announces == 2 end)
        assert.same({ 2, "mapped" }, { gateway.requests, one.state })
      end))

    it("asks on while a gateway that restarts is silent", helper.task(function()
      local gateway <close> = gateways.pcp(GATEWAY)
      local one <close> = start()
      settle(one)
      gateway.silent = true
      one:refresh()
      core.task.sleep(0.1)
      gateway.mappings, gateway.epoch, gateway.silent = {}, core.clock.monotonic(), false
      helper.wait_until(function() return gateway.mappings[PORT] end)
    end))

    it("gives up what is refused later", helper.task(function()
      local gateway <close> = gateways.pcp(GATEWAY)
      local one <close> = start()
      settle(one)
      gateway.result, gateway.epoch = 8, core.clock.monotonic()
      one:refresh()
      helper.wait_until(function() return one.state == "none" end)
      assert.same({ "PCP: refused: NO_RESOURCES" }, one:describe().reasons)
      assert.is_nil(next(remembered()))
    end))

    it("says why it is refused", helper.task(function()
      local _ <close> = gateways.pcp(GATEWAY, { result = 2 })
      local one <close> = start()
      assert.same({ "none", { "PCP: refused: NOT_AUTHORIZED" } },
        { settle(one).state, one:describe().reasons })
    end))

    it("removes what a crash has left, and what this process has it keeps", helper.task(function()
      local gateway <close> = gateways.pcp(GATEWAY)
      local first <close> = start()
      settle(first)
      local left = { key = "x", protocol = "PCP", gateway = GATEWAY, nic = NIC, pid = 1 << 30, start = "1",
        time = os.time(), record = { port = 7777, nonce = ("61"):rep(12) } }
      local out <close> = assert(io.open(file(), "a"))
      out:write("garbage\n", '{"key":1}\n', json.encode(left), "\n")
      out:close()
      gateway.mappings[7777] = { nonce = ("a"):rep(12), external = 7777 }
      local second <close> = start()
      settle(second)
      helper.wait_until(function() return not gateway.mappings[7777] end)
      assert.is_truthy(gateway.mappings[PORT])
      assert.is_nil(remembered().x)
    end))

    -- What the gateway, or somebody else, answers to a MAP request that is to be ignored.
    local function check_ignored(forge)
      return helper.task(function()
        local gateway <close> = gateways.pcp(GATEWAY)
        local stranger <close> = assert(core.udp.bind { ip = STRANGER, port = 5351 })
        local answer = gateway.answer
        function gateway.answer(request, from, port)
          local data = answer(request)
          if request:byte(2) ~= 1 or request:byte(1) ~= 2 then return data end
          return forge(data, function(other) stranger:sendto(other, from, port) end)
        end
        local one <close> = start()
        local found = settle(one)
        assert.same({ "none", {} }, { found.state, found.reasons })
      end)
    end

    it("ignores strangers", check_ignored(function(data, send) send(data) end))
    it("ignores another's nonce", check_ignored(function(data)
      return data:sub(1, 24) .. ("n"):rep(12) .. data:sub(37)
    end))
    it("ignores garbage", check_ignored(function(data)
      return ("\xff"):rep(#data)
    end))
    it("ignores answers that are cut off or too long", check_ignored(function(data, send)
      send(data)
      return #data % 2 == 0 and data .. ("\0"):rep(2000) or data:sub(1, 30)
    end))

    it("takes no mapping without a port or an address", helper.task(function()
      local gateway <close> = gateways.pcp(GATEWAY, { ip = "0.0.0.0" })
      local one <close> = start()
      assert.same({ "none", { "PCP: an answer without a mapping" } },
        { settle(one).state, one:describe().reasons })
      assert(gateway)
    end))
  end)

  it("is content with a gateway that says nothing", helper.task(function()
    keeper.PROTOCOLS = { pcp, natpmp, igd }
    local one <close> = start()
    assert.same({ state = "none", reasons = {} }, settle(one))
    assert.equal("", helper.read(file()))
  end))

  describe("by UPnP", function()
    local calls, answers, device

    before_each(function()
      calls, answers, device = {}, {}, { version = 1 }
      keeper.PROTOCOLS = { igd }
    end)

    -- A device whose answers are by action: a list, the last of which stays.
    local function serve(head, body)
      if head:find "^GET" then
        return gateways.http(gateways.description(device.version, device.control))
      end
      local action = head:match '#(%w+)"'
      calls[#calls + 1] = { action = action, body = body,
        external = tonumber(body:match "<NewExternalPort>(%d+)<"),
        internal = tonumber(body:match "<NewInternalPort>(%d+)<"),
        lifetime = tonumber(body:match "<NewLeaseDuration>(%d+)<") }
      if action == "GetExternalIPAddress" then
        return gateways.reply(action, { NewExternalIPAddress = device.ip or "203.0.113.9" })
      end
      local list = answers[action] or { gateways.reply(action) }
      return #list > 1 and table.remove(list, 1) or list[1]
    end

    local function with_device(fn, answer)
      return helper.task(function()
        local web <close> = gateways.web(GATEWAY, answer or serve)
        local port = web.port
        ssdp.find = function() return port, "/description.xml" end
        local one <close> = start()
        fn(one, settle(one))
      end)
    end

    local function actions()
      local names = {}
      for i, call in ipairs(calls) do names[i] = call.action end
      return table.concat(names, " ")
    end

    it("maps, and removes", with_device(function(one, found)
      assert.same({ "mapped", "UPnP", "203.0.113.9", PORT },
        { found.state, found.protocol, found.ip, found.port })
      assert.equal("GetExternalIPAddress AddPortMapping", actions())
      assert.same({ PORT, PORT, keeper.LIFETIME },
        { calls[2].external, calls[2].internal, calls[2].lifetime })
      assert.matches("<NewInternalClient>127.0.0.1<", calls[2].body, 1, true)
      one:close()
      helper.wait_until(function() return not next(remembered()) end)
      assert.same({ "DeletePortMapping", PORT }, { calls[3].action, calls[3].external })
    end))

    it("lets a router that can choose the port", function()
      device.version = 2
      answers.AddAnyPortMapping = { gateways.reply("AddAnyPortMapping", { NewReservedPort = 6000 }) }
      with_device(function(_, found) assert.same({ 6000, { 6000 } }, { found.port, listened }) end)()
    end)

    it("does without what a router of version 2 lacks", function()
      device.version, answers.AddAnyPortMapping = 2, { gateways.fault(401) }
      with_device(function(_, found) assert.same({ "mapped", PORT }, { found.state, found.port }) end)()
    end)

    it("takes a permanent mapping where there is no other", function()
      answers.AddPortMapping = { gateways.fault(725), gateways.reply "AddPortMapping" }
      with_device(function(_, found)
        assert.is_true(found.is_permanent)
        assert.equal(0, calls[#calls].lifetime)
      end)()
    end)

    it("tries other ports where ours is taken", function()
      answers.AddPortMapping = { gateways.fault(718), gateways.fault(718), gateways.reply "AddPortMapping" }
      with_device(function(_, found)
        assert.same({ calls[#calls].external, PORT, { found.port } },
          { found.port, calls[#calls].internal, listened })
      end)()
    end)

    it("gives up when every port is taken", function()
      answers.AddPortMapping = { gateways.fault(718, "ConflictInMappingEntry") }
      with_device(function(_, found)
        assert.same({ "none", { "UPnP: refused: error 718 ConflictInMappingEntry" } },
          { found.state, found.reasons })
        assert.is_true(#calls < 12)
      end)()
    end)

    it("has both ports the same where they have to be", function()
      answers.AddPortMapping = { gateways.fault(718), gateways.fault(724), gateways.fault(724),
        gateways.reply "AddPortMapping" }
      with_device(function(_, found)
        assert.same({ "mapped", calls[#calls].external }, { found.state, calls[#calls].internal })
        assert.equal(found.port, listened[#listened])
      end)()
    end)

    it("maps again what the router has forgotten", with_device(function(one)
      answers.GetSpecificPortMappingEntry = { gateways.fault(714, "NoSuchEntryInArray") }
      one:refresh()
      helper.wait_until(function() return select(2, actions():gsub("AddPortMapping", "")) == 2 end)
    end))

    it("goes to nobody but the gateway", function()
      device.control = "http://" .. STRANGER .. ":80/control"
      with_device(function(_, found)
        assert.same({ {}, { "UPnP: the device has no WAN connection" } }, { calls, found.reasons })
      end)()
    end)

    it("takes no line breaks from a description", function()
      device.control = "/control HTTP/1.1\r\nX: y"
      with_device(function(_, found) assert.same({ 0, "none" }, { #calls, found.state }) end)()
    end)

    it("says when the router has no address", function()
      device.ip = ""
      with_device(function(_, found)
        assert.same({ "UPnP: the WAN connection has no address" }, found.reasons)
      end)()
    end)

    it("shows little of what a router writes", function()
      answers.AddPortMapping = { gateways.fault(606, ("\27[31m evil \7"):rep(9)) }
      with_device(function(_, found)
        assert.is_true(#found.reasons[1] < 100)
        assert.not_matches("%c", found.reasons[1])
      end)()
    end)

    for what, text in pairs {
      nothing = "", garbage = ("\xff"):rep(3000), ["half a head"] = "HTTP/1.1 200 OK\r\nContent-",
      ["a head without end"] = "HTTP/1.1 200 OK\r\n" .. ("X: y\r\n"):rep(5000),
      ["a body without end"] = "HTTP/1.1 200 OK\r\n\r\n" .. ("x"):rep(200000),
      ["a length that is a lie"] = "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\nx",
      ["chunks that are a lie"] = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\nx",
    } do
      it("survives " .. what, with_device(function(_, found) assert.equal("none", found.state) end,
        function() return text end))
    end
  end)

  describe("refresh()", function()
    local start_keeper = keeper.start

    after_each(function() keeper.start = start_keeper end)

    local function route(nic, more)
      local one = { family = "ipv4", nic = nic, gateway = "10.0.0.1", name = "eth0", port = PORT }
      for name, value in pairs(more or {}) do one[name] = value end
      return one
    end

    it("maps what is new, looks at what stays, and removes what has gone", helper.task(function()
      local events = {}
      keeper.start = function(options)
        local nic = options.target.nic
        local function note(what) events[#events + 1] = what .. " " .. nic end
        note "start"
        return { target = options.target, refresh = function() note "refresh" end,
          close = function() note "close" end }
      end
      local self <close> = port_mapping.open { routes = { route "10.0.0.2", route "10.0.0.3" } }
      self:refresh { route "10.0.0.3", route "10.0.0.4", route "8.8.8.8", route("10.0.0.5", { port = false }),
        { family = "ipv4", nic = "10.0.0.6", name = "eth1", port = PORT } }
      assert.same({ "start 10.0.0.4", "close 10.0.0.2" }, { table.unpack(events, 5) })
      self:update()
      assert.equal(6, #events)
      self:close()
      assert.equal(8, #events)
    end))
  end)

  describe("http", function()
    local function request(answer, timeout)
      local web <close> = gateways.web(GATEWAY, answer)
      return http.request({ ip = GATEWAY, port = web.port, nic = NIC }, { method = "GET", path = "/" },
        timeout or 5)
    end

    it("joins chunks", helper.task(function()
      local found = request(function()
        return "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
      end)
      assert.same({ 200, "abcde" }, { found.status, found.body })
    end))

    it("reads to the end of the connection", helper.task(function()
      assert.equal("abc", request(function() return "HTTP/1.0 404 No\r\nServer: x\r\n\r\nabc" end).body)
    end))

    it("waits no longer than it was told for one that drips", helper.task(function()
      local found, reason, code = request(function(_, _, stream)
        stream:write "HTTP/1.1 200 OK\r\n\r\n"
        while stream:write "x" do core.task.sleep(0.01) end
      end, 0.2)
      assert.same({ nil, "timed out", "ETIMEDOUT" }, { found, reason, code })
    end))
  end)

  describe("ssdp", function()
    local bind = core.udp.bind

    after_each(function() core.udp.bind = bind end)

    -- What comes of these datagrams, each { data, ip }.
    local function hear(datagrams, where)
      local socket = setmetatable({}, { __close = function() end })
      function socket.sendto() return GATEWAY, 1900 end
      function socket.recvfrom()
        local next_one = table.remove(datagrams, 1)
        if next_one then return next_one[1], next_one[2], 1900 end
        core.task.sleep(0.3)
        return nil, "timed out", "ETIMEDOUT"
      end
      core.udp.bind = function() return socket end
      return find(where or target())
    end

    local function answer(location)
      return "HTTP/1.1 200 OK\r\nST: x\r\nLocation: " .. location .. "\r\nUSN: y\r\n\r\n"
    end

    it("takes the gateway's own answer that names itself", helper.task(function()
      local good = answer("http://" .. GATEWAY .. ":5000/rootDesc.xml")
      local port, path = hear {
        { good:gsub("5000", "1") .. "", STRANGER },
        { answer("http://" .. STRANGER .. ":1/"), GATEWAY },
        { answer("https://" .. GATEWAY .. "/"), GATEWAY },
        { answer("http://" .. GATEWAY .. ":99999/"), GATEWAY },
        { answer("http://" .. GATEWAY .. ":1/ evil"), GATEWAY },
        { good .. ("x"):rep(3000), GATEWAY },
        { "", GATEWAY }, { ("\xff"):rep(100), GATEWAY }, { "NOTIFY" .. good, GATEWAY },
        { good, GATEWAY },
      }
      assert.same({ 5000, "/rootDesc.xml" }, { port, path })
    end))

    it("goes by IPv6 to the gateway, whichever of its addresses it names", helper.task(function()
      local port, path = hear({
        { answer "http://[2001:db8::1]:1/", "fe80::2%lo" },
        { answer("http://" .. GATEWAY .. ":1/"), "fe80::1%lo" },
        { answer "http://[evil]:1/", "fe80::1%lo" },
        { answer "http://[2001:db8::1]:5000/rootDesc.xml", "fe80::1%lo" },
      }, { family = "ipv6", gateway = "fe80::1%lo", nic = "2001:db8::2", name = "lo" })
      assert.same({ 5000, "/rootDesc.xml" }, { port, path })
    end))

    it("ends", helper.task(function()
      assert.equal("ETIMEDOUT", (select(3, hear {})))
    end))
  end)

  describe("is_verified()", function()
    local function route(external, found)
      return { external = external, external_known = external ~= nil,
        mapping = { describe = function() return found end } }
    end

    local function mapped(ip) return { state = "mapped", ip = ip, port = 6000 } end

    it("compares the router's address with what the outside sees", function()
      assert.is_true(port_mapping.is_verified(route("8.8.8.8", mapped "8.8.8.8")))
      assert.is_nil(port_mapping.is_verified {})
      assert.is_nil(port_mapping.is_verified(route("8.8.8.8", { state = "none" })))
    end)

    it("tells of a NAT beyond the router", function()
      local function why(...) return (select(2, port_mapping.is_verified(route(...)))) end
      assert.matches("another NAT lies beyond", why("198.51.100.1", mapped "8.8.8.8"))
      assert.matches("behind another NAT: its own address is 100.64.0.2", why("8.8.8.8", mapped "100.64.0.2"))
      assert.matches("confirmed", why(nil, mapped "8.8.8.8"))
    end)
  end)
end)
