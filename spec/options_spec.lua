local options = require "p2pd.options"

local KNOWN = { name = options.is_a "string", port = options.PORT, timeout = options.SECONDS,
  secure = options.BOOLEAN }

local function checking(given)
  return function() options.check(given, KNOWN, "thing") end
end

describe("p2pd.options", function()
  it("check() lets through what is known and of its kind", function()
    assert.has_no.errors(checking {})
    assert.has_no.errors(checking { name = "x", port = 0, timeout = 0.5, secure = false })
  end)

  it("check() names what is misspelt", function()
    assert.error_matches(checking { nmae = "x" }, "^.*thing: no option is called nmae$")
    assert.error_matches(checking { 5 }, "thing: no option is called 1$")
  end)

  it("check() names what is of a wrong kind", function()
    assert.error_matches(checking { name = 5 }, "thing: name is 5, and not a string$")
    assert.error_matches(checking { port = 65536 },
      "thing: port is 65536, and not an integer from 0 to 65535$")
    assert.error_matches(checking { port = 1.5 }, "thing: port is 1.5, and not")
    assert.error_matches(checking { timeout = -1 }, "thing: timeout is %-1, and not a number of seconds$")
    assert.error_matches(checking { secure = "no" }, "thing: secure is no, and not true or false$")
    assert.error_matches(checking "alice", "thing: options are a table, and not alice$")
  end)

  it("are merged without a change to either", function()
    local base, over = { a = 1, b = { x = 1 } }, { b = { y = 2 } }
    assert.same({ a = 1, b = { y = 2 } }, options.merge(base, over))
    assert.same({ { a = 1, b = { x = 1 } }, { b = { y = 2 } } }, { base, over })
    local copy = options.merge(base)
    assert.same(base, copy)
    assert.is_false(copy == base)
  end)
end)
