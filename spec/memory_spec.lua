local helper = require "spec.helper"
local task = helper.task

local RESIDENT = [[
  local core = require "p2pd.core"
  local function resident(field)
    return tonumber(io.open "/proc/self/status":read "a":match(field .. ":%s+(%d+) kB"))
  end
]]

describe("p2pd.core.memory", function()
  teardown(helper.close_all)

  -- The lines that code prints in the executable.
  local function run(code)
    local child <close> = helper.p2pd { "-e", RESIDENT .. code }
    local out, err = child:stdout():read "a", child:stderr():read "a"
    assert.equal("", err)
    return out
  end

  describe("trim()", function()
    it("takes pages of code that do not run", task(function()
      if os.getenv "P2PD_SAN" then return end
      assert.equal("true\n", run [[
        core.keys.generate() -- OpenSSL wakes up
        local before = resident "RssFile"
        core.memory.trim()
        print(resident "RssFile" < before * 0.8)]])
    end))

    it("takes heap that is free", task(function()
      if os.getenv "P2PD_SAN" then return end
      assert.equal("true\n", run [[
        local list = {}
        for i = 1, 1e5 do list[i] = { i } end
        local last = {} -- at the end of the heap
        list = nil
        collectgarbage()
        local before = resident "RssAnon"
        core.memory.trim()
        print(last and resident "RssAnon" < before * 0.5)]])
    end))

    it("does no harm to what runs, in any thread", task(function()
      assert.equal("done\n", run [[
        local task = require "p2pd.task"
        task.run(function()
          local stopped = false
          local busy <close> = task.spawn(function()
            while not stopped do
              core.memory.trim()
              task.sleep(0)
            end
          end)
          for _ = 1, 50 do
            local key <close> = assert(core.keys.generate())
            assert(core.tls.context(key))
            assert(core.inet.resolve("localhost"))
          end
          stopped = true
        end)
        print "done"]])
    end))
  end)
end)
