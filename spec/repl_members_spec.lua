local doc = require "p2pd.repl.doc"
local helper = require "spec.helper"
local members = require "p2pd.repl.members"

describe("p2pd.repl.members", function()
  local function object(dir, index)
    return setmetatable({ own = 1 }, { __dir = dir, __index = index })
  end
  local function index(_, key)
    return key == "bad" and error "no" or key .. "!"
  end

  it("lists what a class lists", function()
    assert.same({ "a" }, members.listed(object { "a" }))
    assert.same({ "own" }, members.listed(object(function(self) return { (next(self)) } end)))
  end)
  it("lists nothing when there is no list, or it fails", function()
    assert.is_nil(members.listed {})
    assert.is_nil(members.listed "text")
    assert.is_nil(members.listed(object(error)))
    assert.is_nil(members.listed(object "text"))
  end)
  it("reads by an __index function only what is listed", function()
    local one = object({ "seen", "bad" }, index)
    assert.equal("seen!", members.field(one, "seen"))
    assert.is_nil(members.field(one, "unseen"))
    assert.is_nil(members.field(one, "bad"))
    assert.equal(1, members.field(one, "own"))
  end)
  it("gives the fields that are no functions", function()
    assert.same({ own = 1, seen = "seen!" }, members.fields(object({ "own", "seen", "bad" }, index)))
    assert.is_nil(members.fields {})
  end)

  -- What our classes list is what is documented of them, without what is for the inside.
  for name, class in pairs { node = "methods", pipe = "methods", session = "Session" } do
    it("has no method of a " .. name .. " that is not documented", function()
      local source = helper.read(("lua/p2pd/%s.lua"):format(name))
      local documented, fields = {}, source:match "__dir = (%b{})"
      for _, item in ipairs(doc.read(source)) do
        local is_method = item.owner == class and item.mark == ":"
        if is_method and not item.is_local then documented[item.name] = true end
      end
      for listed in fields:gmatch '"(%w+)"' do
        local is_method = source:find(("function %s:%s("):format(class, listed), 1, true) ~= nil
        assert.equal(is_method, documented[listed] or false, listed)
      end
      if class == "methods" then
        for method in pairs(documented) do
          assert.is_truthy(fields:find('"' .. method .. '"', 1, true), method)
        end
      end
    end)
  end
end)
