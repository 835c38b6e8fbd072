local core = require "p2pd.core"
local helper = require "spec.helper"
local mqtt = require "spec.mqtt"
local json = require "dkjson"
local netcheck = require "p2pd.netcheck"
local task = helper.task

local WAIT, SHORT = 10, 0.3

describe("p2pd.netcheck", function()
  local broker, stun, ntp, silent, level

  setup(function()
    level = core.log.level()
    core.log.level "error"
    broker, stun, ntp = helper.mosquitto(), helper.coturn(), helper.chronyd()
    silent = helper.free_port()
  end)

  teardown(function()
    core.log.level(level)
    helper.close_all()
  end)

  local function entry(server) return { host = server.host, port = server.port } end
  local function nobody() return { host = "127.0.0.1", port = silent } end

  local function turn_entry()
    return { host = stun.host, port = stun.port, transport = "tcp", user = stun.user, pass = stun.pass,
      realm = stun.realm }
  end

  it("broker() goes online", task(function()
    local result = netcheck.broker(entry(broker), WAIT)
    assert.is_true(result.ok and result.rtt >= 0 and result.seconds >= 0)
  end))

  it("broker() goes by a proxy, where there is one", task(function()
    local proxy <close> = helper.tinyproxy {}
    local by = entry(broker)
    by.proxy = ("http://%s:%d"):format(proxy.host, proxy.port)
    local result = netcheck.broker(by, WAIT)
    assert.is_true(result.ok)
    assert.is_nil(result.rtt)
  end))

  it("broker() tells of a topic that is refused", task(function()
    local picky <close> = mqtt.picky_broker "nothing"
    assert.matches("the broker refuses topic", netcheck.broker(entry(picky), WAIT).reason)
  end))

  it("broker() says why not", task(function()
    local result = netcheck.broker(nobody(), WAIT)
    assert.is_false(result.ok)
    assert.matches("refused", result.reason)
    result = netcheck.broker({ host = stun.host, port = stun.port }, SHORT)
    assert.is_false(result.ok)
    assert.is_string(result.reason)
  end))

  it("stun() asks over UDP and TCP", task(function()
    local result = netcheck.stun(entry(stun), WAIT)
    assert.is_true(result.ok and result.behaviour and result.udp >= 0 and result.tcp >= 0)
    assert.is_nil(result.reason)
    result = netcheck.stun(nobody(), WAIT)
    assert.same({ false, nil, nil }, { result.ok, result.udp, result.tcp })
    assert.matches("refused", result.reason)
  end))

  it("clock() compares", task(function()
    local result = netcheck.clock({ entry(ntp) }, WAIT)
    assert.is_true(result.ok and result.bound >= 0 and result.servers == 1)
    assert.same({ ok = false, reason = "the settings name no NTP server" }, netcheck.clock({}, WAIT))
  end))

  it("turn() allocates and gives back", task(function()
    local result = netcheck.turn(turn_entry(), WAIT)
    assert.is_true(result.ok and result.tcp.ok)
    local wrong = turn_entry()
    wrong.pass = "wrong"
    result = netcheck.turn(wrong, WAIT)
    assert.is_false(result.ok)
    assert.is_string(result.reason)
  end))

  local function settings(dead)
    return {
      mqtt = { entry(broker), dead }, stun = { entry(stun), dead }, ntp = { entry(ntp), dead },
      turn = { turn_entry() },
    }
  end

  it("run() looks at everything, whoever is dead", task(function()
    local ends = {}
    local found = assert(netcheck.run(settings(nobody()), { interfaces = { "lo" },
      progress = function(ended, of) ends[#ends + 1] = ended .. "/" .. of end }))
    assert.equal("lo", found.interfaces[1].name)
    assert.equal("127.0.0.1", found.routes[1].external)
    local function oks(list)
      local words = {}
      for i, one in ipairs(list) do words[i] = tostring(one.ok) end
      return table.concat(words, " ")
    end
    assert.same({ "true false", "true false", "true" },
      { oks(found.brokers), oks(found.stuns), oks(found.turns) })
    assert.is_true(found.clock.ok)
    assert.same({ "1/7", "7/7", 7 }, { ends[1], ends[7], #ends })
  end))

  it("run() fails without the interface", task(function()
    local found, message, code = netcheck.run(settings(nobody()), { interfaces = { "nosuch" } })
    assert.same({ nil, 'no interface "nosuch"', "ENODEV" }, { found, message, code })
  end))

  describe("the command nat", function()
    local function run(...)
      local child <close> = helper.p2pd("nat", ...)
      local out, err = child:stdout():read "a", child:stderr():read "a"
      local _, status = child:wait(WAIT)
      return status, out, err
    end

    local function file()
      return (helper.write(helper.scratch() .. "/settings.lua", ([[
return {
  mqtt = { { host = "127.0.0.1", port = %d } },
  stun = { { host = "127.0.0.1", port = %d, behaviour = true } },
  ntp = {}, turn = {},
}]]):format(broker.port, stun.port)))
    end

    it("prints a report, and nothing else", task(function()
      local status, out, err = run("--settings", file(), "--interface", "lo")
      assert.same({ 0, "" }, { status, err })
      assert.matches("^good: every peer can connect to this host\n\ninterface lo.-\n  IPv4  127.0.0.1, "
        .. "from outside: the same\n", out)
      assert.matches("\nwhat to expect\n", out, 1, true)
    end))

    it("shows its progress on a terminal", task(function()
      local command = ("%s nat --settings %s --interface lo"):format(os.getenv "P2PD_EXE", file())
      local child <close> = assert(core.process.spawn { stdin = "null", stdout = "pipe",
        "script", "-qfec", command, "/dev/null" })
      local out = child:stdout():read "a"
      assert.matches("\r\27[Klooking around: 4 of 4\r\27[K", out, 1, true)
      assert.matches("good: every peer can connect to this host.-\r\n\r\ninterface lo", out)
    end))

    it("prints one JSON object", task(function()
      local status, out = run("--json", "--settings", file(), "--interface", "lo")
      assert.equal(0, status)
      assert.matches("^{.*}\n$", out)
      local object = json.decode(out)
      assert.same({ "lo", "127.0.0.1", 1, 1, 0 }, { object.interfaces[1].name, object.interfaces[1].ipv4.nic,
        object.interfaces[1].ipv4.nat.type, object.interfaces[1].ipv4.nat.delta,
        object.interfaces[1].ipv4.nat.value })
    end))

    it("says what is wrong", task(function()
      local status, out, err = run("--settings", "/no/such/file")
      assert.same({ 1, "" }, { status, out })
      assert.matches("^p2pd: /no/such/file: No such file", err)
      status, out, err = run("--interface", "nosuch")
      assert.same({ 1, "" }, { status, out })
      assert.matches('no interface "nosuch"', err)
      status, out, err = run "--fast"
      assert.same({ 2, "" }, { status, out })
      assert.matches("^Usage: p2pd nat", err)
    end))

    it("fails when nobody outside answers, and ends at SIGINT", task(function()
      local socket <close> = assert(core.udp.bind { ip = "127.0.0.1" })
      local _, port = socket:getsockname()
      local path = helper.write(helper.scratch() .. "/settings.lua", ([[
return { mqtt = {}, ntp = {}, turn = {}, stun = { { host = "127.0.0.1", port = %d } } }]]):format(port))
      local child <close> = helper.p2pd("nat", "--settings", path, "--interface", "lo")
      socket:recvfrom(WAIT)
      assert(child:kill "INT")
      assert.same({ "exit", 130 }, { child:wait(WAIT) })
      assert.equal(1, (run("--settings", path, "--interface", "lo")))
    end))
  end)
end)
