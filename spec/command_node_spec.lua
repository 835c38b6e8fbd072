-- The command node.
local address = require "p2pd.address"
local commands = require "spec.commands"
local core = require "p2pd.core"
local helper = require "spec.helper"
local task = helper.task

describe("the command", function()
  local world = commands.world(setup, teardown, before_each)

  describe("node", function()
    it("tells its address and each pipe", task(function()
      local child <close>, text = world:spawn_echo()
      local alice <close> = world:start()
      local pipe <close> = assert(alice:connect(text, { strategies = { "reverse" } }))
      assert.equal(("pipe: reverse %s %s"):format(pipe:info()["local"], alice.id), child:stdout():read "l")
    end))

    it("refuses a name that is in use here, unless it is forced", task(function()
      local env = { XDG_DATA_HOME = helper.scratch() }
      local first <close> = world:spawn("node", "--name", "alice", { env = env })
      local id = assert(address.parse((first:stdout():read "l"):match "^address: (.*)")).node_id
      local status, out, err = world:run("node", "--name", "alice", { env = env })
      assert.same({ 1, "" }, { status, out })
      assert.equal(("p2pd: a node named alice is running already: key file %s/p2pd/alice.key is locked by "
        .. "process %d (--force runs another)\n"):format(env.XDG_DATA_HOME, first:pid()), err)
      for _, arguments in ipairs { { "--name", "bob" }, { "--name", "alice", "--force" }, {} } do
        arguments[#arguments + 1] = { env = env }
        local other <close> = world:spawn("node", table.unpack(arguments))
        local other_id = address.parse((other:stdout():read "l"):match "^address: (.*)").node_id
        assert.equal(arguments[3] == "--force", other_id == id)
      end
    end))

    it("says what becomes of the bytes that it does not send back", task(function()
      local child <close> = world:spawn "node"
      local text = child:stdout():read("l"):match "^address: (.*)"
      assert.matches("^p2pd: what peers send is thrown away", child:stderr():read "l")
      assert.matches("^p2pd: next time the address is another one", child:stderr():read "l")
      local alice <close> = world:start()
      local pipe <close> = assert(alice:connect(text))
      pipe:write "seven\r\n"
      pipe:close()
      assert.equal(("p2pd: %s: the pipe has ended, 7 bytes were thrown away"):format(alice.id),
        child:stderr():read "l")
    end))

    it("says what is wrong", task(function()
      local status, out, err = world:run("node", { settings = "/no/such/file" })
      assert.same({ 1, "" }, { status, out })
      assert.matches("^p2pd: /no/such/file: No such file", err)
      local alice <close> = world:start()
      local taken = tostring(address.parse(alice.address).ipv4[1].port)
      status, out, err = world:run("node", "--port", taken)
      assert.same({ 1, "" }, { status, out })
      assert.matches("Address already in use", err)
    end))

    it("ends with 130 at SIGINT while it starts with dead servers", task(function()
      local socket <close> = assert(core.udp.bind { ip = "127.0.0.1" })
      local silent = { host = "127.0.0.1", port = select(2, socket:getsockname()) }
      local dead = { host = "127.0.0.1", port = helper.free_port() }
      local poor = helper.settings { brokers = { dead }, stuns = { silent } }
      local child <close> = world:spawn("node", { settings = poor })
      socket:recvfrom(commands.WAIT)
      commands.check_interrupted(child)
      assert.equal("", child:stdout():read "a")
    end))

    it("ends with 130 at SIGINT while it waits, and its pipes end", task(function()
      local child <close>, text = world:spawn_echo()
      local alice <close> = world:start()
      local pipe <close> = assert(alice:connect(text))
      pipe:settimeout(commands.WAIT)
      pipe:write "hello\n"
      assert.equal("hello", pipe:read "l")
      commands.check_interrupted(child)
      assert.is_nil((pipe:read "l"))
    end))
  end)
end)
