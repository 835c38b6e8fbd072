-- The commands of the executable, as processes.
local address = require "p2pd.address"
local cli = require "p2pd.cli"
local core = require "p2pd.core"
local helper = require "spec.helper"
local json = require "dkjson"
local lab = require "p2pd.lab"
local lfs = require "lfs"
local strategy = require "p2pd.strategy"
local nodes = require "spec.nodes"
local p2pd = require "p2pd"
local task = helper.task

local WAIT = 10

describe("the command", function()
  local broker, stun, path, settings, level

  setup(function()
    level = core.log.level()
    core.log.level "error"
    broker, stun = helper.mosquitto {}, helper.coturn {}
    path, settings = helper.settings { brokers = { broker }, stuns = { stun } }
  end)

  teardown(function()
    core.log.level(level)
    helper.close_all()
  end)

  local function start_node() return assert(p2pd.node { settings = settings, interfaces = { "lo" } }) end

  -- A command with our settings; a table of options may come last.
  local function spawn(command, ...)
    local arguments = { ... }
    local options = type(arguments[#arguments]) == "table" and table.remove(arguments) or {}
    local child = helper.p2pd { command, "--settings", options.settings or path, "--interface", "lo",
      env = options.env, table.unpack(arguments) }
    for _, name in ipairs { "stdin", "stdout", "stderr" } do child[name](child):settimeout(WAIT) end
    return child
  end

  -- Runs one to its end: its exit status, stdout, stderr.
  local function run(...)
    local child <close> = spawn(...)
    child:stdin():shutdown()
    local out, err = child:stdout():read "a", child:stderr():read "a"
    local how, status = child:wait(WAIT)
    assert.equal("exit", how)
    return status, out, err
  end

  local function spawn_echo()
    local child = spawn("node", "--echo")
    return child, assert((child:stdout():read "l"):match "^address: (.*)")
  end

  local function check_interrupted(child)
    assert(child:kill "INT")
    local how, status = child:wait(WAIT)
    assert.same({ "exit", 130 }, { how, status })
    assert.not_matches("traceback", child:stderr():read "a", 1, true)
  end

  local function nobody(node)
    local parsed = address.parse(node.address)
    parsed.ipv4[1].port, parsed.ipv6, parsed.node_id = helper.free_port(), {}, nodes.new_id()
    return address.format(parsed), parsed.node_id
  end

  describe("--help", function()
    local OPTIONS = {
      node = { "--settings", "--interface", "--name", "--force", "--port", "--no-port-mapping",
        "--echo" },
      serve = { "--settings", "--interface", "--name", "--force", "--port", "--no-port-mapping", "--http",
        "--http-socket", "--token-file", "--allow-null-origin", "--files", "--take-files" },
      connect = { "--settings", "--interface", "--name", "--force", "--strategies", "--policy", "--timeout",
        "--json", "--explain", "--retry", "--resume", "--verbose" },
      ping = { "--settings", "--interface", "--name", "--force", "--count", "--interval",
        "--resume", "--timeout", "-c" },
      demo = {},
      lab = { "--a", "--b", "--latency", "--jitter", "--loss", "--ipv6", "--brokers", "--stuns", "--ntps",
        "--turns", "-- COMMAND" },
    }

    for command, options in pairs(OPTIONS) do
      it("of " .. command .. " names every option", task(function()
        local child <close> = helper.p2pd(command, "--help")
        local out = child:stdout():read "a"
        assert.matches("Usage: p2pd " .. command, out, 1, true)
        for _, option in ipairs(options) do assert.matches(option, out, 1, true) end
        assert.same({ "exit", 0 }, { child:wait(WAIT) })
      end))
    end

    it("has 80 columns", task(function()
      for _, command in ipairs(cli.commands()) do
        local child <close> = helper.p2pd(command.name, "--help")
        for line in child:stdout():read("a"):gmatch "[^\n]*" do assert.is_true(#line <= 80, line) end
        child:wait(WAIT)
      end
    end))

    it("is what a wrong option gets, with status 2", task(function()
      for _, arguments in ipairs {
        { "node", "--fast" }, { "node", "--port", "http" }, { "connect" }, { "ping" }, { "demo", "more" },
        { "connect", "x", "--strategies", "teleport" }, { "connect", "x", "--policy", "slow" },
        { "connect", "x", "--timeout", "0" }, { "ping", "x", "-c", "none" },
        { "lab", "--latency", "-1" }, { "lab", "--stuns", "some" }, { "lab", "--a", "symmetric/loud" },
      } do
        local child <close> = helper.p2pd(table.unpack(arguments))
        assert.matches("^Usage: p2pd " .. arguments[1], child:stderr():read "a")
        assert.equal("", child:stdout():read "a")
        assert.same({ "exit", 2 }, { child:wait(WAIT) })
      end
    end))
  end)

  describe("node", function()
    it("tells its address and each pipe", task(function()
      local child <close>, text = spawn_echo()
      local alice <close> = start_node()
      local pipe <close> = assert(alice:connect(text, { strategies = { "reverse" } }))
      assert.equal(("pipe: reverse %s %s"):format(pipe:info()["local"], alice.id), child:stdout():read "l")
    end))

    it("refuses a name that is in use here, unless it is forced", task(function()
      local env = { XDG_DATA_HOME = helper.scratch() }
      local first <close> = spawn("node", "--name", "alice", { env = env })
      local id = assert(address.parse((first:stdout():read "l"):match "^address: (.*)")).node_id
      local status, out, err = run("node", "--name", "alice", { env = env })
      assert.same({ 1, "" }, { status, out })
      assert.equal(("p2pd: a node named alice is running already: key file %s/p2pd/alice.key is locked by "
        .. "process %d (--force runs another)\n"):format(env.XDG_DATA_HOME, first:pid()), err)
      for _, arguments in ipairs { { "--name", "bob" }, { "--name", "alice", "--force" }, {} } do
        arguments[#arguments + 1] = { env = env }
        local other <close> = spawn("node", table.unpack(arguments))
        local other_id = address.parse((other:stdout():read "l"):match "^address: (.*)").node_id
        assert.equal(arguments[3] == "--force", other_id == id)
      end
    end))

    it("says what becomes of the bytes that it does not send back", task(function()
      local child <close> = spawn "node"
      local text = child:stdout():read("l"):match "^address: (.*)"
      assert.matches("^p2pd: what peers send is thrown away", child:stderr():read "l")
      local alice <close> = start_node()
      local pipe <close> = assert(alice:connect(text))
      pipe:write "seven\r\n"
      pipe:close()
      assert.equal(("p2pd: %s: the pipe has ended, 7 bytes were thrown away"):format(alice.id),
        child:stderr():read "l")
    end))

    it("says what is wrong", task(function()
      local status, out, err = run("node", { settings = "/no/such/file" })
      assert.same({ 1, "" }, { status, out })
      assert.matches("^p2pd: /no/such/file: No such file", err)
      local alice <close> = start_node()
      local taken = tostring(address.parse(alice.address).ipv4[1].port)
      status, out, err = run("node", "--port", taken)
      assert.same({ 1, "" }, { status, out })
      assert.matches("Address already in use", err)
    end))

    it("ends with 130 at SIGINT while it starts with dead servers", task(function()
      local socket <close> = assert(core.udp.bind { ip = "127.0.0.1" })
      local silent = { host = "127.0.0.1", port = select(2, socket:getsockname()) }
      local dead = { host = "127.0.0.1", port = helper.free_port() }
      local poor = helper.settings { brokers = { dead }, stuns = { silent } }
      local child <close> = spawn("node", { settings = poor })
      socket:recvfrom(WAIT)
      check_interrupted(child)
      assert.equal("", child:stdout():read "a")
    end))

    it("ends with 130 at SIGINT while it waits, and its pipes end", task(function()
      local child <close>, text = spawn_echo()
      local alice <close> = start_node()
      local pipe <close> = assert(alice:connect(text))
      pipe:settimeout(WAIT)
      pipe:write "hello\n"
      assert.equal("hello", pipe:read "l")
      check_interrupted(child)
      assert.is_nil((pipe:read "l"))
    end))
  end)

  describe("connect", function()
    it("brings 5 MB through an echo node, byte for byte", task(function()
      local _ <close>, text = spawn_echo()
      local child <close> = spawn("connect", text)
      local sent = core.random.bytes(250):rep(20000)
      local writing <close> = p2pd.spawn(function()
        child:stdin():write(sent)
        child:stdin():shutdown()
      end)
      local got = child:stdout():read "a"
      assert.is_true(got == sent)
      assert.same({ "exit", 0 }, { child:wait(WAIT) })
      assert(writing:join(WAIT) == nil)
    end))

    it("reads and writes files", task(function()
      local _ <close>, text = spawn_echo()
      local folder = helper.scratch()
      helper.write(folder .. "/in", ("a line\n"):rep(30000))
      local shell <close> = assert(core.process.spawn { "sh", "-c", 'exec "$0" "$@" <in >out', cwd = folder,
        (os.getenv "P2PD_EXE" or lfs.currentdir() .. "/p2pd"), "connect", "--settings", path, "--interface",
        "lo", text })
      assert.same({ "exit", 0 }, { shell:wait(WAIT) })
      assert.is_true(helper.read(folder .. "/in") == helper.read(folder .. "/out"))
    end))

    it("loses nothing when its reader is slow", task(function()
      local alice <close> = start_node()
      local child <close> = spawn("connect", alice.address)
      local pipe <close> = assert(alice:accept(WAIT))
      local sent = ("x"):rep(300000)
      pipe:write(sent)
      pipe:close()
      child:stdin():shutdown()
      assert.is_nil((child:wait(2.2))) -- longer than a process waits for what it has closed
      assert.equal(#sent, #child:stdout():read "a")
      assert.same({ "exit", 0 }, { child:wait(WAIT) })
    end))

    it("goes on reading when its own half has ended", task(function()
      local alice <close> = start_node()
      local child <close> = spawn("connect", alice.address)
      local pipe <close> = assert(alice:accept(WAIT))
      child:stdin():write "the end\n"
      child:stdin():shutdown()
      assert.equal("the end\n", pipe:read "a")
      pipe:write "late news\n"
      pipe:shutdown()
      assert.equal("late news\n", child:stdout():read "a")
      assert.same({ "exit", 0 }, { child:wait(WAIT) })
    end))

    it("ends when the peer does, whatever standard input does", task(function()
      local alice <close> = start_node()
      local child <close> = spawn("connect", alice.address)
      assert(alice:accept(WAIT)):close()
      assert.same({ "exit", 0 }, { child:wait(WAIT) })
    end))

    it("fails when nobody reads its output", task(function()
      local alice <close> = start_node()
      local child <close> = spawn("connect", alice.address)
      child:stdout():close()
      local pipe <close> = assert(alice:accept(WAIT))
      pipe:write "hello\n"
      assert.same({ "exit", 1 }, { child:wait(WAIT) })
      assert.matches("Broken pipe", child:stderr():read "a")
    end))

    it("tells how, with --json and --explain", task(function()
      local _ <close>, text = spawn_echo()
      local status, out, err = run("connect", text, "--json", "--explain", "--policy", "sequence")
      assert.same({ 0, "" }, { status, out })
      local report = json.decode(err:match "\n({.*})\n$")
      assert.same({ true, "direct" }, { report.ok, report.strategy })
      assert.matches("^[%d.:%[%]]+:%d+$", report.remote)
      assert.matches("^[%d.:%[%]]+:%d+$", report["local"])
      assert.is_true(report.seconds > 0)
      local attempt = report.attempts[1]
      assert.same({ 1, "direct", true }, { #report.attempts, attempt.strategy, attempt.ok })
      assert.is_true(attempt.began >= 0 and attempt.seconds > 0)
      assert.same({ "TLSv1.3", 43 }, { report.tls.protocol, #report.peer:sub(1, 43) })
      assert.matches('^{"ok":true,"strategy":"direct","seconds":[%d.]+,"peer":', err:match "\n({.*})\n$")
      for number in err:match("\n({.*})\n$"):gmatch "seconds\":([%d.]+)" do
        assert.is_true(#number:gsub("^0%.0*", ""):gsub("%.", "") <= 6, number)
      end
      assert.matches("\ndirect +%S+ > %S+:%d+ +|[ #]+| +%d+ ms  ok\n", err)
      assert.matches("\np2pd: connected to " .. text:match "%w+$" .. " by direct\n", err)
      local kinds = {}
      for _, step in ipairs(report.steps) do
        kinds[step.kind] = true
        assert.is_true(step.began >= 0 and step.seconds >= 0)
      end
      assert.is_true(kinds.strategy and kinds.broker and kinds.tls and kinds.signal)
    end))

    it("to nobody ends within its timeout, with status 1 and the reasons", task(function()
      local alice <close> = start_node()
      local text = nobody(alice)
      local status, out, err = run("connect", text, "--timeout", "0.3", "--json", "--explain")
      assert.same({ 1, "" }, { status, out })
      local report = json.decode(err:match "\n({[^\n]*})\n")
      assert.same({ false, 3 }, { report.ok, #report.attempts })
      assert.matches("direct: .*refused.*reverse: no answer within", report.error)
      assert.equal("0.3 s is little: allow it 20 s", report.advice)
      assert.matches("\nreverse +|[ x]+| +%d+ ms  failed\n +no answer within", err)
      for line in err:gmatch "([^\n]*)\n" do assert.is_true(#line <= 80 or line:find "^{" ~= nil, line) end
      status, out, err = run("connect", text, "--timeout", "0.3")
      assert.same({ 1, "" }, { status, out })
      assert.matches("^p2pd: no connection to %w+ %(direct: [^\n]*%)\np2pd: 0.3 s is little: [^\n]*\n$", err)
    end))

    it("names what is wrong with an address, and starts no node for it", task(function()
      local id = nodes.new_id()
      for text, reason in pairs {
        [""] = "not a peer address: address: empty",
        ["0-0-0-a.b"] = "not a peer address: node id: a.b is not",
        ["0-[0,1.2.3.4"] = "the address is cut off", ["0-0-0-" .. id:sub(1, 40)] = "the address is cut off",
        bob = "bob is neither an address, a node id nor a contact",
      } do
        local child <close> = helper.p2pd { "connect", "--settings", path, "--interface", "no-such-interface",
          text, stdin = "null" }
        assert.matches("^p2pd: " .. reason:gsub("%p", "%%%0") .. "[^\n]*\n$", child:stderr():read "a")
        assert.same({ "exit", 1 }, { child:wait(WAIT) })
      end
    end))

    it("takes an address as it was pasted, and a bare node id", task(function()
      local _ <close>, text = spawn_echo()
      for _, pasted in ipairs { "address: " .. text .. "\r\n", " '" .. text .. "' ", text:match "%w+$" } do
        local status, out, err = run("connect", "-v", pasted)
        assert.same({ 0, "" }, { status, out })
        assert.matches("^p2pd: connected to " .. text:match "%w+$" .. " by %a+\n$", err)
      end
    end))

    it("tries until it succeeds, with --retry", task(function()
      local alice <close> = start_node()
      local text = nobody(alice)
      local port = address.parse(text).ipv4[1].port
      local child <close> = spawn("connect", text, "--strategies", "direct", "--retry", "--timeout", "0.5")
      assert.matches("^p2pd: no connection to ", child:stderr():read "l")
      assert.matches("^p2pd: ", child:stderr():read "l")
      assert.equal("p2pd: trying again in 1 s", child:stderr():read "l")
      local forwarder <close> = assert(core.tcp.listen { ip = "127.0.0.1", port = port })
      assert(forwarder:accept(WAIT))
      check_interrupted(child)
    end))

    it("refuses a directory as standard input", task(function()
      local shell <close> = assert(core.process.spawn { "sh", "-c", 'exec "$0" connect x </', stderr = "pipe",
        os.getenv "P2PD_EXE" or lfs.currentdir() .. "/p2pd" })
      assert.equal("p2pd: stdin is a directory\n", shell:stderr():read "a")
      assert.same({ "exit", 2 }, { shell:wait(WAIT) })
    end))

    it("says that the peer vanished", task(function()
      local node <close>, text = spawn_echo()
      local child <close> = spawn("connect", text, "--resume", "1.2")
      child:stdin():write "hello\n"
      assert.equal("hello", child:stdout():read "l")
      node:kill "KILL"
      assert.same({ "exit", 1 }, { child:wait(WAIT) })
      assert.matches("^p2pd: the path to the peer is gone: looking for another\np2pd: %C*the peer vanished",
        child:stderr():read "a")
    end))

    it("ends with 130 at SIGINT while it connects", task(function()
      local alice <close> = start_node()
      local listener <close> = assert(core.tcp.listen { ip = "127.0.0.1" })
      local parsed = address.parse(alice.address)
      parsed.ipv4[1].port, parsed.ipv6 = select(2, listener:getsockname()), {}
      local child <close> = spawn("connect", address.format(parsed), "--strategies", "direct")
      local stream <close> = assert(listener:accept(WAIT))
      assert.equal("\x16", stream:peek(1)) -- TLS begins
      check_interrupted(child)
      assert.is_nil((select(2, stream:read "a")))
    end))

    it("ends with 130 at SIGINT and suddenly at SIGKILL; the other side ends cleanly", task(function()
      local alice <close> = start_node()
      for _, name in ipairs { "INT", "KILL" } do
        local child <close> = spawn("connect", alice.address)
        local pipe <close> = assert(alice:accept(WAIT))
        pipe:settimeout(WAIT)
        child:stdin():write "half\n"
        assert.equal("half", pipe:read "l")
        if name == "INT" then check_interrupted(child) else child:kill(name) end
        assert.is_nil((pipe:read "l"))
      end
      assert.equal(0, alice:stats().unverified)
    end))
  end)

  it("connect, or ping, says that the peer refuses the pipe", task(function()
    local bob <close> = assert(p2pd.node { settings = settings, interfaces = { "lo" }, allow = {} })
    local status, out, err = run("connect", bob.address, { env = { P2PD_LOG = "error" } })
    assert.same({ 1, "" }, { status, out })
    assert.matches("refused by the peer: not allowed", err)
    status, out = run("ping", bob.address, "--timeout", "0.5")
    assert.equal(2, status)
    assert.matches("pipe: refused by the peer: not allowed", out)
  end))

  describe("ping", function()
    it("measures and ends with 0", task(function()
      local _ <close>, text = spawn_echo()
      local status, out = run("ping", text, "-c", "2")
      assert.equal(0, status)
      assert.matches("^signalling 1: [%d.]+ ms\nsignalling 2: [%d.]+ ms\nsignalling: 2 sent, 0 lost", out)
      assert.matches("\npipe: %w+ to %S+\npipe 1: [%d.]+ ms\npipe 2: [%d.]+ ms\n", out)
      assert.matches("\npipe: 2 sent, 0 lost, min/avg/max [%d.]+/[%d.]+/[%d.]+ ms\n$", out)
    end))

    it("goes on until it is interrupted, and sums up then", task(function()
      local _ <close>, text = spawn_echo()
      local child <close> = spawn("ping", text, "-i", "0.01")
      for line in function() return (child:stdout():read "l") end do
        if line:find "^pipe 5: " then break end
      end
      check_interrupted(child)
      assert.matches("\npipe: %d+ sent, [01] lost, min/avg/max [%d./]+ ms\n$",
        "\n" .. child:stdout():read "a")
    end))

    it("tells of a peer that does not echo, and of one that vanishes", task(function()
      local alice <close> = start_node()
      local status, out = run("ping", alice.address, "-c", "1")
      assert.equal(0, status)
      assert.matches("\npipe: [%d.]+ ms by the kernel's measure %(the peer does not echo%)\n$", out)
      local node <close>, text = spawn_echo()
      local child <close> = spawn("ping", text, "-i", "0.01", "--resume", "0")
      for line in function() return (child:stdout():read "l") end do
        if line:find "^pipe 1: " then break end
      end
      node:kill "KILL"
      assert.same({ "exit", 2 }, { child:wait(WAIT) })
      assert.matches("pipe %d+: the peer vanished.*\npipe: %d+ sent, 1 lost", child:stdout():read "a")
    end))

    it("ends with 2 when there is no way", task(function()
      local alice <close> = start_node()
      local text = nobody(alice)
      local status, out = run("ping", text, "--timeout", "0.2")
      assert.equal(2, status)
      assert.matches("^signalling 1: the peer does not answer\npipe: no connection to ", out)
      assert.equal(2, (run("ping", "nonsense")))
    end))

    it("ends with 130 at SIGINT", task(function()
      local alice <close> = start_node()
      local text, peer_id = nobody(alice)
      local peer <close> = core.mqtt.open { host = broker.host, port = broker.port }
      peer:subscribe(peer_id)
      assert(peer:wait_online(WAIT))
      local child <close> = spawn("ping", text)
      assert(peer:receive(WAIT))
      check_interrupted(child)
    end))
  end)

  describe("serve", function()
    it("tells its URL with the token, the token's file and its address", task(function()
      local folder = helper.scratch()
      local child <close> = spawn("serve", "--http", "127.0.0.1:0", { env = { XDG_RUNTIME_DIR = folder } })
      local port, token = child:stdout():read "l":match "^http://127%.0%.0%.1:(%d+)/#(%x+)$"
      local file = ("%s/p2pd/http-%s.token"):format(folder, port)
      assert.equal("token: " .. file, child:stdout():read "l")
      assert.equal(token .. "\n", helper.read(file))
      assert(address.parse(child:stdout():read "l":match "^address: (.*)"))
      check_interrupted(child)
      assert.is_nil(io.open(file))
    end))

    it("has the user's token, and tells neither it nor a file", task(function()
      local file = helper.scratch() .. "/token"
      helper.write(file, "0123456789abcdef")
      os.execute("chmod 600 " .. file)
      local child <close> = spawn("serve", "--http", "127.0.0.1:0", "--token-file", file)
      assert.matches("^http://127%.0%.0%.1:%d+/$", child:stdout():read "l")
      assert.matches("^address: ", child:stdout():read "l")
    end))

    it("says what is wrong before it starts", task(function()
      local status, out, err = run("serve", "--http", "0.0.0.0:0")
      assert.same({ 2, "", "p2pd: others can reach 0.0.0.0: --token-file is needed\n" }, { status, out, err })
      status, out, err = run("serve", "--token-file", "/no/such")
      assert.same({ 1, "" }, { status, out })
      assert.matches("/no/such", err)
      status, out, err = run("serve", "--http", "localhost")
      assert.same({ 2, "" }, { status, out })
      assert.matches("localhost is no IP:PORT", err)
    end))
  end)

  describe("demo", function()
    -- Runs it with a temporary folder of its own, which has to be empty in the end, with nobody left who
    -- knows it.
    local function with_demo(fn)
      return task(function()
        local folder = helper.scratch()
        local child <close> = helper.p2pd { "demo", env = { TMPDIR = folder } }
        child:stdout():settimeout(WAIT)
        fn(child)
        local left = {}
        for name in lfs.dir(folder) do left[#left + 1] = name:match "^%.+$" == nil and name or nil end
        assert.same({}, left)
        for pid in lfs.dir "/proc" do
          local command = pid:find "^%d+$" and helper.read("/proc/" .. pid .. "/cmdline") or ""
          assert.is_nil(command:find(folder, 1, true))
        end
      end)
    end

    local ROW = "\n%s +[%%d.]+ ms +%%S+:%%d+ +%%S+:%%d+ +[%%d.]+ ms\n"

    it("shows a row for each strategy and leaves nothing", with_demo(function(child)
      local out = child:stdout():read "a"
      assert.same({ "exit", 0 }, { child:wait(WAIT) })
      local near, far = out:match "^(.-)\nBehind two NATs(.*)$"
      for _, name in ipairs(strategy.DEFAULT) do assert.matches(ROW:format(name), near or out) end
      if not lab.is_possible() then return end
      for _, name in ipairs { "punch", "relay" } do assert.matches(ROW:format(name), far) end
      for _, name in ipairs { "direct", "reverse" } do
        assert.matches("\n" .. name .. " +%- +no answer", far)
      end
    end))

    it("leaves nothing after SIGINT half-way", with_demo(function(child)
      assert.matches("^On loopback", child:stdout():read "l")
      check_interrupted(child)
    end))

    it("leaves nothing after SIGINT at its beginning", with_demo(function(child)
      child:wait(0.1)
      child:kill "INT"
      assert.is_not_nil((child:wait(WAIT)))
    end))
  end)
end)
