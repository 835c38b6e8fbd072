-- The lab itself: hosts of every kind, their programs and servers.
local agent = require "spec.lab.agent"
local control = require "spec.lab.control"
local helper = require "spec.helper"
local lab = require "p2pd.lab"
local labs = require "spec.lab.labs"
local probe = require "spec.lab.probe"
local task = helper.task

local WAIT = 15
local PORT = probe.PORTS[1]

labs.describe("p2pd.lab", function()
  it("has hosts behind NATs that can not reach each other without help", task(function()
    local l <close> = assert(lab.open { hosts = {
      a = { nats = { { type = "port-restricted" } } },
      b = { nats = { { type = "symmetric", unsolicited = "rst" } } },
      c = {},
      d = { lan = "a" },
    } })
    control.unreachable(l, "a", "b")
    control.reachable(l, "a", "c")
    control.reachable(l, "a", "d")
    assert.not_equal(l:external "a", l:external "b")
    assert.equal(l:external "a", l:external "d")
    assert.equal(l:address "c", l:external "c")
  end))

  it("has controls that see when hosts do reach each other", task(function()
    local l <close> = assert(lab.open { hosts = {
      a = { nats = { { type = "open" } } },
      b = { nats = { { type = "port-restricted" } } },
    } })
    assert.error_matches(function() control.unreachable(l, "a", "b") end, "b reaches a without help over")
    assert.error_matches(function() control.reachable(l, "a", "b") end, "a does not reach b")
  end))

  it("raises for a bad description, with the field", function()
    assert.error(function() lab.open { hosts = { a = { nats = { { type = "odd" } } } } } end,
      'lab.open: hosts.a.nats[1].type: no NAT type is called "odd"')
    assert.same({ nil, "hosts: nil is not a table" }, { lab.check {} })
    assert.is_true(lab.check { hosts = { a = {} } })
  end)

  it("opens as an ordinary user does", function()
    local possible, reason = lab.is_possible(true)
    if not possible then
      pending(reason)
      return
    end
    helper.in_task(function()
      local l <close> = assert(lab.open { rootless = true,
        hosts = { a = { nats = { { type = 5, delta = 5, value = 2 } }, latency = 0.01 }, c = {} },
        servers = { brokers = 1, stuns = 1, ntps = 1 } })
      local a <close> = agent.start(l, "a")
      local mirror <close> = probe.mirror(l, "c")
      assert.equal(l:external "a", (probe.see(a, "udp", 20000, l:address "c", PORT)))
      assert.is_true(probe.ping(a, l:address "c", 3)[1] >= 0.02)
      assert.equal("0\n", l:run("a", { "id", "-u" }).out)
      assert(mirror)
    end)
  end)

  describe("hosts", function()
    it("behind a carrier's NAT behind a home's have the carrier's address", task(function()
      local l <close> = assert(lab.open { hosts = {
        a = { nats = { { type = "port-restricted" }, { type = "symmetric" } } },
        b = { nats = { { type = "port-restricted" }, { type = "full cone" } } },
        c = {},
      } })
      local a <close> = agent.start(l, "a")
      local mirror <close> = probe.mirror(l, "c", 7001, 7002)
      local ip, port = probe.see(a, "tcp", 20000, l:address "c", 7001)
      local _, other = probe.see(a, "tcp", 20000, l:address "c", 7002)
      assert.equal(l:external "a", ip)
      assert.not_equal(port, other)
      assert(mirror)
      control.unreachable(l, "a", "b")
    end))

    it("behind a firewall keep their address, in any order with a NAT", task(function()
      local l <close> = assert(lab.open { hosts = {
        a = { nats = { { type = "port-restricted" }, { type = "firewall" } } },
        b = { nats = { { type = "firewall" }, { type = "port-restricted" } } },
        e = { firewall = "rst" },
        c = {},
      } })
      local mirror <close> = probe.mirror(l, "c")
      for _, name in ipairs { "a", "b", "e" } do
        local inside <close> = agent.start(l, name)
        assert.equal(l:external(name), (probe.see(inside, "udp", 20000, l:address "c", PORT)))
      end
      assert.equal(l:address "e", l:external "e")
      local _, _, code = probe.knock(mirror, l:external "e", 80)
      assert.equal("ECONNREFUSED", code)
      control.unreachable(l, "a", "b")
    end))

    it("have several interfaces, each with its NAT", task(function()
      local l <close> = assert(lab.open { hosts = {
        a = { interfaces = {
          { nats = { { type = "port-restricted" } } },
          { nats = { { type = "symmetric" } } },
          {},
        } },
        c = {},
      } })
      local a <close> = agent.start(l, "a")
      local mirror <close> = probe.mirror(l, "c")
      local seen = {}
      for i = 0, 2 do
        local name = "eth" .. i
        seen[i] = a:call([[
          local ip, to, port = ...
          local socket <close> = assert(core.udp.bind { ip = ip })
          assert(socket:sendto("who am I?", to, port))
          return (assert(socket:recvfrom(5)))]], l:address("a", name), l:address "c", PORT)
        assert.equal(l:external("a", name), seen[i]:match "^%S+")
      end
      assert.equal(l:address("a", "eth2"), l:external("a", "eth2"))
      assert.error_matches(function() l:address("a", "eth3") end, 'the host "a" has no interface "eth3"')
      assert(mirror)
    end))

    local SPEAK6 = [[
      local ip, port = ...
      local stream <close>, reason, code = core.tcp.connect(ip, port, nil, 0.2)
      if not stream then return nil, reason, code end
      return (stream:read "l")]]
    local LISTEN6 = [[
      local listener = assert(core.tcp.listen { ip = "::", port = 7001 })
      task.spawn(function()
        for stream, ip in function() return listener:accept() end do
          stream:write(ip, "\n")
          table.insert(state, stream)
        end
      end)
      return true]]

    it("have IPv6 by each of several interfaces", task(function()
      local l <close> = assert(lab.open { hosts = {
        a = { ipv6 = true, interfaces = { { nats = { { type = "full cone" } } }, { firewall = true } } },
        c = { ipv6 = true },
      } })
      local a <close> = agent.start(l, "a")
      local c <close> = agent.start(l, "c")
      c:call(LISTEN6)
      for _, name in ipairs { "eth0", "eth1" } do
        local own = l:address("a", name, "ipv6")
        assert.equal(own, a:call([[
          local ip, port, own = ...
          local stream <close>, reason, code = core.tcp.connect(ip, port, { ip = own }, 2)
          if not stream then return nil, reason, code end
          return (stream:read "l")]], l:address("c", nil, "ipv6"), 7001, own))
        local six = l:address("c", nil, "ipv6")
        local ip = { "env", "LD_PRELOAD=", "ip", "-6", "route", "get", six, "from", own }
        local route = l:run("a", ip).out
        assert.matches(" dev " .. name .. " ", route)
      end
    end))

    it("have IPv6, with NATs as firewalls", task(function()
      local l <close> = assert(lab.open { hosts = {
        a = { ipv6 = true, nats = { { type = "port-restricted" }, { type = "full cone" } } },
        c = { ipv6 = true },
        d = { lan = "a" },
      } })
      local a <close> = agent.start(l, "a")
      local c <close> = agent.start(l, "c")
      a:call(LISTEN6)
      c:call(LISTEN6)
      local a6, c6 = l:address("a", "eth0", "ipv6"), l:address("c", "eth0", "ipv6")
      assert.equal(a6, (a:call(SPEAK6, c6, 7001)))
      local _, _, code = c:call(SPEAK6, a6, 7001)
      assert.equal("ETIMEDOUT", code)
      assert.is_nil(l:address("d", "eth0", "ipv6"))
      assert.equal("", l:run("d", { "cat", "/proc/net/if_inet6" }).out)
    end))

    it("on one LAN meet by the outside of a NAT with hairpin only", task(function()
      local function reaches(hairpin, nat)
        nat.hairpin = hairpin
        local l <close> = assert(lab.open { hosts = { a = { nats = { nat } }, d = { lan = "a" }, c = {} } })
        local a <close> = agent.start(l, "a")
        local d <close> = agent.start(l, "d")
        local mirror <close> = probe.mirror(l, "c")
        local _, outside = probe.see(a, "tcp", 20000, l:address "c", PORT)
        probe.listen(a, 20000)
        assert(mirror)
        return (probe.knock(d, l:external "a", outside))
      end
      assert.equal("welcome", reaches(true, { type = "full cone", delta = "random" }))
      assert.equal("welcome", reaches(true, { type = "port-restricted", delta = "preserving" }))
      assert.is_nil(reaches(false, { type = "full cone", delta = "random" }))
    end))

    it("have no UDP where the line has none", task(function()
      local l <close> = assert(lab.open { hosts = { a = { udp = false }, c = {} } })
      local a <close> = agent.start(l, "a")
      local mirror <close> = probe.mirror(l, "c")
      assert.is_nil((probe.ask(a, l:address "c", PORT)))
      assert.equal(l:address "a", (probe.see(a, "tcp", 20000, l:address "c", PORT)))
      assert(mirror)
    end))
  end)

  describe("programs", function()
    it("run to their end", task(function()
      local l <close> = assert(lab.open { hosts = { a = {} } })
      local result = assert(l:run("a", { "sh", "-c", "echo out; echo err >&2; exit 3" }))
      assert.same({ out = "out\n", err = "err\n", how = "exit", status = 3 }, result)
      assert.same({ nil, "timed out", "ETIMEDOUT" }, { l:run("a", { "sleep", "1000" }, 0.05) })
      assert.error_matches(function() l:run("b", { "true" }) end, 'the lab has no host "b"')
    end))

    it("are entered from elsewhere by a shell's command line", task(function()
      local l <close> = assert(lab.open { hosts = { a = {} } })
      local shell <close> = assert(io.popen(l:enter("a", { "sh", "-c", "echo $P2PD_SETTINGS; ip -o addr" })))
      assert.equal(l.settings, shell:read "l")
      assert.matches(l:address "a", shell:read "a", 1, true)
    end))

    it("of ours know the lab's servers", task(function()
      local l <close> = assert(lab.open { hosts = { a = { nats = { { type = "symmetric" } } }, c = {} },
        servers = { brokers = 1, stuns = 1 } })
      local node <close> = assert(l:p2pd("c", { "node", "--echo" }))
      node:stdout():settimeout(WAIT)
      local address = assert((node:stdout():read "l"):match "^address: (.*)")
      local dialer <close> = assert(l:p2pd("a", { "connect", address, "--strategies", "direct" }))
      dialer:stdout():settimeout(WAIT)
      dialer:stdin():write "hello\n"
      assert.equal("hello", dialer:stdout():read "l")
    end))
  end)

  it("has routers that forget what they have translated", task(function()
    local l <close> = assert(lab.open { hosts = { a = { nats = { { type = "port-restricted" } } }, c = {} } })
    local a <close> = agent.start(l, "a")
    local c <close> = agent.start(l, "c")
    c:call([[
      local listener = assert(core.tcp.listen { ip = "0.0.0.0", port = 7001 })
      task.spawn(function()
        for stream in function() return (listener:accept()) end do
          table.insert(state, stream)
          task.spawn(function() while stream:write(stream:read "L" or "") do end end)
        end
      end)]])
    a:call('state.stream = assert(core.tcp.connect((...), 7001, nil, 5))', l:address "c")
    local ECHO = [[
      state.stream:settimeout((...))
      assert(state.stream:write "hello\n")
      local line, _, code = state.stream:read "l"
      return line, code]]
    assert.equal("hello", (a:call(ECHO, 5)))
    for _ = 1, 2 do
      assert(l:reboot "a")
      local line, code = a:call(ECHO, 0.3)
      assert.same({ nil, "ETIMEDOUT" }, { line, code })
      a:call('state.stream = assert(core.tcp.connect((...), 7001, nil, 5))', l:address "c")
      assert.equal("hello", (a:call(ECHO, 5)))
    end
    assert.error_matches(function() l:reboot "c" end, 'the host "c" has no NAT')
  end))

  it("stops, starts and silences servers", task(function()
    local l <close> = assert(lab.open { hosts = { a = { nats = { { type = "port-restricted" } } } },
      servers = { brokers = 2, ntps = 1 } })
    local a <close> = agent.start(l, "a")
    local first, second = l.brokers[1], l.brokers[2]
    local function knock(server) return select(3, probe.knock(a, server.host, server.port)) end
    assert.equal("ETIMEDOUT", knock(first)) -- connected: a broker says nothing first
    first:stop()
    assert.equal("ECONNREFUSED", knock(first))
    assert.equal("ETIMEDOUT", knock(second))
    first:start()
    assert.equal("ETIMEDOUT", knock(first))
    assert.is_true(l.ntps[1]:signal "STOP")
  end))
end)
