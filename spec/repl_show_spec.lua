local show = require "p2pd.repl.show"
local text = show.text

describe("p2pd.repl.show", function()
  local function shows(expected, value, options)
    assert.equal(expected, text(value, options))
  end

  it("leaves strings, numbers and nil as they are", function()
    shows("a\nb", "a\nb")
    shows("1.5", 1.5)
    shows("nil", nil)
  end)
  it("sorts keys: numbers, names, the rest", function()
    shows('{ 1, [7] = 2, a = 3, b = 4, ["not a name"] = 5, [true] = 6 }',
      { 1, b = 4, a = 3, [true] = 6, [7] = 2, ["not a name"] = 5 })
  end)
  it("quotes reserved words", function() shows('{ ["end"] = 1 }', { ["end"] = 1 }) end)
  it("escapes what is inside of tables", function()
    shows([[{ "a\n\"\\\x01\xff" }]], { "a\n\"\\\1\xff" })
    shows('{ "ä" }', { "ä" })
  end)
  it("cuts long strings inside of tables", function()
    shows(('{\n  "%s" .. (1000 bytes),\n}'):format(("x"):rep(300)), { ("x"):rep(1000) })
  end)
  it("marks cycles, and shows twice what is there twice", function()
    local inner = { 1 }
    local t = { inner, inner }
    t.self = t
    shows("{ { 1 }, { 1 }, self = <cycle> }", t)
  end)
  it("breaks lines that are too wide", function()
    shows("{\n  a = { 1, 2 },\n  b = 3,\n}", { a = { 1, 2 }, b = 3 }, { width = 16 })
  end)
  it("breaks the inner ones too", function()
    shows("{\n  a = {\n    1,\n    2,\n  },\n}", { a = { 1, 2 } }, { width = 8 })
  end)
  it("goes no deeper than it is told", function()
    shows("{ { {...}, {} } }", { { { { 1 } }, {} } }, { depth = 2 })
  end)
  it("shows no more than so many entries", function()
    local list = {}
    for i = 1, 100 do list[i] = i end
    assert.matches("  64,\n  %.%.%. 36 more,\n}$", text(list))
  end)
  it("stays short however large a value is", function()
    local function tree(depth)
      if depth == 0 then return 1 end
      local t = {}
      for i = 1, 30 do t[i] = tree(depth - 1) end
      return t
    end
    assert.is_true(#text(tree(4)) < 20000)
  end)
  it("calls no metamethods of a plain object, and names its class", function()
    shows("some.class { a = 1 }",
      setmetatable({ a = 1 }, { __name = "some.class", __index = error, __pairs = error, __len = error }))
  end)
  it("shows an object by its own text", function()
    local object = setmetatable({ a = 1 }, { __tostring = function() return "the object" end })
    shows("the object", object)
    shows("{ the object }", { object })
  end)
  it("says that an object's text failed", function()
    shows("{ (its __tostring failed) }", { setmetatable({}, { __tostring = error }) })
  end)
  it("shows the fields that a class lists, of the outermost object", function()
    local meta = { __tostring = function() return "thing" end, __dir = { "a", "method", "t" },
      __index = { method = print } }
    local object = setmetatable({ a = 1, hidden = 2, t = { 1 } }, meta)
    shows("thing { a = 1, t = {...} }", object)
    shows("{ thing }", { object })
  end)
  it("paints, and is no narrower for it", function()
    local function paint(shown, name) return ("<%s>%s</%s>"):format(name, shown, name) end
    shows('{ <green>"x"</green>, <yellow>1</yellow> }', { "x", 1 }, { paint = paint, width = 10 })
  end)
end)
