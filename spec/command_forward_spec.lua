-- The commands expose and forward: services of a peer as local ones.
local commands = require "spec.commands"
local helper = require "spec.helper"
local p2pd = require "p2pd"
local task, wait_for = helper.task, commands.wait_for

describe("the command", function()
  local world = commands.world(setup, teardown, before_each)

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
    local stream <close> = assert(p2pd.tcp.connect(place, { timeout = commands.WAIT }))
    stream:settimeout(commands.WAIT)
    assert.equal("hello", stream:read "l")
    stream:write(text)
    stream:shutdown()
    return stream:read "a"
  end

  local function spawn_pair(services, forward, ...)
    local exposing = world:spawn("expose", "--allow", world:id_of "me", table.unpack(services))
    local address = wait_for(exposing:stdout(), "^address: (.*)$")
    local arguments = { ... }
    table.insert(arguments, forward)
    table.insert(arguments, address .. (arguments.service or ""))
    local forwarding = world:spawn("forward", "--name", "me", table.unpack(arguments))
    local place = wait_for(forwarding:stdout(), "^listening: (.*)$")
    return exposing, forwarding, place, address
  end

  describe("forward", function()
    it("carries connections to what a peer exposes", task(function()
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
      local exposing <close> = world:spawn("expose", "--code", "dead=127.0.0.1:1", "shout=" .. target)
      local code = wait_for(exposing:stderr(), "p2pd forward PORT " .. commands.CODE)
      local forwarding <close> = world:spawn("forward", "0", code .. ":shout")
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
      client:settimeout(commands.WAIT)
      local served <close> = assert(listener:accept(commands.WAIT))
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
      for i = 1, 8 do assert.equal("X" .. i, (asking[i]:join(commands.WAIT))) end
      assert.is_truthy(service and exposing)
    end))

    it("goes by names, and from and to unix sockets", task(function()
      local service <close>, target = serve_shout(world.folder .. "/service")
      local exposing <close>, first, _, address = spawn_pair({ "dead=127.0.0.1:1", "shout=" .. target }, "0")
      first:kill()
      first:wait(commands.WAIT)
      first:close()
      local socket = world.folder .. "/local"
      local forwarding <close> = world:spawn("forward", "--name", "me2", socket, address .. ":shout")
      assert.is_truthy(service and exposing)
      wait_for(forwarding:stdout(), "^listening: (.*)$")
      local refused <close> = assert(p2pd.tcp.connect(socket))
      refused:settimeout(commands.WAIT)
      assert.is_nil((refused:read "l")) -- me2 is not allowed
      wait_for(forwarding:stderr(), "(connection refused)")
      local allowed <close> = world:spawn("forward", "--name", "me", world.folder .. "/other",
        address .. ":shout")
      wait_for(allowed:stdout(), "^listening: (.*)$")
      assert.equal("X", ask(world.folder .. "/other", "x"))
    end))

    it("tells refusals, and resets who has connected", task(function()
      local dead = "127.0.0.1:" .. helper.free_port()
      local exposing <close>, forwarding, place = spawn_pair({ dead }, "0")
      local _ <close> = forwarding
      local stream <close> = assert(p2pd.tcp.connect(place))
      stream:settimeout(commands.WAIT)
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
        stream:settimeout(commands.WAIT)
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
      bound:settimeout(commands.WAIT)
      bound:write "\5\1\0\5\2\0\1\127\0\0\1\0\80" -- BIND
      assert.equal("\5\0\5\7", bound:read(4))
      local lonely <close> = assert(p2pd.tcp.connect(place))
      lonely:settimeout(commands.WAIT)
      lonely:write "\5\1\2"
      assert.equal("\5\255", lonely:read(2))
    end))

    it("says what is wrong before it starts", task(function()
      assert.equal(2, (world:run("expose", "127.0.0.1:1")))
      assert.matches("say who may connect", select(3, world:run("expose", "127.0.0.1:1")))
      assert.matches('"nothing" is neither HOST:PORT nor a path',
        select(3, world:run("expose", "--allow-anybody", "nothing")))
      assert.matches("neither an address, a node id nor a contact",
        select(3, world:run("forward", "0", "nobody")))
      assert.matches("neither HOST:PORT nor a path", select(3, world:run("forward", "http", world:id_of "x")))
    end))
  end)
end)
