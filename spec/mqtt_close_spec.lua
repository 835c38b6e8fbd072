local core = require "p2pd.core"
local helper = require "spec.helper"
local mqtt = require "spec.mqtt"

local WAIT, online, to = mqtt.WAIT, mqtt.online, mqtt.to

local function threads()
  local count = 0
  for _ in require "lfs".dir "/proc/self/task" do count = count + 1 end
  return count
end

describe("p2pd.mqtt", function()
  local broker

  setup(function() broker = helper.mosquitto {} end)
  teardown(helper.close_all)

  describe("close()", function()
    it("can be called twice, and everything else says so", helper.task(function()
      local client <close> = online(to(broker))
      client:close()
      client:close()
      assert.equal("closed", (client:state()))
      assert.matches("%(closed%)$", tostring(client))
      for _, method in ipairs { "receive", "wait_online", "stats" } do
        assert.same({ nil, "the client is closed", "EBADF" }, { client[method](client) })
      end
      assert.equal("EBADF", select(3, client:publish("a", "b")))
      assert.equal("EBADF", select(3, client:subscribe "a"))
    end))

    it("wakes those who wait", helper.task(function()
      local client <close> = online(to(broker))
      local receiver = core.task.spawn(function() return client:receive() end)
      local watcher = core.task.spawn(function() return client:wait_change "online" end)
      core.task.sleep(0)
      client:close()
      assert.equal("EBADF", select(3, receiver:join()))
      assert.equal("closed", (watcher:join()))
    end))

    it("is possible in every state", helper.task(function()
      for _, port in ipairs { broker.port, helper.free_port() } do
        for turns = 0, 8 do
          local client = core.mqtt.open { host = "127.0.0.1", port = port }
          for _ = 1, turns do core.task.sleep(0.001) end
          client:close()
        end
      end
    end))

    it("is done by the collector, also while connecting", helper.task(function()
      for _ = 1, 10 do
        core.mqtt.open(to(broker))
        core.mqtt.open { host = "broker.invalid" }
        collectgarbage()
        core.task.sleep(0.001)
      end
    end))

    it("leaves no descriptor and no thread", helper.task(function()
      local before = threads()
      for _ = 1, 20 do online(to(broker)):close() end
      assert.is_true(threads() < before + 20) -- all clients share paho's two and eight workers
    end))

    it("lets the process end at once, whatever is under way", helper.task(function()
      local script = [[
        local core = require "p2pd.core"
        local function open(host) return core.mqtt.open { host = host, port = %d } end
        core.task.run(function()
          local a, b, c = open "127.0.0.1", open "broker.invalid", open "localhost"
          if %s then assert(a:wait_online(5)) end
        end)
      ]]
      for _, wait in ipairs { "true", "false" } do
        local child <close> = assert(core.process.spawn {
          "lua5.4", "-e", script:format(broker.port, wait), env = { LUA_CPATH = package.cpath },
        })
        assert.same({ "exit", 0 }, { child:wait(WAIT) })
      end
    end))
  end)
end)
