local cli = require "p2pd.cli"
local core = require "p2pd.core"
local helper = require "spec.helper"
local task = helper.task

-- What a function writes to stderr as cli.say does, and what it returns.
local function listen(fn)
  local said, real = {}, io.stderr
  io.stderr = { write = function(_, ...) said[#said + 1] = table.concat { ... } end } -- luacheck: ignore 122
  local results = table.pack(pcall(fn))
  io.stderr = real -- luacheck: ignore 122
  assert(results[1], results[2])
  return table.concat(said), table.unpack(results, 2, results.n)
end

describe("p2pd.cli", function()
  it("lists its commands, sorted, each with a script and a summary", function()
    local last = ""
    for _, command in ipairs(cli.commands()) do
      assert.is_true(command.name > last)
      assert.is_true(#command.summary > 10)
      assert(loadfile("scripts/" .. command.name .. ".lua"))
      last = command.name
    end
  end)

  it("says that a script is missing", function()
    assert.error_matches(function() cli.main("no-such-command", {}) end,
      'the script of the command "no%-such%-command" is missing')
  end)

  describe("parser_of()", function()
    it("gives the parser of each command, and runs none", function()
      for _, command in ipairs(cli.commands()) do
        assert.matches("Usage: p2pd " .. command.name, cli.parser_of(command.name):get_help(), 1, true)
      end
    end)

    it("leaves parse() as it was, also when there is no such command", function()
      cli.parser_of "id"
      assert.is_false(pcall(cli.parser_of, "no-such-command"))
      assert.same({}, cli.parse(cli.parser("try", "Try.")))
    end)
  end)

  describe("say()", function()
    it("writes a line", function()
      assert.equal("p2pd: 7 of 9\n", (listen(function() cli.say("%d of %d", 7, 9) end)))
    end)

    it("fits a terminal, but for what has to be copied whole", function()
      local is_terminal = stub(core.editline, "is_terminal", true)
      local words, address = ("word "):rep(30), ("x"):rep(90)
      local wrapped = listen(function() cli.say("%s", words) end)
      local whole = listen(function() cli.say("address: %s", address) end)
      is_terminal:revert()
      local lines = {}
      for line in wrapped:gmatch "[^\n]+" do lines[#lines + 1] = line end
      assert.same({ 2, true, true }, { #lines, #lines[1] <= 80, lines[2]:find "^      word" ~= nil })
      assert.equal("p2pd: address: " .. address .. "\n", whole)
    end)

    it("is whole where programs read it", function()
      local is_terminal = stub(core.editline, "is_terminal", false)
      local said = listen(function() cli.say("%s", ("word "):rep(30)) end)
      is_terminal:revert()
      assert.equal("p2pd: " .. ("word "):rep(30) .. "\n", said)
    end)
  end)

  describe("tell_if_once()", function()
    it("warns of an address that is for once", function()
      local said = {}
      local function say(line) said[#said + 1] = line end
      cli.tell_if_once({ name = "bob" }, say)
      cli.tell_if_once({}, say)
      assert.same({ "next time the address is another one, unless --name is given" }, said)
    end)
  end)

  describe("parse()", function()
    local function parser()
      local result = cli.add_node_options(cli.parser("try", "Try."))
      result:argument "address"
      result:option("--port"):convert(cli.port)
      return result
    end

    it("gives what was given", function()
      local args = cli.parse(parser(), "me", "--port", "7", "--settings", "f", "--interface", "a",
        "--interface", "b")
      assert.same({ "me", 7, "f", { "a", "b" } }, { args.address, args.port, args.settings, args.interface })
      assert.same({ port = 7, settings = "f", interfaces = { "a", "b" } }, cli.node_options(args))
    end)

    it("leaves out what was not given", function()
      assert.same({}, cli.node_options(cli.parse(parser(), "me")))
    end)

    it("knows whose key a node has, and who may come", function()
      local one = cli.add_acceptor_options(cli.add_node_options(cli.parser("try", "Try.")))
      local args = cli.parse(one, "--name", "alice", "--force", "--port", "0", "--no-port-mapping")
      assert.same({ name = "alice", force = true, port = 0, port_mapping = false }, cli.node_options(args))
      assert.same({}, cli.node_options((cli.parse(one))))
    end)

    it("has nothing of a node where only the network is looked at", function()
      local one = cli.add_network_options(cli.parser("try", "Try."))
      local said, args = listen(function() return cli.parse(one, "--name", "alice") end)
      assert.is_nil(args)
      assert.matches("unknown option '%-%-name'", said)
    end)

    it("shows the usage and what is wrong", function()
      for _, case in ipairs {
        { {}, "missing argument 'address'" },
        { { "me", "you" }, "too many arguments" },
        { { "me", "--fast" }, "unknown option '--fast'" },
        { { "me", "--port" }, "option '--port' requires an argument" },
        { { "me", "--port", "http" }, "http is not a port from 0 to 65535" },
      } do
        local said, args, status = listen(function() return cli.parse(parser(), table.unpack(case[1])) end)
        assert.is_nil(args)
        assert.equal(cli.USAGE, status)
        assert.matches("Usage: p2pd try", said, 1, true)
        assert.matches(case[2], said, 1, true)
      end
    end)
  end)

  describe("its converters", function()
    local function check(convert, good, bad)
      return function()
        for text, value in pairs(good) do assert.same(value, convert(text)) end
        for _, text in ipairs(bad) do
          local value, reason = convert(text)
          assert.is_nil(value)
          assert.is_string(reason)
        end
      end
    end

    it("take ports", check(cli.port, { ["0"] = 0, ["65535"] = 65535 }, { "", "-1", "65536", "1.5", "x" }))
    it("take seconds", check(cli.seconds, { ["0.5"] = 0.5, ["20"] = 20 },
      { "0", "-1", "soon", "1e999", "nan" }))
    it("take counts", check(cli.count, { ["1"] = 1, ["40"] = 40 }, { "0", "-1", "1.5", "some" }))
    it("take places", check(cli.place, { ["127.0.0.1:0"] = { ip = "127.0.0.1", port = 0 },
      ["[::1]:80"] = { ip = "::1", port = 80 } }, { "", "80", "localhost:80", "127.0.0.1:65536" }))
    it("take strategies", check(cli.strategies,
      { direct = { "direct" }, ["reverse,direct"] = { "reverse", "direct" } },
      { "", ",", "teleport", "direct,teleport", "string" }))
  end)

  describe("find_peer()", function()
    local function find(text)
      local path = helper.settings { brokers = { { host = "127.0.0.1", port = 1 } }, stuns = {} }
      return listen(function() return cli.find_peer { peer = text, settings = path } end)
    end

    it("gives an address, a name and the settings", function()
      local id = core.keys.generate():id()
      local said, found, settings = find(" " .. id .. "\n")
      assert.same({ "", "0-0-0-" .. id, id }, { said, found.address, found:called() })
      assert.equal(1, settings.mqtt[1].port)
    end)

    it("says what is wrong", function()
      local said, address = find "bob"
      assert.same({ "p2pd: bob is neither an address, a node id nor a contact\n" }, { said, address })
      said, address = listen(function() return cli.find_peer { peer = "bob", settings = "/no/such" } end)
      assert.is_nil(address)
      assert.matches("/no/such: No such file", said)
    end)
  end)

  it("describe_end() tells a peer that vanished from one that refuses", function()
    assert.equal("the peer vanished (reset)", cli.describe_end("reset", "ECONNRESET"))
    assert.equal("refused by the peer", cli.describe_end("refused by the peer", "EACCES"))
    local long = "read: the peer vanished: no path for 60 s (no connection to X (direct: no answer))"
    assert.equal("the peer vanished: no path for 60 s", cli.describe_end(long, "ETIMEDOUT"))
    assert.equal("the peer broke off", cli.describe_end("read: the peer has reset the stream", "ECONNRESET"))
    assert.equal("anything else (no connection)", cli.shorten "anything else (no connection)")
  end)

  it("is_directory() knows one", function()
    assert.is_false(cli.is_directory(99))
    for from, is_one in pairs { ["/"] = "true", ["/dev/null"] = "false" } do
      local child = assert(io.popen(("%s -e 'print(require(\"p2pd.cli\").is_directory(0))' <%s"):format(
        os.getenv "P2PD_EXE" or "p2pd", from)))
      assert.equal(is_one, child:read "l")
      child:close()
    end
  end)

  describe("program()", function()
    it("is what the environment says, in plain Lua", function()
      assert.equal(os.getenv "P2PD_EXE" or "p2pd", cli.program())
    end)
  end)

  describe("standard_stream()", function()
    it("leaves the descriptor open", task(function()
      local before = core.live()
      local stream = cli.standard_stream(1)
      stream:close()
      assert.is_true(core.live() >= before)
      assert(io.stdout:write(""))
    end))
  end)
end)
