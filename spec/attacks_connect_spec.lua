-- Who has a node connect to what he chooses, and what he learns of it.
local address = require "p2pd.address"
local core = require "p2pd.core"
local helper = require "spec.helper"
local loopback = require "spec.loopback"
local id = require "p2pd.id"
local nodes = require "spec.nodes"
local tasks = require "p2pd.task"
local task = helper.task

local WAIT = 5
local EACH, KINDS = 12, { "open", "closed", "talking" } -- requests of a scanner
local TRIES = 3

describe("an attack:", function()
  local world = loopback.new(setup, teardown)

  local function start(options) return world:start(options) end

  describe("who has us connect", function()
    -- Bob behind a NAT, in the LAN 192.168.1.0/24; alice's address names what he is to connect to.
    local function check(record, options, external)
      return task(function()
        local alice <close> = start()
        local bob <close> = start(options)
        local route = bob.routes[1]
        route.loopback, route.nic, route.prefix = false, "192.168.1.2", 24
        route.external, route.external_known = external or "203.0.113.9", true
        bob.network.routes = { route }
        local own = address.parse(alice.address)
        own.ipv6, own.ipv4[1].external, own.ipv4[1].internal = {}, record[1], record[2]
        local text = address.format(own)
        alice.signal.address = function() return text end
        local connect = spy.on(core.tcp, "connect")
        local _, err = alice:connect(bob.address, { strategies = { "reverse" }, timeout = WAIT })
        assert.matches("^refused by the peer: ", err.reverse)
        if not options then assert.equal("refused by the peer: not reachable", err.reverse) end
        assert.spy(connect).was_not.called()
        connect:revert()
        assert.equal(1, bob:stats().refused["not allowed"])
      end)
    end

    for what, record in pairs {
      ["this machine"] = { "127.0.0.1", "127.0.0.1" },
      ["our own interface"] = { "192.168.1.2", "192.168.1.2" },
      ["our own outside"] = { "203.0.113.9", "203.0.113.9" },
      ["a host of our LAN"] = { "192.168.1.77", "192.168.1.77" },
      ["a host of our LAN, as one of it"] = { "203.0.113.9", "192.168.1.77" },
      ["all hosts of our LAN"] = { "192.168.1.255", "192.168.1.255" },
      ["somebody's inner network"] = { "10.0.0.1", "10.0.0.1" },
      ["the cloud's own service"] = { "169.254.169.254", "169.254.169.254" },
      ["what is for later use"] = { "240.0.0.1", "240.0.0.1" },
    } do
      it("to " .. what .. " is refused, and told nothing else", check(record))
    end

    local allowing = { allow = function() return true end }
    it("to our own interface is refused, also when he is allowed",
      check({ "192.168.1.2", "192.168.1.2" }, allowing))
    it("to a host of our LAN is refused when he is allowed and not of it",
      check({ "10.0.0.1", "192.168.1.77" }, allowing))

    -- What a stranger has bob connect to: ports where somebody listens in silence, talks, or nobody is.
    local function targets()
      local silent = assert(core.tcp.listen { ip = "127.0.0.1" })
      local talking = assert(core.tcp.listen { ip = "127.0.0.1" })
      local kept = tasks.hold(silent, talking)
      local function keep(stream)
        kept.n = kept.n + 1
        kept[kept.n] = stream
      end
      keep(tasks.spawn(function()
        for stream in function() return (silent:accept()) end do keep(stream) end
      end))
      keep(tasks.spawn(function()
        for stream in function() return (talking:accept()) end do
          stream:write "SSH-2.0-OpenSSH_9.2\r\n"
          keep(stream)
        end
      end))
      return kept, { open = select(2, silent:getsockname()), talking = select(2, talking:getsockname()),
        closed = helper.free_port() }
    end

    local function request(eve, bob, port)
      return { type = "P2P_DIRECT", id = id.new(), from = eve.id, to = bob.id, pipe = id.new(),
        time = core.clock.realtime(), ttl = 60,
        address = ("0-[0,127.0.0.1,127.0.0.1,%d,1,1,0]-0-%s"):format(port, eve.id) }
    end

    -- How likely it is that a time of the one list is longer than one of the other: 0.5 where nothing can be
    -- told of them.
    local function precedence(a, b)
      local sum = 0
      for _, x in ipairs(a) do
        for _, y in ipairs(b) do sum = sum + (x > y and 1 or x == y and 0.5 or 0) end
      end
      return sum / (#a * #b)
    end

    -- What took how long to be refused, by kind of target.
    local function measure()
      local bob <close> = start { limits = { syns_to_target = 1000, connects_of_peer = 1000, answers = 200,
        answers_to_strangers = 200, answers_to_peer = 200, refused = 200 } }
      local eve, took = nodes.new(), { open = {}, closed = {}, talking = {} }
      local client <close> = core.mqtt.open { host = world.broker.host, port = world.broker.port }
      client:subscribe(eve.id)
      assert(client:wait_online(WAIT))
      local _ <close>, ports = targets()
      local began = {}
      for i = 1, EACH do
        for k = 1, #KINDS do
          local what = KINDS[(i + k) % #KINDS + 1]
          local m = request(eve, bob, ports[what])
          began[m.pipe] = { what, core.clock.monotonic() }
          assert(client:publish(bob.id, nodes.seal(eve, bob.id, m)))
        end
      end
      for _ = 1, EACH * #KINDS do
        local _, payload = assert(client:receive(2 * WAIT))
        local m = assert(nodes.open(eve, payload))
        assert.same({ "REFUSED", "not reachable" }, { m.type, m.reason })
        local what, at = table.unpack(began[m.pipe])
        table.insert(took[what], core.clock.monotonic() - at)
      end
      return took
    end

    -- What an open or a talking target can be told from a closed one by, or nil.
    local function find_difference(took)
      for _, what in ipairs { "open", "talking" } do
        local likely = precedence(took[what], took.closed)
        if likely < 0.15 or likely > 0.85 then return what .. " is told from closed: " .. likely end
      end
    end

    -- What can be told shows each time; what a busy machine does, now and then.
    it("to what is open, closed or talks learns nothing of it, however often", task(function()
      local difference
      for _ = 1, TRIES do
        difference = find_difference(measure())
        if not difference then return end
      end
      error(difference)
    end, 60))
  end)
end)
