-- The command demo: what it shows, and that it leaves nothing behind.
local commands = require "spec.commands"
local helper = require "spec.helper"
local lab = require "p2pd.lab"
local lfs = require "lfs"
local strategy = require "p2pd.strategy"
local task = helper.task

describe("the command", function()
  teardown(helper.close_all)

  describe("demo", function()
    -- Runs it with a temporary folder of its own, which has to be empty in the end, with nobody left who
    -- knows it.
    local function with_demo(fn)
      return task(function()
        local folder = helper.scratch()
        local child <close> = helper.p2pd { "demo", env = { TMPDIR = folder } }
        child:stdout():settimeout(commands.WAIT)
        fn(child)
        local left = {}
        for name in lfs.dir(folder) do left[#left + 1] = name:match "^%.+$" == nil and name or nil end
        assert.same({}, left)
        for pid in lfs.dir "/proc" do
          local command = pid:find "^%d+$" and helper.read("/proc/" .. pid .. "/cmdline") or ""
          assert.is_nil(command:find(folder, 1, true))
        end
      end)
    end

    local ROW = "\n%s +[%%d.]+ ms +%%S+:%%d+ +%%S+:%%d+ +[%%d.]+ ms\n"

    it("shows a row for each strategy and leaves nothing", with_demo(function(child)
      local out = child:stdout():read "a"
      assert.same({ "exit", 0 }, { child:wait(commands.WAIT) })
      local near, far = out:match "^(.-)\nBehind two NATs(.*)$"
      for _, name in ipairs(strategy.DEFAULT) do assert.matches(ROW:format(name), near or out) end
      if not lab.is_possible() then return end
      for _, name in ipairs { "punch", "relay" } do assert.matches(ROW:format(name), far) end
      for _, name in ipairs { "direct", "reverse" } do
        assert.matches("\n" .. name .. " +%- +no answer", far)
      end
    end))

    it("leaves nothing after SIGINT half-way", with_demo(function(child)
      assert.matches("^On loopback", child:stdout():read "l")
      commands.check_interrupted(child)
    end))

    it("leaves nothing after SIGINT at its beginning", with_demo(function(child)
      child:wait(0.1)
      child:kill "INT"
      assert.is_not_nil((child:wait(commands.WAIT)))
    end))
  end)
end)
