local helper = require "spec.helper"
local streams = require "spec.streams"
local task = require "p2pd.task"
local in_task = helper.task

-- A stream from which these chunks can be read, and then the end.
local function source(...)
  local both <close>, near, far = streams.pair()
  for _, chunk in ipairs { ... } do assert(far:write(chunk)) end
  far:close()
  both:release()
  return near
end

describe("p2pd.core.stream", function()
  describe("read()", function()
    it("gives lines without and with their ends", in_task(function()
      local s <close> = source "one\ntwo\nthree\nfour"
      assert.equal("one", s:read())
      assert.equal("two", s:read "l")
      assert.equal("three\n", s:read "L")
      assert.equal("four", s:read "L")
      assert.is_nil(s:read "l")
    end))

    it("gives empty lines", in_task(function()
      local s <close> = source "\n\r\n\0\n"
      assert.same({ "", "\r", "\0" }, { s:read("l", "l", "l") })
    end))

    it("gives a count of bytes, fewer only at the end", in_task(function()
      local s <close> = source "abcdefg"
      assert.equal("abc", s:read(3))
      assert.equal("defg", s:read(100))
      assert.same({ nil, n = 1 }, table.pack(s:read(1)))
    end))

    it("tells by 0 bytes whether there is an end", in_task(function()
      local s <close> = source "a"
      assert.equal("", s:read(0))
      assert.equal("a", s:read(1))
      assert.is_nil(s:read(0))
    end))

    it("gives all until the end, and then nothing for ever", in_task(function()
      local s <close> = source("one\n", "two")
      assert.equal("one\ntwo", s:read "a")
      assert.equal("", s:read "a")
      assert.is_nil(s:read "l")
    end))

    it("looks ahead and leaves what it saw", in_task(function()
      local s <close> = source "abc\nd"
      assert.equal("a", s:peek(1))
      assert.equal("abc\n", s:peek(4))
      assert.equal("abc", s:read "l")
      assert.equal("d", s:peek(100))
      assert.equal("d", s:read "a")
      assert.same({ nil, n = 1 }, table.pack(s:peek(1)))
      for _, count in ipairs { 0, -1, 65537 } do
        assert.error_matches(function() s:peek(count) end, "1 to 65536 bytes expected")
      end
      s:close()
      assert.equal("EBADF", select(3, s:peek(1)))
    end))

    it("knows the older spelling", in_task(function()
      local s <close> = source "one\ntwo\nrest"
      assert.same({ "one", "two\n", "rest" }, { s:read("*l", "*L", "*a") })
    end))

    it("takes several formats and stops at the first that fails", in_task(function()
      local s <close> = source "one\n12"
      assert.same({ "one", "12", nil, n = 3 }, table.pack(s:read("l", 2, "l", "l")))
    end))

    it("refuses other formats", in_task(function()
      local s <close> = source ""
      for _, bad in ipairs { "x", "", "*", -1, 1.5, {}, true } do
        assert.has_error(function() s:read(bad) end)
      end
      assert.error_matches(function() s:read(table.unpack({}, 1, 300)) end, "too many formats")
    end))

    it("puts a long line together", in_task(function()
      local _ <close>, near, far = streams.pair()
      local long = ("0123456789"):rep(30000)
      local _ <close> = task.spawn(function()
        for i = 1, #long, 7777 do
          far:write(long:sub(i, i + 7776))
          task.sleep(0)
        end
        far:write "\nnext\n"
      end)
      assert.is_true(near:read "l" == long)
      assert.equal("next", near:read "l")
    end))

    it("keeps what has come when the time is over", in_task(function()
      local _ <close>, near, far = streams.pair()
      far:write "half"
      near:settimeout(0.02)
      assert.same({ nil, "timed out", "ETIMEDOUT", n = 3 }, table.pack(near:read "l"))
      far:write " and half\n"
      near:settimeout(nil)
      assert.equal("half and half", near:read "l")
    end))

    it("gives what earlier formats got when the time is over", in_task(function()
      local _ <close>, near, far = streams.pair()
      far:write "one\ntw"
      near:settimeout(0.02)
      assert.same({ "one", nil, "timed out", "ETIMEDOUT", n = 4 }, table.pack(near:read("l", "l")))
      assert.equal("tw", near:read(2))
    end))

    it("looks once when there is no time at all", in_task(function()
      local s <close> = source "ready\n"
      s:settimeout(0)
      local line, _, code
      repeat line, _, code = s:read "l" until code ~= "ETIMEDOUT"
      assert.equal("ready", line)
    end))

    it("refuses a second reader, and the first goes on", in_task(function()
      local _ <close>, near, far = streams.pair()
      local reader = task.spawn(near.read, near, "l")
      task.sleep(0)
      assert.error_matches(function() near:read "l" end, "another task is reading")
      assert.error_matches(function() near:recv() end, "another task is reading")
      far:write "for the first\n"
      assert.equal("for the first", reader:join())
    end))

    it("can be cancelled, and the next reader gets everything", in_task(function()
      local _ <close>, near, far = streams.pair()
      far:write "begin"
      local reader = task.spawn(near.read, near, "l")
      task.sleep(0.01)
      reader:cancel()
      far:write " end\n"
      assert.equal("begin end", near:read "l")
    end))

    it("lets others run while a fast peer sends", in_task(function()
      local _ <close>, near, far = streams.pair()
      local _ <close> = task.spawn(function()
        for _ = 1, 100 do far:write(("x"):rep(65536)) end
        far:close()
      end)
      local ticks = 0
      local _ <close> = task.spawn(function()
        while true do
          ticks = ticks + 1
          coroutine.yield()
        end
      end)
      assert.equal(6553600, #near:read "a")
      assert.is_true(ticks > 1)
    end))
  end)

  describe("setlimit()", function()
    it("limits lines, which stay readable", in_task(function()
      local s <close> = source "0123456789\n"
      s:setlimit(9)
      assert.equal("EMSGSIZE", select(3, s:read "l"))
      s:setlimit(10)
      assert.equal("0123456789", s:read "l")
    end))

    it("limits a line whose end never comes", in_task(function()
      local _ <close>, near, far = streams.pair()
      far:write(("x"):rep(1000))
      near:setlimit(100)
      assert.equal("EMSGSIZE", select(3, near:read "l"))
    end))

    it("limits all", in_task(function()
      local s <close> = source(("x"):rep(1000))
      s:setlimit(999)
      assert.equal("EMSGSIZE", select(3, s:read "a"))
      s:setlimit(nil)
      assert.equal(1000, #s:read "a")
    end))

    it("refuses what is no count", in_task(function()
      local s <close> = source ""
      for _, bad in ipairs { 0, -1, 1.5, "x" } do
        assert.has_error(function() s:setlimit(bad) end)
      end
    end))
  end)

  describe("settimeout()", function()
    it("refuses what is no time", in_task(function()
      local s <close> = source ""
      for _, bad in ipairs { -1, 0 / 0, "x" } do
        assert.has_error(function() s:settimeout(bad) end)
      end
    end))
  end)

  describe("recv()", function()
    it("gives what is there, then the end", in_task(function()
      local s <close> = source "some bytes"
      assert.equal("some", s:recv(4))
      assert.equal(" bytes", s:recv())
      assert.same({ n = 0 }, table.pack(s:recv()))
    end))

    it("gives first what a read left", in_task(function()
      local s <close> = source "line\nrest"
      assert.equal("line", s:read "l")
      assert.equal("re", s:recv(2))
      assert.equal("st", s:recv(2))
    end))

    it("gives up when the time is over", in_task(function()
      local _ <close>, near, far = streams.pair()
      near:settimeout(0.01)
      assert.equal("ETIMEDOUT", select(3, near:recv()))
      far:write "late"
      near:settimeout(nil)
      assert.equal("late", near:recv())
    end))

    it("refuses what is no count", in_task(function()
      local s <close> = source ""
      for _, bad in ipairs { 0, -5, 1.5, "x" } do
        assert.has_error(function() s:recv(bad) end)
      end
    end))
  end)

  describe("a failed read", function()
    it("is said again", in_task(function()
      local _ <close>, near, far = streams.pair()
      near:write "unread"
      task.sleep(0.01)
      far:abort()
      for _ = 1, 2 do
        assert.equal("ECONNRESET", select(3, near:read "l"))
        assert.equal("ECONNRESET", select(3, near:recv()))
      end
    end))
  end)
end)
