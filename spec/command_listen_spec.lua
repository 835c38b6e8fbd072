-- The command listen: a peer's pipe as standard input and output, or a command for each pipe.
local commands = require "spec.commands"
local core = require "p2pd.core"
local helper = require "spec.helper"
local json = require "dkjson"
local task, finish, wait_for = helper.task, commands.finish, commands.wait_for

describe("the command", function()
  local world = commands.world(setup, teardown, before_each)

  describe("listen", function()
    it("makes a pipe standard input and output, and says so", task(function()
      local child <close> = world:spawn "listen"
      local address = wait_for(child:stderr(), "address: (.*)$")
      local alice <close> = world:start()
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
      local file = helper.write(world.folder .. "/in", ("x"):rep(3000000))
      local child <close> = assert(core.process.spawn { "sh", "-c", 'exec "$0" listen --settings "$1" '
        .. '--interface lo <"$2"', helper.executable(), world.path, file, stdout = "pipe",
        stderr = "pipe" })
      local address = wait_for(child:stderr(), "address: (.*)$")
      local alice <close> = world:start()
      local pipe <close> = assert(alice:connect(address))
      pipe:shutdown()
      assert.equal(3000000, #pipe:read "a")
      assert.equal(0, (finish(child)))
    end))

    it("takes one pipe after the other on standard output", task(function()
      local child <close> = world:spawn("listen", "--keep")
      local address = wait_for(child:stderr(), "address: (.*)$")
      local alice <close> = world:start()
      for i = 1, 3 do
        local pipe <close> = assert(alice:connect(address))
        pipe:write(i, "\n")
        pipe:shutdown()
        assert.equal(tostring(i), child:stdout():read "l")
        wait_for(child:stderr(), "pipe with .* ended: (2) bytes received, 0 sent$")
      end
    end))

    it("breaks the pipe off when it is interrupted", task(function()
      local child <close> = world:spawn "listen"
      local address = wait_for(child:stderr(), "address: (.*)$")
      local dialer <close> = world:spawn("connect", address)
      dialer:stdin():write "half of it\n"
      assert.equal("half of it", child:stdout():read "l")
      dialer:kill "INT"
      local status, _, err = finish(child)
      assert.equal(1, status)
      assert.matches("ended: 11 bytes received, 0 sent, the peer broke off\n$", err)
    end))

    it("runs a command for each pipe", task(function()
      local child <close> = world:spawn("listen", "--keep", "--json", "--exec", "tr a-z A-Z; echo $P2PD_PEER")
      local address = assert(json.decode(child:stderr():read "l")).address
      local alice <close> = world:start()
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
      local child <close> = world:spawn("listen", "--exec", "echo early; exit 3")
      local address = wait_for(child:stderr(), "address: (.*)$")
      local alice <close> = world:start()
      local pipe <close> = assert(alice:connect(address))
      pipe:write(("unread"):rep(50000))
      assert.equal("early\n", pipe:read "a")
      pipe:close()
      local status, _, err = finish(child)
      assert.equal(1, status)
      assert.matches("the command ended with exit 3\n$", err)
    end))

    it("lets in whom it was told, by id and by name", task(function()
      local alice <close>, eve = world:start(), world:start()
      local _ <close> = eve
      assert.equal(0, (world:run("contacts", "add", "alice", alice.id)))
      local child <close> = world:spawn("listen", "--allow", "alice")
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
      local status, _, err = world:run("listen", "--allow", "nobody")
      assert.equal(1, status)
      assert.matches("nobody is neither an address, a node id nor a contact", err)
    end))

    it("lets in connect and ping by the name of their node", task(function()
      local child <close> = world:spawn("listen", "--name", "bob", "--keep", "--exec", "cat", "--allow",
        world:id_of "alice")
      local address = wait_for(child:stderr(), "address: (.*)$")
      local status, out, err = world:run("connect", "--name", "alice", address)
      assert.same({ 0, "", "" }, { status, out, err })
      assert.matches(" with " .. world:id_of("alice"):sub(1, 8), child:stderr():read "l")
      assert.equal(0, (world:run("ping", "--name", "alice", "-c", "1", address)))
      assert.equal(2, (world:run("ping", "--name", "eve", "--timeout", "1", "-c", "1", address)))
      status, out, err = world:run("connect", "--name", "bob", address)
      assert.same({ 1, "" }, { status, out })
      assert.matches("%-%-force runs another%)", err)
    end))

    -- What a command says on standard error from a line on, until it is interrupted.
    local function said_from(pattern, ...)
      local child <close> = world:spawn(...)
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
end)
