local core = require "p2pd.core"
local deadline = require "p2pd.deadline"
local framing = require "p2pd.stun.framing"
local streams = require "spec.streams"
local task = require "spec.helper".task

local function read(bytes, head, length_of, limit)
  local _ <close>, near, far = streams.pair()
  far:write(bytes)
  if not limit then far:close() end
  local message, reason, code = framing.read(near, head, length_of, limit)
  return message, reason, code, message and not limit and near:read "a"
end

describe("p2pd.stun.framing", function()
  local request = core.stun.encode {}

  it("reads a message to the byte", task(function()
    local message, _, _, rest = read(request .. "more", 20, core.stun.frame_length)
    assert.same({ request, "more" }, { message, rest })
  end))

  it("reads a channel's data", task(function()
    local frame = "\x40\0\0\3abc\0"
    local message, _, _, rest = read(frame .. "more", 4, core.turn.frame_length)
    assert.same({ frame, "more" }, { message, rest })
  end))

  it("says that the server hung up in the middle", task(function()
    for _, bytes in ipairs { "", request:sub(1, 10), "\x40\0\0\3ab" } do
      local message, reason, code = read(bytes, 4, core.turn.frame_length)
      assert.same({ nil, "the server closed the connection", "ECONNRESET" }, { message, reason, code })
    end
  end))

  it("refuses garbage", task(function()
    local message, reason = read(("\xff"):rep(20), 20, core.stun.frame_length)
    assert.is_nil(message)
    assert.is_string(reason)
  end))

  it("keeps a deadline", task(function()
    local _, _, code = read("\x40\0\0\3a", 4, core.turn.frame_length, deadline.after(0.01))
    assert.equal("ETIMEDOUT", code)
  end))
end)
