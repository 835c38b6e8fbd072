local helper = require "spec.helper"
local history = require "p2pd.repl.history"

describe("p2pd.repl.history", function()
  teardown(helper.close_all)

  local function there_and_back(entry)
    return history.decode(history.encode(entry) .. "\nnext\n")
  end

  for what, entry in pairs {
    ["a line"] = "x = 1",
    ["several lines"] = "do\n\n  f()\nend",
    ["a backslash before a line's end"] = '"a\\\nb"',
  } do
    it("keeps " .. what, function() assert.same({ entry, "next" }, there_and_back(entry)) end)
  end
  it("keeps an entry that ends in a backslash apart from the next", function()
    assert.same({ "x = 1 -- c:\\ ", "next" }, there_and_back "x = 1 -- c:\\")
  end)
  it("takes a file whose last entry was cut off", function()
    assert.same({ "a", "b" }, history.decode "a\nb\\\n")
  end)
  it("loads the last thousand", function()
    local entries = history.decode(("x\n"):rep(1500) .. "last\n")
    assert.same({ 1000, "last" }, { #entries, entries[1000] })
  end)
  it("loads and saves files that only their owner reads", function()
    local path = helper.scratch() .. "/new/history"
    assert.same({}, history.load(path))
    assert.is_true(history.save(path, "a\nb"))
    assert.is_true(history.save(path, "c"))
    assert.same({ "a\nb", "c" }, history.load(path))
  end)
  it("has no file without a home", function()
    assert.same({}, history.load(nil))
    assert.same({ nil, "there is no home", "ENOENT" }, { history.save(nil, "x") })
  end)
  it("says why it cannot be saved", function()
    local ok, message, code = history.save("/proc/nothing/history", "x")
    assert.is_nil(ok)
    assert.matches("^save /proc/nothing/history: ", message)
    assert.equal("ENOENT", code)
  end)
end)
