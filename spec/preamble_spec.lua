local preamble = require "p2pd.preamble"
local streams = require "spec.streams"
local task = require "spec.helper".task

-- What read() makes of bytes, and what is left after them.
local function hear(bytes)
  local _ <close>, near, far = streams.pair()
  far:write(bytes)
  far:close()
  near:settimeout(5)
  local words, message, code = preamble.read(near)
  return words, message, code, words and near:read "a"
end

describe("p2pd.preamble", function()
  it("is read as it was written", task(function()
    local _ <close>, near, far = streams.pair()
    assert(preamble.write(far, "up", "pipe1"))
    near:settimeout(5)
    assert.same({ "up", "pipe1", is_clean = true }, preamble.read(near))
  end))

  it("leaves what follows its line", task(function()
    local words, _, _, rest = hear "P2PD/1 go pipe\n\x16\3\1rest"
    assert.same({ "go", "pipe", is_clean = true }, words)
    assert.equal("\x16\3\1rest", rest)
  end))

  it("refuses strangers, long lines and ends", task(function()
    for bytes, expected in pairs {
      ["GET / HTTP/1.1\r\n"] = "EPROTO", ["\n"] = "EPROTO", ["P2PD/2 up p\n"] = "EPROTO",
      ["P2PD/1 up"] = "ECONNRESET", [""] = "ECONNRESET",
    } do
      local words, message, code = hear(bytes)
      assert.same({ nil, expected }, { words, code })
      assert.is_string(message)
    end
    assert.is_nil((hear("P2PD/1 " .. ("x"):rep(400) .. "\n")))
  end))

  it("tells control characters", task(function()
    assert.is_false(hear("P2PD/1 up pipe\r\n").is_clean)
  end))

  it("tells a refusal in printable characters", task(function()
    local _ <close>, near, far = streams.pair()
    assert(preamble.refuse(far, "too \27[1mbusy"))
    near:settimeout(5)
    assert.equal("refused by the peer: too ?[1mbusy", preamble.refusal(preamble.read(near)))
    assert.is_nil(preamble.refusal { "go", "pipe" })
  end))
end)
