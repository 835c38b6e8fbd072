-- The module itself: what it has, and that it is loaded when it is used.
local helper = require "spec.helper"
local p2pd = require "p2pd"

describe("p2pd", function()
  it("has all that it lists, and nothing else", helper.task(function()
    local names = getmetatable(p2pd).__dir
    for _, name in ipairs(names) do
      assert.is_true(name == "stdin" or name == "stdout" or p2pd[name] ~= nil, name) -- those would be opened
    end
    assert.is_nil(p2pd.nothing)
    local listed = table.concat(names, " ")
    for _, name in ipairs { "node", "run", "stdin", "tcp", "VERSION" } do
      assert.matches("%f[%w]" .. name .. "%f[%W]", listed)
    end
  end))

  it("is loaded without a node, which comes with its use", helper.task(function()
    local child <close> = helper.p2pd { "-e", [[
      local function has(name) return package.loaded["p2pd." .. name] ~= nil end
      local before = has "node" or has "transfer" or has "code"
      assert(type(p2pd.node) == "function" and p2pd.node == p2pd.node)
      print(before, has "node", has "transfer")]] }
    assert.equal("false\ttrue\tfalse\n", child:stdout():read "a")
  end))
end)
