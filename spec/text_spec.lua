local text = require "p2pd.text"

describe("p2pd.text", function()
  it("leaves what can be printed", function()
    for _, one in ipairs { "", "plain", "gr\u{fc}n", "\u{65e5}\u{672c}", "\u{1f600}" } do
      assert.equal(one, text.printable(one))
    end
  end)

  it("replaces what a terminal would act on, or hide", function()
    for code = 0, 0x1f do assert.equal("a?b", text.printable("a" .. string.char(code) .. "b")) end
    for _, code in ipairs { 0x7f, 0x80, 0x9b, 0x9f, 0xad, 0x61c, 0x200b,
      0x200e, 0x200f, 0x2028, 0x2029, 0x202a,
      0x202e, 0x2066, 0x2069, 0xfeff, 0xfff9, 0xe0041 } do
      assert.equal("a?b", text.printable("a" .. utf8.char(code) .. "b"))
    end
  end)

  it("replaces each byte that is no UTF-8", function()
    assert.equal("a?b", text.printable "a\xffb")
    assert.equal("?(", text.printable "\xc3\x28")
    assert.equal("???", text.printable "\xed\xa0\x80")
    assert.equal("????", text.printable "\xf8\x88\x80\x80")
    assert.equal("??", text.printable "\xc0\x80")
    assert.equal("?", text.printable "\xe2")
  end)

  it("cuts between characters", function()
    assert.equal("aa", text.printable("aaaa", 2))
    assert.equal("a", text.printable("a\u{20ac}", 3))
    assert.equal("a\u{20ac}", text.printable("a\u{20ac}b", 4))
  end)
end)

describe("p2pd.text.wrap", function()
  it("breaks between words, and words that are too long", function()
    assert.same({ "one two", "three" }, text.wrap("one two three", 8))
    assert.same({ "a: one", "   two" }, text.wrap("one two", 6, "a: ", "   "))
    assert.same({ "- aaa", "- aa", "- bb" }, text.wrap("aaaaa bb", 5, "- "))
    assert.same({ "exactly8" }, text.wrap("exactly8", 8))
  end)

  it("gives one line for nothing", function()
    assert.same({ "" }, text.wrap("", 80))
    assert.same({ "  " }, text.wrap(" ", 80, "  "))
  end)
end)
