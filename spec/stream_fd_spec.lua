local core = require "p2pd.core"
local child = require "spec.child"
local helper = require "spec.helper"
local task = require "p2pd.task"
local in_task = helper.task

local CAT = [[
  task.run(function()
    local input <close>, output = core.stream.fd(0), core.stream.fd(1)
    local output <close> = output
    while true do
      local data = input:recv()
      if not data then break end
      assert(output:write(data))
    end
  end)
]]

describe("p2pd.core.stream", function()
  teardown(helper.close_all)

  describe("fd()", function()
    it("carries pipes through", in_task(function()
      local process <close> = child.spawn(CAT)
      local size = 5 * 1024 * 1024
      local _ <close> = task.spawn(function()
        process:stdin():write(("0123456789abcdef"):rep(size // 16))
        process:stdin():close()
      end)
      assert.equal(size, #process:stdout():read "a")
      assert.same({ "exit", 0 }, { process:wait() })
    end))

    it("carries files through", in_task(function()
      local folder = helper.scratch()
      local text = ("some text\n"):rep(100000)
      helper.write(folder .. "/in", text)
      local result = child.run(CAT, { shell = ("exec <%s/in >%s/out"):format(folder, folder) })
      assert.same({ "exit", 0, "" }, { result.how, result.status, result.err })
      assert.is_true(helper.read(folder .. "/out") == text)
    end))

    it("does not switch a shared descriptor", in_task(function()
      local result = child.run([[
        task.run(function()
          local input <close> = core.stream.fd(0)
          local output <close> = core.stream.fd(1)
          input:read(1)
          output:write "x"
        end)
        for line in io.lines "/proc/self/fdinfo/0" do io.stderr:write(line, "\n") end
        for line in io.lines "/proc/self/fdinfo/1" do io.stderr:write(line, "\n") end
      ]], { shell = "exec </dev/zero" })
      for flags in result.err:gmatch "flags:%s*(%d+)" do
        assert.equal(0, tonumber(flags, 8) & 2048)
      end
    end))

    it("leaves a borrowed descriptor open", in_task(function()
      local result = child.run [[
        task.run(function()
          local output <close> = core.stream.fd(1)
          output:write "first\n"
        end)
        io.write "second\n"
      ]]
      assert.equal("first\nsecond\n", result.out)
    end))

    it("fails with EPIPE when nobody reads", in_task(function()
      local process <close> = child.spawn [[
        task.run(function()
          local input <close> = core.stream.fd(0)
          input:read "l"
          local output <close> = core.stream.fd(1)
          local ok, _, code
          repeat ok, _, code = output:write "x" until not ok
          io.stderr:write(code)
        end)
      ]]
      process:stdout():close()
      process:stdin():write "go\n"
      assert.equal("EPIPE", process:stderr():read "a")
      assert.same({ "exit", 0 }, { process:wait() })
    end))

    it("ends a pipe by shutdown, also while a write waits", in_task(function()
      local process <close> = assert(core.process.spawn { "sh", "-c", "read x; cat >/dev/null",
        stdin = "pipe", stdout = "null" })
      local input = process:stdin()
      local writer = task.spawn(input.write, input, ("x"):rep(1024 * 1024))
      task.sleep(0.01)
      input:shutdown()
      assert.is_nil((writer:join(5)))
      assert.equal("EBADF", select(3, input:read()))
    end))

    it("knows no endpoints", in_task(function()
      local process <close> = child.spawn(CAT)
      assert.equal("ENOTSOCK", select(3, process:stdin():getsockname()))
      assert.is_nil(process:stdin():stats().rtt)
    end))

    it("refuses what is no descriptor", in_task(function()
      for _, bad in ipairs { -1, 1 << 40, 1.5, "x" } do
        assert.has_error(function() core.stream.fd(bad) end)
      end
      assert.same({ nil, "descriptor 999: Bad file descriptor", "EBADF" }, { core.stream.fd(999) })
    end))
  end)
end)
