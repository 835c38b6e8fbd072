-- What a file may be called that a peer sends.
local names = require "p2pd.transfer.names"

local PART = ".p2pd.part"

describe("p2pd.transfer.names", function()
  it("keep what is safe, and replace what is not to be seen", function()
    for given, safe in pairs { a = "a", ["a/b c/d"] = "a/b c/d", ["..."] = "...", [".hidden"] = ".hidden",
      ["a\nb"] = "a_b", ["a/\27[2J"] = "a/_[2J", ["\xff"] = "_", ["\u{202e}x"] = "_x",
      ["ä"] = "ä", ["a?"] = "a?" } do
      assert.equal(safe, names.make_safe(given))
    end
  end)
  it("refuse what leads elsewhere", function()
    for _, bad in ipairs { "", "/", "/etc/passwd", "..", "../a", "a/../b", "a/..", "./a", "a/.", "a//b", "a/",
      ("x"):rep(256), ("a/"):rep(3000) .. "a", ("a/"):rep(201) .. "a", "a" .. PART, "a" .. PART .. "/b" } do
      local safe, reason = names.make_safe(bad)
      assert.is_nil(safe)
      assert.equal("string", type(reason))
    end
  end)
  it("let links lead down, or up within the tree", function()
    for path, target in pairs { ["t/l"] = "a", ["t/a/l"] = "../b", ["t/a/b/l"] = "../../c/d",
      ["t/m"] = "./a/b/" } do
      assert.is_true(names.stays_within(path, target), target)
    end
    for _, case in ipairs { { "l", "a" }, { "t/l", "../x" }, { "t/l", "/etc" }, { "t/a/l", "../../x" },
      { "t/l", "a/../b" }, { "t/l", "a/.." }, { "t/l", "" }, { "t/l", ".." }, { "t/l", "a\nb" },
      { "t/a/l", "x/../../.." } } do
      assert.is_false(names.stays_within(case[1], case[2]), case[2])
    end
  end)
  it("of unfinished files are beside theirs, and never too long", function()
    assert.equal("a/b" .. PART, names.part_of "a/b")
    local one, other = names.part_of("d/" .. ("x"):rep(255)), names.part_of("d/" .. ("x"):rep(254) .. "y")
    assert.not_equal(one, other)
    assert.equal(255 + 2, #one)
  end)
end)
