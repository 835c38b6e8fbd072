-- The command connect: standard input and output to a peer and back.
local address = require "p2pd.address"
local commands = require "spec.commands"
local core = require "p2pd.core"
local helper = require "spec.helper"
local json = require "dkjson"
local nodes = require "spec.nodes"
local p2pd = require "p2pd"
local task = helper.task

describe("the command", function()
  local world = commands.world(setup, teardown, before_each)

  describe("connect", function()
    it("brings 5 MB through an echo node, byte for byte", task(function()
      local _ <close>, text = world:spawn_echo()
      local child <close> = world:spawn("connect", text)
      local sent = core.random.bytes(250):rep(20000)
      local writing <close> = p2pd.spawn(function()
        child:stdin():write(sent)
        child:stdin():shutdown()
      end)
      local got = child:stdout():read "a"
      assert.is_true(got == sent)
      assert.same({ "exit", 0 }, { child:wait(commands.WAIT) })
      assert(writing:join(commands.WAIT) == nil)
    end))

    it("reads and writes files", task(function()
      local _ <close>, text = world:spawn_echo()
      local folder = helper.scratch()
      helper.write(folder .. "/in", ("a line\n"):rep(30000))
      local shell <close> = assert(core.process.spawn { "sh", "-c", 'exec "$0" "$@" <in >out', cwd = folder,
        helper.executable(), "connect", "--settings", world.path, "--interface", "lo", text })
      assert.same({ "exit", 0 }, { shell:wait(commands.WAIT) })
      assert.is_true(helper.read(folder .. "/in") == helper.read(folder .. "/out"))
    end))

    it("loses nothing when its reader is slow", task(function()
      local alice <close> = world:start()
      local child <close> = world:spawn("connect", alice.address)
      local pipe <close> = assert(alice:accept(commands.WAIT))
      local sent = ("x"):rep(300000)
      pipe:write(sent)
      pipe:close()
      child:stdin():shutdown()
      assert.is_nil((child:wait(2.2))) -- longer than a process waits for what it has closed
      assert.equal(#sent, #child:stdout():read "a")
      assert.same({ "exit", 0 }, { child:wait(commands.WAIT) })
    end))

    it("goes on reading when its own half has ended", task(function()
      local alice <close> = world:start()
      local child <close> = world:spawn("connect", alice.address)
      local pipe <close> = assert(alice:accept(commands.WAIT))
      child:stdin():write "the end\n"
      child:stdin():shutdown()
      assert.equal("the end\n", pipe:read "a")
      pipe:write "late news\n"
      pipe:shutdown()
      assert.equal("late news\n", child:stdout():read "a")
      assert.same({ "exit", 0 }, { child:wait(commands.WAIT) })
    end))

    it("ends when the peer does, whatever standard input does", task(function()
      local alice <close> = world:start()
      local child <close> = world:spawn("connect", alice.address)
      assert(alice:accept(commands.WAIT)):close()
      assert.same({ "exit", 0 }, { child:wait(commands.WAIT) })
    end))

    it("fails when nobody reads its output", task(function()
      local alice <close> = world:start()
      local child <close> = world:spawn("connect", alice.address)
      child:stdout():close()
      local pipe <close> = assert(alice:accept(commands.WAIT))
      pipe:write "hello\n"
      assert.same({ "exit", 1 }, { child:wait(commands.WAIT) })
      assert.matches("Broken pipe", child:stderr():read "a")
    end))

    it("tells how, with --json and --explain", task(function()
      local _ <close>, text = world:spawn_echo()
      local status, out, err = world:run("connect", text, "--json", "--explain", "--policy", "sequence")
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

    it("to nobody ends within its timeout, with status 1 and a sentence", task(function()
      local alice <close> = world:start()
      local text = commands.nobody(alice)
      local status, out, err = world:run("connect", text, "--timeout", "0.3", "--json", "--explain")
      assert.same({ 1, "" }, { status, out })
      local report = json.decode(err:match "\n({[^\n]*})\n")
      assert.same({ false, 3 }, { report.ok, #report.attempts })
      assert.matches("direct: .*refused.*reverse: no answer within", report.error)
      assert.equal("0.3 s is little: allow it 20 s", report.advice)
      assert.matches("\nreverse +|[ x]+| +%d+ ms  failed\n +no answer within", err)
      for line in err:gmatch "([^\n]*)\n" do assert.is_true(#line <= 80 or line:find "^{" ~= nil, line) end
      status, out, err = world:run("connect", text, "--timeout", "0.3")
      assert.same({ 1, "" }, { status, out })
      assert.matches("^p2pd: no connection to %w+: 0.3 s is little: [^\n]*\n$", err)
    end))

    it("names what is wrong with an address, and starts no node for it", task(function()
      local id = nodes.new_id()
      for text, reason in pairs {
        [""] = "not a peer address: address: empty",
        ["0-0-0-a.b"] = "not a peer address: node id: a.b is not",
        ["0-[0,1.2.3.4"] = "the address is cut off", ["0-0-0-" .. id:sub(1, 40)] = "the address is cut off",
        bob = "bob is neither an address, a node id nor a contact",
      } do
        local child <close> = helper.p2pd { "connect", "--settings", world.path, "--interface",
          "no-such-interface", text, stdin = "null" }
        assert.matches("^p2pd: " .. reason:gsub("%p", "%%%0") .. "[^\n]*\n$", child:stderr():read "a")
        assert.same({ "exit", 1 }, { child:wait(commands.WAIT) })
      end
    end))

    it("takes an address as it was pasted, and a bare node id", task(function()
      local _ <close>, text = world:spawn_echo()
      for _, pasted in ipairs { "address: " .. text .. "\r\n", " '" .. text .. "' ", text:match "%w+$" } do
        local status, out, err = world:run("connect", "-v", pasted)
        assert.same({ 0, "" }, { status, out })
        assert.matches("^p2pd: connected to " .. text:match "%w+$" .. " by %a+\n$", err)
      end
    end))

    it("tries until it succeeds, with --retry", task(function()
      local alice <close> = world:start()
      local text = commands.nobody(alice)
      local port = address.parse(text).ipv4[1].port
      local child <close> = world:spawn("connect", text, "--strategies", "direct", "--retry", "--timeout",
        "0.5")
      assert.matches("^p2pd: no connection to ", child:stderr():read "l")
      assert.equal("p2pd: trying again in 1 s", child:stderr():read "l")
      local forwarder <close> = assert(core.tcp.listen { ip = "127.0.0.1", port = port })
      assert(forwarder:accept(commands.WAIT))
      commands.check_interrupted(child)
    end))

    it("refuses a directory as standard input", task(function()
      local shell <close> = assert(core.process.spawn { "sh", "-c", 'exec "$0" connect x </', stderr = "pipe",
        helper.executable() })
      assert.equal("p2pd: stdin is a directory\n", shell:stderr():read "a")
      assert.same({ "exit", 2 }, { shell:wait(commands.WAIT) })
    end))

    it("says that the peer vanished", task(function()
      local node <close>, text = world:spawn_echo()
      local child <close> = world:spawn("connect", text, "--resume", "1.2")
      child:stdin():write "hello\n"
      assert.equal("hello", child:stdout():read "l")
      node:kill "KILL"
      assert.same({ "exit", 1 }, { child:wait(commands.WAIT) })
      assert.matches("^p2pd: the path to the peer is gone: looking for another\np2pd: %C*the peer vanished",
        child:stderr():read "a")
    end))

    it("ends with 130 at SIGINT while it connects", task(function()
      local alice <close> = world:start()
      local listener <close> = assert(core.tcp.listen { ip = "127.0.0.1" })
      local parsed = address.parse(alice.address)
      parsed.ipv4[1].port, parsed.ipv6 = select(2, listener:getsockname()), {}
      local child <close> = world:spawn("connect", address.format(parsed), "--strategies", "direct")
      local stream <close> = assert(listener:accept(commands.WAIT))
      assert.equal("\x16", stream:peek(1)) -- TLS begins
      commands.check_interrupted(child)
      assert.is_nil((select(2, stream:read "a")))
    end))

    it("ends with 130 at SIGINT and suddenly at SIGKILL; the other side ends cleanly", task(function()
      local alice <close> = world:start { resume = 0.5 }
      for signal, ending in pairs { INT = "the peer has reset the stream", KILL = "the peer vanished" } do
        local child <close> = world:spawn("connect", alice.address)
        local pipe <close> = assert(alice:accept(commands.WAIT))
        pipe:settimeout(commands.WAIT)
        child:stdin():write "half\n"
        assert.equal("half", pipe:read "l")
        if signal == "INT" then commands.check_interrupted(child) else child:kill(signal) end
        assert.matches(ending, select(2, pipe:read "l") or "")
      end
      assert.equal(0, alice:stats().unverified)
    end))
  end)

  it("connect, or ping, says that the peer refuses the pipe", task(function()
    local bob <close> = assert(p2pd.node { settings = world.settings, interfaces = { "lo" }, allow = {} })
    local status, out, err = world:run("connect", bob.address, { env = { P2PD_LOG = "error" } })
    assert.same({ 1, "" }, { status, out })
    assert.matches("refused by the peer: not allowed", err)
    status, out = world:run("ping", bob.address, "--timeout", "0.5")
    assert.equal(2, status)
    assert.matches("pipe: refused by the peer: not allowed", out)
  end))
end)
