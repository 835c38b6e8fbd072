local doc = require "p2pd.repl.doc"

local SOURCE = [[
--- What a thing is.
-- More of it, see @{p2pd.other}.
-- @classmod p2pd.thing
local thing = {}
local methods = {}

--- Makes one.
-- @tparam[opt=7] integer size how
-- large
-- @tparam table given name, and so on
-- @treturn thing the thing; or nil,
-- message, code
-- @raise for misuse
-- @usage
-- local t = thing.new()
--   t:go()
function thing.new(size, given)
end

-- Not for others.
local function hidden() end

--- Goes.
-- @param ... where to
-- @return what it found
function methods:go(...)
end

--- For the inside.
-- @local
function methods:inside() end

--- As there.
-- @function borrowed
-- @tparam number x
thing.borrowed = other.borrowed

--- A number.
thing.SIZE = 7
]]

describe("p2pd.repl.doc", function()
  local read = doc.read(SOURCE)
  local function item(name)
    for _, one in ipairs(read) do
      if one.name == name then return one end
    end
  end

  it("reads what a module is", function()
    assert.equal("p2pd.thing", read.module.module)
    assert.same({ "What a thing is.", "More of it, see p2pd.other." }, read.module.text)
  end)
  it("reads parameters, results, errors and examples", function()
    local new = item "new"
    assert.same({
      { name = "size", type = "integer", text = "how large", optional = true, default = "7" },
      { name = "given", type = "table", text = "name, and so on", optional = false },
    }, new.params)
    assert.same({ "thing the thing; or nil, message, code" }, new.returns)
    assert.equal("for misuse", new.raises)
    assert.equal("local t = thing.new()\n  t:go()", new.usage)
  end)
  it("writes calls as one writes them", function()
    assert.equal("thing.new(size, given)", item("new").call)
    assert.equal("thing:go(...)", item("go").call)
    assert.equal("thing.borrowed(x)", item("borrowed").call)
  end)
  it("knows on which line a definition is", function()
    local n = 0
    for line in SOURCE:gmatch "(.-)\n" do
      n = n + 1
      if line == "function methods:go(...)" then assert.equal(n, item("go").line) end
    end
  end)
  it("tells functions from others, and what is for the inside", function()
    assert.is_true(item("inside").is_local)
    assert.is_nil(item("go").is_local)
    assert.is_false(item("SIZE").is_function)
    assert.is_true(item("borrowed").is_function)
  end)
  it("leaves out what is not documented", function() assert.is_nil(item "hidden") end)
  it("reads names that say whose they are", function()
    local one = doc.read "--- Waits.\n-- @function task:join\n-- @tparam[opt] number timeout\n"[1]
    assert.same({ "join", "task:join(timeout)", true }, { one.name, one.call, one.is_function })
  end)
  it("reads nothing in an empty source", function() assert.same({}, doc.read "") end)
end)
