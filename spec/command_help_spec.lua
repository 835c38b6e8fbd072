-- What commands say of themselves: --help, and what a wrong option gets.
local cli = require "p2pd.cli"
local commands = require "spec.commands"
local helper = require "spec.helper"
local task = helper.task

describe("the command", function()
  describe("--help", function()
    local OPTIONS = {
      chat = { "--nick", "--name", "--allow", "--code" },
      contacts = { "add", "remove", "list" },
      expose = { "--name", "--force", "--port", "--no-port-mapping", "--allow", "--code", "--allow-anybody",
        "--json" },
      forward = { "--socks", "--name", "--force", "--json", "-v" },
      listen = { "--name", "--force", "--port", "--no-port-mapping", "--once", "--keep", "--exec", "--allow",
        "--code", "--json" },
      node = { "--settings", "--interface", "--name", "--force", "--port", "--no-port-mapping",
        "--echo" },
      serve = { "--settings", "--interface", "--name", "--force", "--port", "--no-port-mapping", "--http",
        "--http-socket", "--http-host", "--token-file", "--allow-null-origin", "--files", "--take-files" },
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
        assert.same({ "exit", 0 }, { child:wait(commands.WAIT) })
      end))
    end

    it("has 80 columns", task(function()
      for _, command in ipairs(cli.commands()) do
        local child <close> = helper.p2pd(command.name, "--help")
        for line in child:stdout():read("a"):gmatch "[^\n]*" do assert.is_true(#line <= 80, line) end
        child:wait(commands.WAIT)
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
        assert.same({ "exit", 2 }, { child:wait(commands.WAIT) })
      end
    end))
  end)
end)
