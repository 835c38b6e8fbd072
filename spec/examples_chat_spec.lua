-- The chat in examples/, as a user would run it: under the executable and under plain Lua.
local core = require "p2pd.core"
local helper = require "spec.helper"

local WAIT_S = 10

describe("the example chat", function()
  local env

  setup(function()
    env = { P2PD_SETTINGS = helper.settings { brokers = { helper.mosquitto {} } }, P2PD_LOG = "error" }
  end)

  teardown(helper.close_all)

  local function start(program, ...)
    local child = program == "p2pd" and helper.p2pd { env = env, "examples/chat.lua", ... }
      or assert(core.process.spawn { stdin = "pipe", stdout = "pipe", stderr = "pipe", env = env, "lua5.4",
        "examples/chat.lua", ... })
    child:stdout():settimeout(WAIT_S)
    return child
  end

  local function hear(child) return (assert(child:stdout():read "l")) end

  it("is for more than two, and who leaves has left", helper.task(function()
    local host <close> = start("lua5.4", "Hans")
    local address = hear(host)
    local one <close> = start("p2pd", "Ada", address)
    assert.equal("* Hans is here, by direct", hear(one))
    assert.equal("* Ada is here, by direct", hear(host))
    local two <close> = start("p2pd", "Bob", address, "direct")
    assert.equal("* Hans is here, by direct", hear(two))
    assert.equal("* Bob is here, by direct", hear(host))
    one:stdin():write "hello\27\nworld\n"
    for _, child in ipairs { host, two } do
      assert.equal("Ada: hello?", hear(child))
      assert.equal("Ada: world", hear(child))
    end
    host:stdin():write "welcome\n"
    assert.equal("Hans: welcome", hear(one))
    assert.equal("Hans: welcome", hear(two))
    two:stdin():write "I am off\n"
    two:stdin():close()
    assert.equal("Bob: I am off", hear(one))
    assert.equal("Bob: I am off", hear(host))
    assert.equal("* Bob has left", hear(host))
    assert.same({ "exit", 0 }, { two:wait(WAIT_S) })
    host:stdin():close()
    assert.equal("* Hans has left", hear(one))
    assert.same({ "exit", 0 }, { host:wait(WAIT_S) })
    one:stdin():close()
    assert.same({ "exit", 0 }, { one:wait(WAIT_S) })
  end))

  it("says why it does not reach somebody", helper.task(function()
    local host = start("lua5.4", "Hans")
    local address = hear(host)
    host:kill "KILL"
    host:wait(WAIT_S)
    host:close()
    local one <close> = start("p2pd", "Ada", address, "direct")
    assert.matches("direct: ", one:stderr():read "a")
    assert.are_not.equal(0, select(2, one:wait(WAIT_S)))
  end))
end)
