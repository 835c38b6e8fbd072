-- The machine of a session against a peer that sends what it must not.
local session_peer = require "spec.session_peer"

local frame, hello, start = session_peer.frame, session_peer.hello, session_peer.start
local data, ack = session_peer.data, session_peer.ack

-- What the bytes of a peer come to: the path's end or the session's, and why.
local function fate(...)
  local side <close> = session_peer.new()
  side:feed(...)
  local types, reasons = side:events()
  return types, reasons.ended or reasons.down
end

describe("a session", function()
  describe("does not believe", function()
    local HELLO = hello(1, 0, 1 << 20)
    local PROTOCOL = {
      ["another version"] = { "ended", "the peer speaks another version of sessions", hello(1, 0, 9, 2) },
      ["a peer with the same part"] =
        { "ended", "both sides take the same part in the session", hello(1, 0, 9, 1, 1) },
      ["a path without HELLO"] = { "down lost", "no HELLO", start(0) },
      ["data without HELLO"] = { "down lost", "no HELLO", data(0, "x") },
      ["a second HELLO"] = { "up down lost", "a second HELLO", HELLO .. HELLO },
      ["what is no frame"] = { "down lost", "bytes that are no frame", "GET / HTTP/1.1\r\n" },
      ["a frame that is too long"] =
        { "up down lost", "bytes that are no frame", HELLO .. "\2\0\xff\xff" .. ("x"):rep(20) },
      ["a frame that is too short"] = { "up down lost", "bytes that are no frame", HELLO .. "\3\0\0\4abcd" },
      ["flags that no version has"] =
        { "up down lost", "bytes that are no frame", HELLO .. "\3\1\0\8abcdefgh" },
      ["data that nothing begins"] = { "up down lost", "a gap in the data", HELLO .. data(0, "x") },
      ["a gap"] = { "up down lost", "a gap in the data", HELLO .. start(0) .. data(1, "x") },
      ["a step back"] =
        { "up down lost", "a gap in the data", HELLO .. start(0) .. data(0, "xx") .. data(1, "x") },
      ["data after the end of a path's"] =
        { "up down lost", "a gap in the data", HELLO .. start(0) .. data(0, "x", 2) .. data(2, "x") },
      ["a marker that is elsewhere"] =
        { "up down lost", "a marker that is not at the end of the data", HELLO .. start(0) .. data(0, "x")
          .. frame(4, 0, string.pack(">I8", 7)) },
      ["an acknowledgement of what was never sent"] =
        { "up ended", "the peer has acknowledged what was never sent", HELLO .. ack(1) },
      ["a HELLO that has what was never sent"] =
        { "ended", "the peer has acknowledged what was never sent", hello(1, 5, 9) },
      ["a choice that is ours"] = { "up down lost", "a choice that is ours", HELLO .. frame(7, 0, "") },
      ["an end before its time"] =
        { "up ended", "the peer has ended what was not at its end", HELLO .. frame(11, 0, ("\0"):rep(8)) },
      ["data after the end"] =
        { "up ended", "data after the end", HELLO .. start(0) .. data(0, "x", 2) .. start(0)
          .. data(0, "xyz") },
    }
    for what, case in pairs(PROTOCOL) do
      it(what, function()
        local types, reason = fate(case[3])
        assert.same({ case[1], case[2] }, { types, reason })
      end)
    end

    it("a window that was not given", function()
      local side <close> = session_peer.new { keep_max = 65536 }
      side:feed(HELLO, start(0))
      for i = 0, 4 do side:feed(data(i * 16000, ("x"):rep(16000))) end
      assert.equal("the peer has sent more than it may", select(2, side:events()).ended)
      assert.is_true(side.machine:info().unread <= 65536)
    end)

    it("a peer that will not send what is missing", function()
      local side <close> = session_peer.new()
      side:feed(HELLO)
      for _ = 1, 20 do
        side:feed(start(100), data(100, "x"))
        side.machine:poll(1, side.now)
      end
      assert.equal("the peer does not send what is missing", select(2, side:events()).ended)
    end)

    it("but skips what later versions may add", function()
      local side <close> = session_peer.new()
      side:feed(HELLO, frame(200, 255, ("x"):rep(5000)), start(0), data(0, "read on"))
      assert.equal("read on", side.machine:read())
    end)

    it("and reads frames that come byte by byte", function()
      local side <close> = session_peer.new()
      local bytes = HELLO .. start(0) .. data(0, "slowly") .. data(6, "", 2)
      for byte in bytes:gmatch "." do side:feed(byte) end
      assert.equal("slowly", side.machine:read())
      assert.equal(0, select("#", side.machine:read()))
    end)

    it("and shows a peer's reason without its control characters", function()
      local types, reason = fate(HELLO, frame(12, 0, "\0\104a\27[2Jb"))
      assert.same({ "up ended", "the peer has ended the session: a?[2Jb" }, { types, reason })
    end)
  end)
end)
