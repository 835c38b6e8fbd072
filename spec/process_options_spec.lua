local helper = require "spec.helper"
local p2pd = require "p2pd"
local in_task = helper.task

describe("p2pd.process", function()
  it("runs a program whose streams are streams", in_task(function()
    local sort <close> = assert(p2pd.process.spawn { "sort", "-n", stdin = "pipe", stdout = "pipe" })
    sort:stdin():write "3\n1\n2\n"
    sort:stdin():close()
    local lines = {}
    for line in sort:stdout():lines() do lines[#lines + 1] = line end
    assert.same({ { "1", "2", "3" }, "exit", 0 }, { lines, sort:wait() })
  end))

  it("tells why a program cannot be run", in_task(function()
    assert.equal("ENOENT", select(3, p2pd.process.spawn { "/no/such/program" }))
  end))

  it("refuses options that it does not know", function()
    for _, bad in ipairs { { "x", stduot = "pipe" }, { "x", stdin = "stdout" }, { "x", env = 5 } } do
      assert.error_matches(function() p2pd.process.spawn(bad) end, "process.spawn: ")
    end
    assert.error_matches(function() p2pd.process.spawn "ls" end, "options are a table")
  end)
end)
