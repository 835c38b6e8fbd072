-- The strategies in examples/, as a user would copy them: between two nodes, one under the executable and one
-- under plain Lua.
local core = require "p2pd.core"
local helper = require "spec.helper"
local lfs = require "lfs"
local task = helper.task

local WAIT = 10
local FILES = { "broker.lua", "socks.lua", "talk.lua" }

describe("an example strategy", function()
  local env, folder, broker, proxy

  setup(function()
    broker = helper.mosquitto {}
    local path = helper.settings { brokers = { broker } }
    folder = helper.scratch()
    for _, name in ipairs(FILES) do helper.write(folder .. "/" .. name, helper.read("examples/" .. name)) end
    local port = helper.free_port()
    proxy = assert(core.process.spawn { "microsocks", "-i", "127.0.0.1", "-p", tostring(port) })
    env = { P2PD_SETTINGS = path, SOCKS_PROXY = "127.0.0.1:" .. port, P2PD_LOG = "error",
      LUA_INIT = 'io.stdout:setvbuf "line"' }
  end)

  teardown(function()
    proxy:kill "KILL"
    proxy:close()
    helper.close_all()
  end)

  -- Runs talk.lua under the executable or plain Lua.
  local function talk(program, ...)
    local script = folder .. "/talk.lua"
    if program == "p2pd" then return helper.p2pd { env = env, script, ... } end
    return assert(core.process.spawn { stdin = "pipe", stdout = "pipe", stderr = "pipe", env = env, "lua5.4",
      script, ... })
  end

  local function check(name, echoing, talking)
    return task(function()
      local server <close> = talk(echoing, name)
      server:stdout():settimeout(WAIT)
      local address = assert(server:stdout():read "l"):match "^address: (.*)"
      local client <close> = talk(talking, name, address)
      client:stdin():write "hello\nworld\n"
      client:stdin():close()
      client:stdout():settimeout(WAIT)
      assert.equal("hello\nworld\n", client:stdout():read "a")
      assert.matches("^connected by " .. name .. "\n", client:stderr():read "a")
      assert.same({ "exit", 0 }, { client:wait(WAIT) })
      server:kill "TERM"
      server:wait(WAIT)
    end)
  end

  for _, name in ipairs { "socks", "broker" } do
    it(name .. " connects, from the executable to plain Lua", check(name, "lua5.4", "p2pd"))
    it(name .. " connects, from plain Lua to the executable", check(name, "p2pd", "lua5.4"))
  end

  it("socks says what the proxy says", task(function()
    local server <close> = talk("p2pd", "socks")
    server:stdout():settimeout(WAIT)
    local address = assert(server:stdout():read "l"):match "^address: (.*)"
    server:kill "KILL"
    server:wait(WAIT)
    local client <close> = talk("p2pd", "socks", address)
    assert.matches("socks: .*the proxy: connection refused", client:stderr():read "a")
    assert.are_not.equal(0, select(2, client:wait(WAIT)))
  end))

  it("broker is refused by a node that does not have it", task(function()
    local plain <close> = helper.p2pd { env = env, "node" }
    plain:stdout():settimeout(WAIT)
    local address = assert(plain:stdout():read "l"):match "^address: (.*)"
    local client <close> = talk("p2pd", "broker", address)
    assert.matches("broker: refused by the peer: this node knows no message BROKER_OPEN",
      client:stderr():read "a")
  end))

  it("is a file of less than 60 lines", function()
    for name in lfs.dir "examples" do
      if name:find "%.lua$" then
        local _, lines = helper.read("examples/" .. name):gsub("\n", "")
        assert.is_true(lines < 60, name)
      end
    end
  end)
end)
