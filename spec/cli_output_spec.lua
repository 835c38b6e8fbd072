local helper = require "spec.helper"
local task = helper.task

-- Runs code that has `output` and `task` in the executable: its exit status, stdout and stderr.
local function run(code, redirection)
  local path = helper.scratch() .. "/code.lua"
  helper.write(path, 'local output, task = require "p2pd.cli.output", require "p2pd.task" ' .. code)
  return helper.run_redirected(redirection or "", { path })
end

local FAILURES = { [">/dev/full"] = "No space left on device", [">&-"] = "it is closed" }

describe("p2pd.cli.output", function()
  teardown(helper.close_all)

  describe("write() and print()", function()
    it("write at once", task(function()
      local status, out, err = run [[
        os.exit(output.run(function()
          io.stdout:setvbuf "full"
          output.write("a", 1)
          output.print("b", 2)
          os.execute "echo c"
          return 3
        end))]]
      assert.same({ 3, "a1b2\nc\n", "" }, { status, out, err })
    end))

    for redirection, reason in pairs(FAILURES) do
      local said = "p2pd: standard output: " .. reason .. "\n"

      it("end the command with " .. redirection, task(function()
        local status, _, err = run([[
          local status = output.run(function()
            local _ <close> = setmetatable({}, { __close = function()
              io.stderr:write "closed\n"
            end })
            output.print "x"
            io.stderr:write "went on\n"
          end)
          os.exit(status)]], redirection)
        assert.same({ 1, said .. "closed\n" }, { status, err })
      end))

      it("end it from another task with " .. redirection, task(function()
        local status, _, err = run([[
          os.exit(output.run(function()
            for _ = 1, 2 do task.spawn(output.print, "x") end
            task.sleep(60)
          end))]], redirection)
        assert.same({ 1, said }, { status, err })
      end))

      it("raise outside a command with " .. redirection, task(function()
        local status, _, err = run('output.print "x"', redirection)
        assert.same({ 1, said }, { status, err })
      end))
    end
  end)

  describe("run()", function()
    local output = require "p2pd.cli.output"

    it("passes arguments and the status on", task(function()
      assert.equal(7, output.run(function(a, b) return a + b end, 3, 4))
    end))

    it("raises what main raises", task(function()
      local object = setmetatable({}, { __tostring = function() return "mine" end })
      local ok, err = pcall(output.run, function() error(object) end)
      assert.is_false(ok)
      assert.equal(object, err)
      ok, err = pcall(output.run, function() error "broken" end)
      assert.is_false(ok)
      assert.matches("broken\nstack traceback:", tostring(err))
    end))
  end)
end)
