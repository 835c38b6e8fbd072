-- The pairs of scripts that the documents show, each under the executable and under plain Lua.
local core = require "p2pd.core"
local helper = require "spec.helper"
local loopback = require "spec.loopback"
local task = helper.task

local WAIT = 10

-- Its list of strategies names one that is not there yet.
local ECHO = {
  server = [[
local p2pd = require "p2pd"

p2pd.run(function()
  local node <close> = assert(p2pd.node { name = "alice" })
  print(node.address)
  for pipe in node:pipes() do
    p2pd.spawn(function()
      local pipe <close> = pipe
      for line in pipe:lines() do pipe:write(line, "\n") end
    end)
  end
end)
]],
  client = [[
local p2pd = require "p2pd"
p2pd.run(function()
  local node <close> = assert(p2pd.node())
  local address = arg[1]
  local pipe <close> =
    assert(node:connect(address, { timeout = 20, strategies = { "direct", "reverse", "punch" } }))
  pipe:write "hello\n"
  print(pipe:read "l", pipe.strategy, pipe.peer)
end)
]],
}

local function from_readme()
  local blocks = {}
  for name, block in helper.read "README.md":gmatch "```lua\n%-%- (%w+)%.lua\n(.-)```" do
    blocks[name] = block
  end
  return { server = blocks.echo, client = blocks.hello }
end

-- The same script, on loopback.
local function on_loopback(text)
  local result, n = text:gsub("p2pd%.node *(%b{})", function(options)
    return "p2pd.node { interfaces = { 'lo' }, " .. options:sub(2)
  end)
  if n == 0 then result, n = text:gsub("p2pd%.node%(%)", "p2pd.node { interfaces = { 'lo' } }") end
  assert(n == 1, "the script starts no node, or several")
  return result
end

describe("the examples", function()
  local world = loopback.new(setup, teardown, { stun = true })
  local env

  setup(function() env = { P2PD_SETTINGS = world.path, LUA_INIT = 'io.stdout:setvbuf "line"' } end)

  local function under_p2pd(...)
    return helper.p2pd { env = env, ... }
  end

  local function under_lua(...)
    return assert(core.process.spawn { stdin = "pipe", stdout = "pipe", stderr = "pipe", env = env,
      "lua5.4", ... })
  end

  local function check(scripts, run_server, run_client)
    return task(function()
      local folder = helper.scratch()
      local server_path = helper.write(folder .. "/server.lua", on_loopback(scripts.server))
      local client_path = helper.write(folder .. "/client.lua", on_loopback(scripts.client))
      local server <close> = run_server(server_path)
      server:stdout():settimeout(WAIT)
      local address = server:stdout():read "l"
      assert(address, "the server said nothing")
      for _ = 1, 2 do
        local client <close> = run_client(client_path, address)
        client:stdout():settimeout(WAIT)
        assert.equal("hello\tdirect\t" .. address:match "%w+$", client:stdout():read "l")
        assert.same({ "exit", 0 }, { client:wait(WAIT) })
        assert.equal("", client:stderr():read "a")
      end
      server:kill "INT"
      assert.equal("exit", (server:wait(WAIT)))
    end)
  end

  for name, scripts in pairs { ["of the README"] = from_readme(), ["with three strategies"] = ECHO } do
    it(name .. ", under p2pd", check(scripts, under_p2pd, under_p2pd))
    it(name .. ", under plain Lua", check(scripts, under_lua, under_lua))
    it(name .. ", one of each", check(scripts, under_lua, under_p2pd))
  end
end)
