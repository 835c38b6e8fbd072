-- The frames of a transfer, as bytes.
local format = require "p2pd.transfer.format"

describe("p2pd.transfer.format", function()
  it("reads what it writes, and nothing else", function()
    local fields = { entry = 7, size = 1 << 40, mtime = 5, mode = 420, path = "a/b" }
    local body = format.pack("F", fields)
    assert.same(fields, format.unpack("F", body))
    for len = 0, #body - 1 do assert.equal("EPROTO", select(3, format.unpack("F", body:sub(1, len)))) end
    assert.is_nil(format.unpack("F", body .. "x"))
    assert.is_nil(format.unpack("?", body))
    assert.is_nil(format.unpack("Y", ("\255"):rep(8))) -- a negative number
  end)
  it("knows the other side's role and version", function()
    local hello = format.hello(format.SENDER, { files = 1, bytes = 2 })
    local function check(body) return format.check_hello("H", body, format.SENDER) end
    assert.same({ version = 1, role = 1, files = 1, bytes = 2 }, check(hello))
    assert.matches("receives, too", select(2, check(format.hello(format.RECEIVER))))
    assert.matches("another version", select(2, check("\9" .. hello:sub(2))))
    assert.is_nil(format.check_hello("Q", "", format.SENDER))
  end)
end)
