local message = require "p2pd.chat.message"

describe("p2pd.chat.message", function()
  local function round_trip(who, format)
    local kind, read = message.parse(message[format](who))
    assert.same({ format, who }, { kind, read })
  end

  describe("parse()", function()
    it("reads what is said of oneself", function()
      assert.same({ "name", "bob the builder" }, { message.parse "name bob the builder" })
      assert.same({ "say", "" }, { message.parse "say" })
      assert.same({ "say", " two  blanks\n" }, { message.parse "say  two  blanks\n" })
      assert.same({ "line", "abc" }, { message.parse "line abc" })
      assert.same({ "bye", true }, { message.parse "bye" })
    end)

    it("reads what is said of others", function()
      round_trip({ hops = 1, id = "Node", nick = "bob" }, "here")
      round_trip({ hops = 8, id = "Node", nick = "bob", line = "L1", said = "a b  c" }, "pass")
      round_trip({ hops = 2, id = "Node", nick = "bob", line = "L1", said = "" }, "pass")
      assert.same({ "gone", "Node" }, { message.parse "gone Node" })
    end)

    it("makes nicks fit to be shown", function()
      assert.equal("a?b_", select(2, message.parse "here 1 Node a\27b~").nick)
    end)

    it("passes over what it does not know, and what is damaged", function()
      for _, bytes in ipairs { "", "sing la la", "name", "line", "line a/b", "here 1 Node", "here 0 Node bob",
        "here 9 Node bob", "here x Node bob", "here 1 No-de bob", "gone", "gone a b", "pass 1 L1 Node bob",
        "pass 12 L1 Node bob hi", "pass 1 L1 " .. ("x"):rep(65) .. " bob hi", "pass 1 L/1 Node bob hi" } do
        assert.is_nil((message.parse(bytes)), bytes)
      end
    end)
  end)

  describe("nick()", function()
    it("is one short word", function()
      assert.equal("bob_the_builder", message.nick "bob the builder")
      assert.equal("_", message.nick "")
      assert.equal(message.NICK_MAX, #message.nick(("x"):rep(100)))
    end)
  end)

  describe("pass()", function()
    it("fits into a message", function()
      local who = { hops = 8, id = ("x"):rep(64), nick = ("n"):rep(32), line = message.new_line(),
        said = ("s"):rep(2 * message.MAX) }
      assert.is_true(#message.pass(who) <= message.MAX)
    end)
  end)

  describe("may_pass()", function()
    it("has an end", function()
      assert.same({ true, false }, { message.may_pass(7), message.may_pass(8) })
    end)
  end)
end)
