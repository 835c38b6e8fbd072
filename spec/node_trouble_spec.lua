local trouble = require "p2pd.node.trouble"

-- A trouble whose lines are kept.
local function open()
  local lines, is = {}, { online = true, offline = false }
  return trouble.new {
    is_online = function() return is.online end,
    is_offline = function() return is.offline end,
    write = function(level, line) lines[#lines + 1] = level .. ": " .. line end,
  }, is, lines
end

describe("p2pd.node.trouble", function()
  it("is silent when all is well", function()
    local one, _, lines = open()
    one:tell({})
    assert.same({}, lines)
  end)

  it("tells what does not matter as info", function()
    local one, _, lines = open()
    one:tell({ "the external IPv6 address of eth0 (fd00::1) is unknown: no IPv6 address" })
    assert.equal(1, #lines)
    assert.matches("^info: the external IPv6", lines[1])
  end)

  it("says one line a problem, once, and when it is over", function()
    local one, is, lines = open()
    is.online, is.offline = false, true
    one:tell({ "the external address is unknown: a: timed out; b: timed out" },
      "broker:1: refused; other:2: refused")
    one:tell({ "the external address is unknown: b: timed out" }, "other:2: refused")
    is.online, is.offline = true, false
    one:tell({})
    assert.same({
      "warn: no broker answers, so nobody can signal this node yet: broker:1: refused; "
        .. "the external address is unknown: a: timed out",
      "info: the network is in order again",
    }, lines)
  end)

  it("tells of brokers alone, and of the outside alone", function()
    local one, is, lines = open()
    is.online = false
    one:tell(nil, ("x"):rep(1000))
    is.online, is.offline = true, true
    one:tell({ "the external address is unknown" })
    assert.equal(2, #lines)
    assert.is_true(#lines[1] < 300)
    assert.equal("warn: the external address is unknown", lines[2])
  end)
end)
