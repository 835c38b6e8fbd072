-- Commands that carry something between peers, as processes: listen, expose, forward, chat, contacts.
local commands = require "spec.commands"
local core = require "p2pd.core"
local helper = require "spec.helper"
local json = require "dkjson"
local loopback = require "spec.loopback"
local p2pd = require "p2pd"
local task, finish, wait_for, wrong = helper.task, commands.finish, commands.wait_for, commands.wrong

local WAIT = 10

describe("the application", function()
  local world = loopback.new(setup, teardown)
  local folder

  before_each(function() folder = helper.scratch() end)

  local function start_node(options) return world:start(options) end

  local function spawn(command, ...)
    local with_node = command ~= "contacts" and { "--settings", world.path, "--interface", "lo" } or {}
    local child = helper.p2pd { env = { XDG_CONFIG_HOME = folder, XDG_DATA_HOME = folder }, command,
      table.unpack(table.move({ ... }, 1, select("#", ...), #with_node + 1, with_node)) }
    return commands.limit(child)
  end

  local function run(...)
    local child <close> = spawn(...)
    child:stdin():close()
    return finish(child)
  end

  local function id_of(name)
    local status, out = finish(helper.p2pd { "id", "--name", name, env = { XDG_DATA_HOME = folder } })
    assert.equal(0, status)
    return (out:gsub("\n", ""))
  end

  local function check_help(command, options)
    local child <close> = helper.p2pd(command, "--help")
    local status, out = finish(child)
    assert.equal(0, status)
    for _, option in ipairs(options) do assert.matches(option, out, 1, true) end
  end

  describe("contacts", function()
    it("adds, lists and removes", task(function()
      check_help("contacts", { "add", "remove", "list" })
      local id = id_of "bob"
      assert.same({ 0, "", "" }, { run("contacts") })
      assert.same({ 0, "", "" }, { run("contacts", "add", "bob", " address: " .. id .. "\n") })
      assert.same({ 0, ("%-15s %s\n"):format("bob", id), "" }, { run("contacts", "list") })
      local status, _, err = run("contacts", "add", "bob", id_of "eve")
      assert.same({ 1, "p2pd: bob is somebody else already\n" }, { status, err })
      assert.equal(0, (run("contacts", "add", "--replace", "bob", id_of "eve")))
      assert.equal(0, (run("contacts", "remove", "bob")))
      assert.equal("p2pd: no contact is called bob\n", select(3, run("contacts", "remove", "bob")))
      assert.equal(2, (run("contacts", "add", "bob")))
      assert.equal(1, (run("contacts", "add", "bob", "nowhere")))
    end))

    it("fail when their output can't be written", task(function()
      assert.equal(0, (run("contacts", "add", "bob", id_of "bob")))
      local program = os.getenv "P2PD_EXE" or "./p2pd"
      local child <close> = assert(core.process.spawn { "sh", "-c", '"$0" contacts >/dev/full', program,
        stderr = "pipe", stdout = "pipe", env = { XDG_CONFIG_HOME = folder } })
      local status, _, err = finish(child)
      assert.same({ 1, "p2pd: standard output: No space left on device\n" }, { status, err })
    end))

    it("learn the address of whom one connects to", task(function()
      local bob <close> = start_node()
      assert.equal(0, (run("contacts", "add", "bob", "0-0-0-" .. bob.id)))
      local code = ([[
        local node <close> = assert(p2pd.node { settings = %q, interfaces = { "lo" } })
        assert(node:connect(assert(p2pd.contacts.find "bob"))):close()]]):format(world.path)
      local child <close> = helper.p2pd { "-e", code, env = { XDG_CONFIG_HOME = folder } }
      assert.same({ 0, "", "" }, { finish(child) })
      assert.equal(("%-15s %s\n"):format("bob", bob.address), select(2, run("contacts")))
    end))
  end)

  describe("listen", function()
    it("makes a pipe standard input and output, and says so", task(function()
      check_help("listen", { "--name", "--force", "--port", "--no-port-mapping", "--once",
        "--keep", "--exec", "--allow", "--code", "--json" })
      local child <close> = spawn "listen"
      local address = wait_for(child:stderr(), "address: (.*)$")
      local alice <close> = start_node()
      local pipe <close> = assert(alice:connect(address))
      child:stdin():write "from stdin\n"
      assert.equal("from stdin", pipe:read "l")
      pipe:write "from the peer\n"
      pipe:shutdown()
      assert.equal("from the peer", child:stdout():read "l")
      child:stdin():close()
      assert.is_nil((pipe:read "l"))
      local status, _, err = finish(child)
      assert.equal(0, status)
      local name = alice.id:sub(1, 8)
      assert.matches(("\np2pd: pipe with %s by direct, %%S+:%%d+ to %%S+:%%d+\n"):format(name), err)
      assert.matches(("pipe with %s ended: 14 bytes received, 11 sent\n$"):format(name), err)
    end))

    it("brings what a file has, though the peer has ended its half", task(function()
      local file = helper.write(folder .. "/in", ("x"):rep(3000000))
      local child <close> = assert(core.process.spawn { "sh", "-c", 'exec "$0" listen --settings "$1" '
        .. '--interface lo <"$2"', os.getenv "P2PD_EXE" or "./p2pd", world.path, file, stdout = "pipe",
        stderr = "pipe" })
      local address = wait_for(child:stderr(), "address: (.*)$")
      local alice <close> = start_node()
      local pipe <close> = assert(alice:connect(address))
      pipe:shutdown()
      assert.equal(3000000, #pipe:read "a")
      assert.equal(0, (finish(child)))
    end))

    it("runs a command for each pipe", task(function()
      local child <close> = spawn("listen", "--keep", "--json", "--exec", "tr a-z A-Z; echo $P2PD_PEER")
      local address = assert(json.decode(child:stderr():read "l")).address
      local alice <close> = start_node()
      for _ = 1, 2 do
        local pipe <close> = assert(alice:connect(address))
        pipe:write "shout\n"
        pipe:shutdown()
        assert.equal("SHOUT\n" .. alice.id .. "\n", pipe:read "a")
        local begin, ending = json.decode(child:stderr():read "l"), json.decode(child:stderr():read "l")
        assert.same({ "begin", "direct", alice.id }, { begin.event, begin.strategy, begin.peer })
        assert.same({ "end", 6, 7 + #alice.id, nil },
          { ending.event, ending.received, ending.sent, ending.reason })
      end
    end))

    it("tells how a command failed, and gives its output whole though it reads nothing", task(function()
      local child <close> = spawn("listen", "--exec", "echo early; exit 3")
      local address = wait_for(child:stderr(), "address: (.*)$")
      local alice <close> = start_node()
      local pipe <close> = assert(alice:connect(address))
      pipe:write(("unread"):rep(50000))
      assert.equal("early\n", pipe:read "a")
      pipe:close()
      local status, _, err = finish(child)
      assert.equal(1, status)
      assert.matches("the command ended with exit 3\n$", err)
    end))

    it("lets in whom it was told, by id and by name", task(function()
      local alice <close>, eve = start_node(), start_node()
      local _ <close> = eve
      assert.equal(0, (run("contacts", "add", "alice", alice.id)))
      local child <close> = spawn("listen", "--allow", "alice")
      local address = wait_for(child:stderr(), "address: (.*)$")
      local refused, failure = eve:connect(address, { timeout = 3 })
      if refused then
        local _ <close> = refused
        assert.equal("EACCES", select(3, refused:read "l"))
      else
        assert.is_truthy(failure)
      end
      local pipe <close> = assert(alice:connect(address))
      pipe:write "hello\n"
      assert.equal("hello", child:stdout():read "l")
      pipe:close()
      wait_for(child:stderr(), "pipe with (alice)")
      local status, _, err = run("listen", "--allow", "nobody")
      assert.equal(1, status)
      assert.matches("nobody is neither an address, a node id nor a contact", err)
    end))

    it("lets in connect and ping by the name of their node", task(function()
      local child <close> = spawn("listen", "--name", "bob", "--keep", "--exec", "cat", "--allow",
        id_of "alice")
      local address = wait_for(child:stderr(), "address: (.*)$")
      local status, out, err = run("connect", "--name", "alice", address)
      assert.same({ 0, "", "" }, { status, out, err })
      assert.matches(" with " .. id_of("alice"):sub(1, 8), child:stderr():read "l")
      assert.equal(0, (run("ping", "--name", "alice", "-c", "1", address)))
      assert.equal(2, (run("ping", "--name", "eve", "--timeout", "1", "-c", "1", address)))
      status, out, err = run("connect", "--name", "bob", address)
      assert.same({ 1, "" }, { status, out })
      assert.matches("%-%-force runs another%)", err)
    end))

    -- What a command says on standard error from a line on, until it is interrupted.
    local function said_from(pattern, ...)
      local child <close> = spawn(...)
      local line = wait_for(child:stderr(), pattern)
      child:kill "INT"
      return line .. "\n" .. child:stderr():read "a"
    end

    it("says that the address is for once, where one has to type it", task(function()
      local hint, any = "p2pd: next time the address is another one, unless --name is given\n", "^(.*)$"
      local address, object = "^p2pd: address: [^\n]+\n", '^{"event":"listening","address":[^\n]+}\n'
      assert.matches(address .. hint:gsub("%p", "%%%0") .. "$", said_from(any, "listen"))
      assert.matches(address .. "$", said_from(any, "listen", "--name", "bob"))
      assert.matches(object .. "$", said_from(any, "listen", "--json"))
      assert.matches("^p2pd: on the other side, type:\n[^\n]+\n$", said_from(any, "listen", "--code"))
      assert.equal(hint, said_from("^(p2pd: next.*)$", "expose", "--allow-anybody", "1"))
    end))
  end)

  local CODE = "(%d+%-%a+%-%a+%-%a+)$"
  local CHAT_CODE = "^%*.*p2pd chat " .. CODE

  describe("--code", function()
    it("of listen lets in who types it in connect, and nobody else", task(function()
      local child <close> = spawn("listen", "--code", "--json")
      local address = json.decode(child:stderr():read "l").address
      local code = json.decode(child:stderr():read "l").code
      local eve <close> = spawn("connect", address)
      local status, _, err = finish(eve)
      assert.equal(1, status)
      assert.matches("refused by the peer: not allowed", err)
      local guest <close> = spawn("connect", "-v", " " .. code:upper() .. "\n")
      assert.matches("^p2pd: connected to %w+ by %a+$", guest:stderr():read "l")
      guest:stdin():write "by code\n"
      assert.equal("by code", child:stdout():read "l")
      child:stdin():write "and back\n"
      assert.equal("and back", guest:stdout():read "l")
      guest:stdin():close()
      child:stdin():close()
      assert.equal(0, (finish(child)))
      assert.equal(0, (finish(guest)))
    end))

    it("ends the command when a wrong one was tried, and says so on both sides", task(function()
      local child <close> = spawn("listen", "--code")
      local status, _, err = run("connect", wrong(wait_for(child:stderr(), "p2pd connect " .. CODE)))
      assert.equal(1, status)
      assert.matches("the code is wrong", err)
      status, _, err = finish(child)
      assert.equal(1, status)
      assert.matches("somebody tried a wrong code", err)
    end))

    it("does not end it when others are let in", task(function()
      local alice <close> = start_node()
      local child <close> = spawn("listen", "--code", "--allow", alice.id)
      local address = wait_for(child:stderr(), "address: (.*)$")
      assert.equal(1, (run("connect", wrong(wait_for(child:stderr(), "p2pd connect " .. CODE)))))
      wait_for(child:stderr(), "(somebody tried a wrong code)")
      local pipe <close> = assert(alice:connect(address))
      pipe:write "hello\n"
      assert.equal("hello", child:stdout():read "l")
    end))

    it("fails without a broker, and for what is none", task(function()
      local nobody = helper.settings { brokers = { { host = "127.0.0.1", port = helper.free_port() } } }
      local child <close> = helper.p2pd("listen", "--settings", nobody, "--interface", "lo", "--code")
      local status, _, err = finish(child)
      assert.equal(1, status)
      assert.matches("broker", err)
      for _, command in ipairs { "connect", "ping" } do
        assert.matches('is it "amber"%?', select(3, run(command, "4-ambre-canoe-violin")))
      end
      assert.matches('is it "amber"%?', select(3, run("forward", "0", "4-ambre-canoe-violin")))
      local _, _, said = run("listen", "--allow", "4-amber-canoe-violin")
      assert.matches("is a code: it tells nobody's id", said)
    end))
  end)

  -- A service that answers each connection by what it has received, behind a greeting.
  local function serve_shout(place)
    local listener = assert(p2pd.tcp.listen(place or 0))
    p2pd.spawn(function()
      for stream in listener:streams() do
        p2pd.spawn(function()
          local accepted <close> = stream
          accepted:write "hello\n"
          accepted:write((accepted:read "a"):upper())
        end)
      end
    end)
    return listener, place or "127.0.0.1:" .. select(2, listener:getsockname())
  end

  local function ask(place, text)
    local stream <close> = assert(p2pd.tcp.connect(place, { timeout = WAIT }))
    stream:settimeout(WAIT)
    assert.equal("hello", stream:read "l")
    stream:write(text)
    stream:shutdown()
    return stream:read "a"
  end

  local function spawn_pair(services, forward, ...)
    local exposing = spawn("expose", "--allow", id_of "me", table.unpack(services))
    local address = wait_for(exposing:stdout(), "^address: (.*)$")
    local arguments = { ... }
    table.insert(arguments, forward)
    table.insert(arguments, address .. (arguments.service or ""))
    local forwarding = spawn("forward", "--name", "me", table.unpack(arguments))
    local place = wait_for(forwarding:stdout(), "^listening: (.*)$")
    return exposing, forwarding, place, address
  end

  describe("forward", function()
    it("carries connections to what a peer exposes", task(function()
      check_help("forward", { "--socks", "--name", "--force", "--json", "-v" })
      check_help("expose", { "--name", "--force", "--port", "--no-port-mapping", "--allow",
        "--code", "--allow-anybody", "--json" })
      local service <close>, target = serve_shout()
      local exposing <close>, forwarding, place = spawn_pair({ target }, "0", "-v")
      local _ <close> = forwarding
      assert.equal(("QUESTION"):rep(100000), ask(place, ("question"):rep(100000)))
      assert.is_truthy(service)
      wait_for(exposing:stderr(), ": (the first service: end: 800000 bytes received, 800006 sent)$")
      wait_for(forwarding:stderr(), "(connection end: 800006 bytes received, 800000 sent)$")
    end))

    it("goes to who has shown a code, and to a service behind it", task(function()
      local service <close>, target = serve_shout()
      local exposing <close> = spawn("expose", "--code", "dead=127.0.0.1:1", "shout=" .. target)
      local code = wait_for(exposing:stderr(), "p2pd forward PORT " .. CODE)
      local forwarding <close> = spawn("forward", "0", code .. ":shout")
      assert.equal("X", ask(wait_for(forwarding:stdout(), "^listening: (.*)$"), "x"))
      assert.is_truthy(service)
      exposing:kill "INT"
      assert.equal("", exposing:stdout():read "a") -- nobody has to type its address
    end))

    it("says that the path to the peer is gone, and that the peer has vanished", task(function()
      local listener <close> = assert(p2pd.tcp.listen(0))
      local target = "127.0.0.1:" .. select(2, listener:getsockname())
      local exposing <close>, forwarding, place = spawn_pair({ target }, "0", "--resume", "1")
      local _ <close> = forwarding
      local client <close> = assert(p2pd.tcp.connect(place))
      client:settimeout(WAIT)
      local served <close> = assert(listener:accept(WAIT))
      served:write "hello\n"
      assert.equal("hello", client:read "l")
      exposing:kill "KILL"
      wait_for(forwarding:stderr(), "(the path to the peer is gone: looking for another)$")
      wait_for(forwarding:stderr(), "connection end: [^(]* 0 sent, [^(]*peer (vanished)[^(]*$")
      assert.equal("ECONNRESET", select(3, client:read "l"))
    end))

    it("carries many at a time", task(function()
      local service <close>, target = serve_shout()
      local exposing <close>, forwarding, place = spawn_pair({ target }, "0")
      local _ <close> = forwarding
      local asking = {}
      for i = 1, 8 do asking[i] = p2pd.spawn(ask, place, "x" .. i) end
      for i = 1, 8 do assert.equal("X" .. i, (asking[i]:join(WAIT))) end
      assert.is_truthy(service and exposing)
    end))

    it("goes by names, and from and to unix sockets", task(function()
      local service <close>, target = serve_shout(folder .. "/service")
      local exposing <close>, first, _, address = spawn_pair({ "dead=127.0.0.1:1", "shout=" .. target }, "0")
      first:kill()
      first:wait(WAIT)
      first:close()
      local socket = folder .. "/local"
      local forwarding <close> = spawn("forward", "--name", "me2", socket, address .. ":shout")
      assert.is_truthy(service and exposing)
      wait_for(forwarding:stdout(), "^listening: (.*)$")
      local refused <close> = assert(p2pd.tcp.connect(socket))
      refused:settimeout(WAIT)
      assert.is_nil((refused:read "l")) -- me2 is not allowed
      wait_for(forwarding:stderr(), "(connection refused)")
      local allowed <close> = spawn("forward", "--name", "me", folder .. "/other", address .. ":shout")
      wait_for(allowed:stdout(), "^listening: (.*)$")
      assert.equal("X", ask(folder .. "/other", "x"))
    end))

    it("tells refusals, and resets who has connected", task(function()
      local dead = "127.0.0.1:" .. helper.free_port()
      local exposing <close>, forwarding, place = spawn_pair({ dead }, "0")
      local _ <close> = forwarding
      local stream <close> = assert(p2pd.tcp.connect(place))
      stream:settimeout(WAIT)
      assert.equal("ECONNRESET", select(3, stream:read "l"))
      wait_for(forwarding:stderr(), "refused by the peer: connect to 127.0.0.1 port %d+: (Connection)")
      wait_for(exposing:stderr(), "refused, connect to 127.0.0.1 port %d+: (Connection)")
    end))

    it("is a SOCKS5 proxy to what is exposed, by place and by name, and to nothing else", task(function()
      local service <close>, target = serve_shout()
      local exposing <close>, forwarding, place = spawn_pair({ "shout=" .. target }, "0", "--socks")
      local _ <close> = forwarding
      assert.is_truthy(service and exposing)
      local function connect(request)
        local stream = assert(p2pd.tcp.connect(place))
        stream:settimeout(WAIT)
        stream:write "\5\1\0"
        assert.equal("\5\0", stream:read(2))
        stream:write("\5\1\0", request)
        return stream, (stream:read(10) or ""):byte(2)
      end
      local port = tonumber(target:match ":(%d+)$")
      for _, request in ipairs { string.pack(">BBBBBI2", 1, 127, 0, 0, 1, port),
          string.pack(">Bs1I2", 3, "shout", 80) } do
        local stream <close>, reply = connect(request)
        assert.equal(0, reply)
        stream:write "x"
        stream:shutdown()
        assert.equal("hello\nX", stream:read "a")
      end
      local other <close>, reply = connect(string.pack(">BBBBBI2", 1, 127, 0, 0, 1, 1))
      assert.equal(2, reply)
      assert.is_truthy(other)
      local bound <close> = assert(p2pd.tcp.connect(place))
      bound:settimeout(WAIT)
      bound:write "\5\1\0\5\2\0\1\127\0\0\1\0\80" -- BIND
      assert.equal("\5\0\5\7", bound:read(4))
      local lonely <close> = assert(p2pd.tcp.connect(place))
      lonely:settimeout(WAIT)
      lonely:write "\5\1\2"
      assert.equal("\5\255", lonely:read(2))
    end))

    it("says what is wrong before it starts", task(function()
      assert.equal(2, (run("expose", "127.0.0.1:1")))
      assert.matches("say who may connect", select(3, run("expose", "127.0.0.1:1")))
      assert.matches('"nothing" is neither HOST:PORT nor a path',
        select(3, run("expose", "--allow-anybody", "nothing")))
      assert.matches("neither an address, a node id nor a contact", select(3, run("forward", "0", "nobody")))
      assert.matches("neither HOST:PORT nor a path", select(3, run("forward", "http", id_of "x")))
    end))
  end)

  describe("chat", function()
    it("brings lines to everybody who is there, with names", task(function()
      check_help("chat", { "--nick", "--name", "--allow", "--code" })
      local bob <close> = spawn("chat", "--nick", "bob")
      local address = wait_for(bob:stdout(), "^address: (.*)$")
      local alice <close> = spawn("chat", "--nick", "alice", address)
      wait_for(bob:stdout(), "^%* (alice)~.... is here %(direct%)")
      local carol <close> = spawn("chat", "--nick", "carol\27[2J", address)
      wait_for(bob:stdout(), "^%* (carol%?%[2J)~.... is here")
      for _, one in ipairs { alice, carol } do wait_for(one:stdout(), "^%* (bob)~.... is here") end
      bob:stdin():write "hello all\n/who\n"
      for _, one in ipairs { alice, carol } do wait_for(one:stdout(), "^bob~....: (hello all)$") end
      wait_for(bob:stdout(), "^%* here: (bob, alice~...., carol.*)$")
      alice:stdin():write "bell\a\n/name Alice\n"
      wait_for(bob:stdout(), "^alice~....: (bell%?)$")
      wait_for(bob:stdout(), "^%* alice~.... is now (Alice)")
      alice:stdin():write "/quit\n"
      assert.same({ "exit", 0 }, { alice:wait(WAIT) })
      wait_for(bob:stdout(), "^%* (Alice)~.... has left$")
      carol:kill "INT"
      wait_for(bob:stdout(), "^%* (carol).* has left: hung up")
      bob:stdin():write "anybody?\n"
      wait_for(bob:stdout(), "^%* (nobody is here)$")
      bob:stdin():close()
      assert.equal(0, (finish(bob)))
    end))

    it("says that somebody's path is gone, and that he has left for good", task(function()
      local bob <close> = spawn("chat", "--nick", "bob", "--resume", "1")
      local alice <close> = spawn("chat", "--nick", "alice", wait_for(bob:stdout(), "^address: (.*)$"))
      wait_for(bob:stdout(), "^%* (alice)~.... is here")
      alice:kill "KILL"
      wait_for(bob:stdout(), "^%* the path to (alice)~.... is gone: looking for another$")
      wait_for(bob:stdout(), "^%* (alice)~.... has left: the peer vanished")
    end))

    it("is joined by a code, and by another one of /code", task(function()
      local bob <close> = spawn("chat", "--nick", "bob", "--code")
      local first = bob:stdout():read "l"
      assert.not_matches("address:", first, 1, true)
      local alice <close> = spawn("chat", "--nick", "alice",
        first:match(CHAT_CODE) or wait_for(bob:stdout(), CHAT_CODE))
      wait_for(bob:stdout(), "^%* (alice)~.... is here")
      bob:stdin():write "/code\n"
      local carol <close> = spawn("chat", "--nick", "carol", wait_for(bob:stdout(), CHAT_CODE))
      wait_for(bob:stdout(), "^%* (carol)~.... is here")
      bob:stdin():write "/code\n"
      local eve <close> = spawn("chat", wrong(wait_for(bob:stdout(), CHAT_CODE)))
      wait_for(eve:stdout(), "(the code is wrong)")
      wait_for(bob:stdout(), "^%* (somebody tried a wrong code)")
      bob:stdin():write "/nonsense\n"
      wait_for(bob:stdout(), "^%* (/who, /name NAME, /code, /quit)$")
      assert.is_truthy(alice and carol)
    end))

    it("shows what arrives above the line that one types", task(function()
      local bob <close> = spawn("chat", "--nick", "bob")
      local address = wait_for(bob:stdout(), "^address: (.*)$")
      local program = os.getenv "P2PD_EXE" or "./p2pd"
      local alice <close> = assert(core.process.spawn { "script", "-qfec",
        ("%s chat --settings %s --interface lo --nick alice '%s'"):format(program, world.path, address),
        "/dev/null", stdin = "pipe", stdout = "pipe" })
      alice:stdout():settimeout(WAIT)
      wait_for(alice:stdout(), "%* (bob)~.... is here")
      wait_for(bob:stdout(), "%* (alice)~.... is here")
      alice:stdin():write "half a li"
      local drawn = ""
      repeat drawn = drawn .. assert(alice:stdout():recv()) until drawn:find "half a li"
      bob:stdin():write "interrupting\n"
      wait_for(alice:stdout(), "bob~....: (interrupting)\r?$")
      alice:stdin():write "ne\r"
      wait_for(bob:stdout(), "^alice~....: (half a line)$")
      alice:stdin():write "\4" -- Ctrl-D
      wait_for(bob:stdout(), "alice~.... (has left)$")
      assert.same({ "exit", 0 }, { alice:wait(WAIT) })
    end))

    it("lists two who call each other at the same time once", task(function()
      local names = { "one", "two" }
      local chats, heard, closing = {}, { {}, {} }, p2pd.condition()
      local chat = require "p2pd.chat"
      local one <close> = start_node { protocols = { chat.PROTOCOL } }
      local two <close> = start_node { protocols = { chat.PROTOCOL } }
      local tasks <close> = require("p2pd.task").group()
      for i, node in ipairs { one, two } do
        chats[i] = chat.new(node, { name = names[i], on_event = function(kind, _, what)
          table.insert(heard[i], kind == "said" and what or kind)
          closing:broadcast()
        end })
        tasks:spawn(chats[i].serve, chats[i])
      end
      tasks:spawn(chats[1].call, chats[1], two.address)
      tasks:spawn(chats[2].call, chats[2], one.address)
      local function count(i)
        local n = 0
        for _ in pairs(chats[i].members) do n = n + 1 end
        return n
      end
      helper.wait_until(function() return count(1) == 2 and count(2) == 2 end)
      chats[1]:say "hello"
      chats[2]:say "hello"
      chats[1]:say "again"
      helper.wait_until(function() return #heard[1] == 2 and #heard[2] == 3 end)
      assert.same({ { "joined", "hello" }, { "joined", "hello", "again" }, 1, 1 },
        { heard[1], heard[2], #chats[1]:who(), #chats[2]:who() })
    end))

    it("calls people by the names of contacts, and says who does not answer", task(function()
      local bob <close> = spawn("chat", "--nick", "bob", "--name", "bob")
      wait_for(bob:stdout(), "^address: (.*)$")
      assert.equal(0, (run("contacts", "add", "robert", "0-0-0-" .. id_of "bob")))
      local alice <close> = spawn("chat", "robert", "nobody")
      wait_for(alice:stdout(), "^%* nobody: (nobody is neither)")
      wait_for(alice:stdout(), "^%* (robert) is here")
    end))
  end)
end)
