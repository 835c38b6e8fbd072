local helper = require "spec.helper"
local streams = require "spec.streams"
require "p2pd.stream" -- adds the methods
local in_task = helper.task

describe("p2pd.stream.messages", function()
  it("come as they were sent", in_task(function()
    local _ <close>, near, far = streams.pair()
    local sent = { "one", "", "three\n\0", ("x"):rep(100000) }
    for _, message in ipairs(sent) do assert.equal(near, near:send(message)) end
    near:shutdown()
    local got = {}
    for message in far:messages() do got[#got + 1] = message end
    assert.same(sent, got)
    assert.is_nil((far:receive()))
  end))

  it("begin with their length, the highest byte first", in_task(function()
    local _ <close>, near, far = streams.pair()
    near:send "abc"
    assert.equal("\0\0\0\3abc", far:read(7))
  end))

  it("have a greatest length on both sides", in_task(function()
    local _ <close>, near, far = streams.pair()
    local function check_refused(bound, ...)
      local ok, message, code = ...
      assert.same({ nil, "a message of 5 bytes, and 4 are the most", "EMSGSIZE", 4 },
        { ok, message, code, bound })
    end
    check_refused(4, near:send("12345", 4))
    near:send "12345"
    check_refused(4, far:receive(4))
    assert.error_matches(function() far:messages(4)() end, "4 are the most")
    assert.equal("12345", far:receive(5))
    assert.equal("EMSGSIZE", select(3, near:send(("x"):rep(1024 * 1024 + 1))))
  end))

  it("can be waited for again after a timeout", in_task(function()
    local _ <close>, near, far = streams.pair()
    far:settimeout(0.01)
    for _, part in ipairs { "\0\0", "\0\5ab", "cd" } do
      near:write(part)
      assert.equal("ETIMEDOUT", select(3, far:receive()))
    end
    near:write "e"
    far:settimeout(5)
    assert.equal("abcde", far:receive())
  end))

  it("that are cut off are an error, not an end", in_task(function()
    for _, part in ipairs { "\0\0", "\0\0\0\5abc", "\0\0\0\5" } do
      local _ <close>, near, far = streams.pair()
      near:write(part)
      near:shutdown()
      assert.same({ nil, "the stream ended within a message", "EPROTO" }, { far:receive() })
    end
  end))

  it("are strings, with a bound that makes sense", in_task(function()
    local _ <close>, near = streams.pair()
    assert.error_matches(function() near:send(5) end, "a message is a string")
    for _, bad in ipairs { -1, 1.5, 2 ^ 40, "x" } do
      assert.has_error(function() near:receive(bad) end)
    end
  end))
end)
