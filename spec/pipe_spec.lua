local core = require "p2pd.core"
local helper = require "spec.helper"
local pipe = require "p2pd.pipe"
local streams = require "spec.streams"
local in_task = helper.task

local ABOUT = { strategy = "direct", peer = "PEER", id = "PIPE", interface = "lo", attempts = { {} } }

local function pair()
  local both, near, far = streams.pair()
  return both, pipe.new(near, ABOUT), pipe.new(far, { strategy = "reverse", peer = "OTHER" })
end

describe("p2pd.pipe", function()
  describe("new()", function()
    it("tells where the pipe comes from", in_task(function()
      local _ <close>, near = pair()
      assert.same({ "direct", "PEER", "PIPE", "lo", ABOUT.attempts },
        { near.strategy, near.peer, near.id, near.interface, near.attempts })
      assert.equal("pipe (open, direct, PEER)", tostring(near))
    end))
  end)

  describe("read() and write()", function()
    it("work as in Lua's io library", in_task(function()
      local _ <close>, near, far = pair()
      assert.equal(near, near:write("one\n", 2, "\nrest"))
      near:shutdown()
      assert.same({ "one", "2\n", "re", "st", n = 4 }, table.pack(far:read("l", "*L", 2, "a")))
      assert.is_nil(far:read())
    end))

    it("fail with a message and a code", in_task(function()
      local _ <close>, near = pair()
      near:settimeout(0.01)
      assert.same({ nil, "timed out", "ETIMEDOUT", n = 3 }, table.pack(near:read()))
      local big = ("x"):rep(20 * 1024 * 1024)
      local ok, message, code, taken = near:write(big)
      assert.same({ nil, "timed out", "ETIMEDOUT" }, { ok, message, code })
      assert.is_true(taken > 0 and taken < #big)
      near.stream:abort()
    end))
  end)

  describe("recv()", function()
    it("gives what is there", in_task(function()
      local _ <close>, near, far = pair()
      near:write "abc"
      assert.equal("ab", far:recv(2))
      assert.equal("c", far:recv())
      near:close()
      assert.is_nil(far:recv())
    end))
  end)

  describe("lines()", function()
    it("goes through the lines until the end", in_task(function()
      local _ <close>, near, far = pair()
      near:write "a\n\nb"
      near:shutdown()
      local seen = {}
      for line in far:lines() do seen[#seen + 1] = line end
      assert.same({ "a", "", "b" }, seen)
    end))

    it("takes formats", in_task(function()
      local _ <close>, near, far = pair()
      near:write "1a2b3"
      near:shutdown()
      local seen = {}
      for digit, letter in far:lines(1, 1) do seen[#seen + 1] = { digit, letter } end
      assert.same({ { "1", "a" }, { "2", "b" }, { "3" } }, seen)
    end))

    it("raises on a failure, where it is used", in_task(function()
      local _ <close>, near = pair()
      near:settimeout(0)
      local ok, message = pcall(function() for _ in near:lines() do end end)
      assert.is_false(ok)
      assert.matches("pipe_spec.lua:%d+: timed out", message)
    end))
  end)

  describe("shutdown()", function()
    it("ends our half", in_task(function()
      local _ <close>, near, far = pair()
      assert.equal(near, near:shutdown())
      assert.equal("", far:read "a")
      assert.equal("EPIPE", select(3, near:write "x"))
      far:write "still\n"
      assert.equal("still", near:read())
    end))
  end)

  describe("abort()", function()
    it("may be called twice, and the peer gets no end", in_task(function()
      local _ <close>, near, far = pair()
      assert.equal(near, near:write "half")
      assert.is_true(near:abort())
      assert.is_true(near:abort())
      assert.is_nil(near:info())
      far:settimeout(5)
      local data, message = far:read "a"
      assert.same({ nil, true }, { data, message ~= nil })
    end))
  end)

  describe("close()", function()
    it("may be called twice and leaves methods that fail", in_task(function()
      local _ <close>, near = pair()
      assert.is_true(near:close())
      assert.is_true(near:close())
      for _, method in ipairs { "read", "recv", "write", "shutdown", "detach", "info" } do
        local _, message, code = near[method](near)
        assert.same({ "the stream is closed", "EBADF" }, { message, code })
      end
      assert.equal("pipe (closed, direct, PEER)", tostring(near))
    end))

    it("sends what was written", in_task(function()
      local _ <close>, near, far = pair()
      near:write(("x"):rep(100000))
      near:close()
      assert.equal(100000, #far:read "a")
    end))
  end)

  describe("info()", function()
    it("tells the ends, the bytes and the times", in_task(function()
      local _ <close>, near, far = pair()
      near:write "12345"
      far:read(5)
      local ours, theirs = near:info(), far:info()
      assert.matches("^127%.0%.0%.1:%d+$", ours["local"])
      assert.same({ ours["local"], ours.remote }, { theirs.remote, theirs["local"] })
      assert.same({ 5, 0, 5 }, { ours.sent, ours.received, theirs.received })
      assert.same({ "direct", "PEER", "PIPE", "lo" }, { ours.strategy, ours.peer, ours.id, ours.interface })
      assert.is_true(ours.rtt >= 0 and ours.age >= 0 and ours.queued == 0)
    end))
  end)

  describe("detach()", function()
    it("gives the descriptor away", in_task(function()
      local _ <close>, near, far = pair()
      local raw <close> = core.stream.fd(near:detach(), true)
      raw:write "raw\n"
      assert.equal("raw", far:read())
      assert.equal("EBADF", select(3, near:read()))
    end))
  end)

  describe("the peer's verdict", function()
    local AWAITING = { strategy = "direct", peer = "PEER", awaits_verdict = true }

    local function waiting_pair()
      local both, near, far = streams.pair()
      return both, pipe.new(near, AWAITING), far
    end

    local function check_refused(say, act)
      return in_task(function()
        local _ <close>, near, far = waiting_pair()
        near:settimeout(5)
        say(far)
        assert.same({ nil, "refused by the peer: not you", "EACCES" }, { act(near) })
        for _, name in ipairs { "read", "recv", "write", "shutdown" } do
          assert.equal("EACCES", select(3, near[name](near, name == "write" and "x" or nil)))
        end
        assert.error_matches(function() near:lines()() end, "refused by the peer: not you")
      end)
    end

    local function refuse(far)
      far:write "P2PD/1 refused not you\n"
      far:shutdown()
    end

    it("comes before the first bytes", in_task(function()
      local _ <close>, near, far = waiting_pair()
      assert.equal(near, near:write "early\n")
      assert.equal("early", far:read "l")
      far:write("P2PD/1 accepted\n", "P2PD/1 refused is mine\n")
      assert.equal("P2PD/1 refused is mine", near:read "l")
    end))

    it("that refuses is what a read gets", check_refused(refuse, function(near) return near:read "l" end))
    it("that refuses is what a wait for the end gets", check_refused(refuse,
      function(near) return near:read "a" end))
    it("that refuses is what a write gets, once it has come", check_refused(refuse, function(near)
      local ok, message, code
      helper.wait_until(function()
        ok, message, code = near:write "x"
        return not ok
      end)
      return ok, message, code
    end))

    it("that is missing is no clean end", in_task(function()
      local _ <close>, near, far = waiting_pair()
      far:close()
      assert.same({ nil, "the peer hung up", "ECONNRESET" }, { near:read "a" })
    end))

    it("that is nonsense is an error", in_task(function()
      local _ <close>, near, far = waiting_pair()
      far:write "HTTP/1.1 200 OK\r\n"
      assert.equal("EPROTO", select(3, near:read "l"))
      assert.equal("EPROTO", select(3, near:write "x"))
    end))

    it("may be waited for by a reader while another task writes", in_task(function()
      local _ <close>, near, far = waiting_pair()
      local reading <close> = core.task.spawn(function() return near:read "l" end)
      for i = 1, 10 do
        assert.equal(near, near:write(i, "\n"))
        assert.equal(tostring(i), far:read "l")
      end
      far:write("P2PD/1 accepted\n", "hello\n")
      assert.equal("hello", reading:join(5))
    end))

    it("keeps to the pipe's timeout", in_task(function()
      local _ <close>, near = waiting_pair()
      near:settimeout(0.01)
      assert.equal("ETIMEDOUT", select(3, near:read "l"))
      assert.equal(near, near:write "x")
      assert.equal("ETIMEDOUT", select(3, near:read "l"))
    end))
  end)
end)
