local policy = require "p2pd.policy"

-- A dial whose attempts do what the table says.
local function fake(names, streams)
  local dial = { strategies = names, log = {} }
  function dial:attempt(name, seconds)
    assert.is_nil(seconds) -- as long as its budget
    self.log[#self.log + 1] = name
    return streams[name]
  end
  function dial.race() return "stream", "direct" end
  return dial
end

describe("p2pd.policy", function()
  it("race() is the dial's race", function()
    assert.same({ "stream", "direct" }, { policy.race(fake({}, {})) })
  end)

  it("sequence() tries one after the other and stops at the first success", function()
    local dial = fake({ "direct", "reverse", "punch" }, { reverse = "stream" })
    assert.same({ "stream", "reverse" }, { policy.sequence(dial) })
    assert.same({ "direct", "reverse" }, dial.log)
  end)

  it("sequence() has nothing when all fail, or there are none", function()
    assert.is_nil((policy.sequence(fake({ "direct", "reverse" }, {}))))
    assert.is_nil((policy.sequence(fake({}, {}))))
  end)
end)
