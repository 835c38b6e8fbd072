local birthday = require "p2pd.punch.birthday"
local core = require "p2pd.core"
local helper = require "spec.helper"

describe("p2pd.punch.birthday", function()
  it("is() knows it by both names", function()
    assert.is_true(birthday.is "birthday local")
    assert.is_true(birthday.is "birthday remote")
    assert.is_false(birthday.is "simultaneous")
  end)

  describe("guesses()", function()
    it("are distinct ports", function()
      local seen = {}
      for _, port in ipairs(birthday.guesses(birthday.WAVES * birthday.GUESSES)) do
        assert.is_true(port >= 1024 and port <= 65535 and not seen[port])
        seen[port] = true
      end
    end)

    it("find an open port in 99 % of all waves", function()
      local found = 0
      for _ = 1, 400 do
        local open = {}
        for _, port in ipairs(birthday.guesses(birthday.PORTS)) do open[port] = true end
        for _, port in ipairs(birthday.guesses(birthday.GUESSES)) do
          if open[port] then found = found + 1 break end
        end
      end
      assert.is_true(found >= 384, found .. " of 400")
    end)
  end)

  describe("pace()", function()
    it("makes all guesses where answers come soon", function()
      local hold, count = birthday.pace(0.02)
      assert.near(0.11, hold, 1e-9)
      assert.equal(birthday.GUESSES, count)
    end)

    it("makes fewer where each has to wait long, and some always", function()
      for _, delay in ipairs { 0.15, 0.3, 0.63, 2, 60 } do
        local hold, count = birthday.pace(delay)
        assert.is_true(hold > 0 and hold <= birthday.WAVE_S)
        assert.is_true(math.type(count) == "integer" and count >= 320 and count < birthday.GUESSES)
      end
    end)
  end)

  it("first_ttl() changes from wave to wave, over the attempts", function()
    assert.equal(2, birthday.first_ttl(1, 1))
    assert.not_equal(birthday.first_ttl(1, birthday.WAVES), birthday.first_ttl(1, 1))
    assert.equal(birthday.first_ttl(2, 1), birthday.first_ttl(1, birthday.WAVES + 1))
    assert.is_nil(birthday.first_ttl(100, 1))
  end)

  it("waves() fit the window", function()
    assert.equal(birthday.WAVES, birthday.waves(birthday.LASTS))
    assert.equal(birthday.WAVES, birthday.waves(10))
    assert.equal(1, birthday.waves(0.001))
  end)

  it("fire() has one wave follow the other at once", function()
    local first, second = birthday.fire(100, 1, 200), birthday.fire(100, 2, 200)
    assert.same({ 100, first.deadline }, { first.at, second.at })
    assert.is_true(first.deadline - first.at < 1) -- SYNs are sent again after a second
    assert.equal(100.5, birthday.fire(100, 1, 100.5).deadline)
    assert.equal(0.2, birthday.fire(100, 1, 200, 0.2).hold)
  end)

  it("fire() is legal however slow the brokers are", helper.task(function()
    for _, delay in ipairs { 0, 0.15, 0.63, 2, 60 } do
      local now = core.clock.monotonic()
      local fire = birthday.fire(now + 1, 1, now + 11, (birthday.pace(delay)))
      fire.mappings = { { remote_ip = "127.0.0.1", remote_port = 1 } }
      assert(core.punch.start(fire)):close()
    end
  end))
end)
