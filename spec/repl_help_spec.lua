local help = require "p2pd.repl.help"
local p2pd = require "p2pd"

describe("p2pd.repl.help", function()
  local function tells(pattern, ...)
    assert.matches(pattern, help.text(80, ...))
  end

  it("begins with an overview", function()
    tells "help%(p2pd%.node%).*\n  p2pd%.pipe +What a dial or an accept gives"
  end)
  it("knows a Lua function by where it is written", function()
    tells("^p2pd%.node%(given%)\n  Starts a node%..*\n    given %(table, optional%) name", p2pd.node)
  end)
  it("knows a C function by the module that has it", function()
    tells("^task%.sleep%(seconds%)\n  Waits%.\n    seconds %(number%)\n$", p2pd.sleep)
  end)
  it("knows a module", function()
    tells("^p2pd%.address\n  Peer addresses.*\n  address%.parse%(text, settings%)", p2pd.address)
  end)
  for _, name in ipairs { "pipe:read", "pipe.read", "p2pd.pipe.read", "p2pd.pipe:read" } do
    it("knows " .. name, function() tells("^pipe:read%(%.%.%.%)\n  Reads by formats", name) end)
  end
  for _, name in ipairs { "task", "p2pd.task" } do
    it("knows " .. name, function() tells("^p2pd%.task\n  Tasks: ", name) end)
  end
  it("knows what p2pd lends", function()
    tells("^task%.sleep%(", "p2pd.sleep")
    tells("^p2pd%.node%(", "p2pd.node")
  end)
  it("tells of an object what its class lists", function()
    local meta = { __name = "p2pd.pipe", __dir = { "read" } }
    local text = help.text(80, setmetatable({}, meta))
    assert.matches("\n  pipe:read%(", text)
    assert.is_nil(text:find("pipe:write", 1, true))
  end)
  it("keeps to the width", function()
    for _, value in ipairs { p2pd.node, p2pd.task or "p2pd.task", "p2pd.pipe", "node.connect" } do
      for line in help.text(60, value):gmatch "[^\n]+" do assert.is_true(#line <= 60, line) end
    end
  end)
  it("knows nothing of others", function()
    for _, value in ipairs { 7, {}, print, "nothing", "no.such", "..:", "" } do
      assert.is_nil(help.text(80, value))
    end
    assert.is_nil(help.text(80, nil))
  end)
  it("knows functions of a user's own, where they are documented", function()
    tells("^help%.text%(width, %.%.%.%)\n  What there is to say", help.text)
  end)
end)
