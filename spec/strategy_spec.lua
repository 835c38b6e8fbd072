local field = require "p2pd.signal.field"
local strategy = require "p2pd.strategy"

local function dial() end

-- A strategy with these fields besides.
local function new(fields)
  local module = { name = "mine", dial = dial }
  for key, value in pairs(fields or {}) do module[key] = value end
  return module
end

describe("p2pd.strategy", function()
  describe("find()", function()
    it("finds ours by name", function()
      for _, name in ipairs(strategy.DEFAULT) do
        local module = strategy.find(name)
        assert.equal(require("p2pd.strategy." .. name), module)
        assert.equal(name, module.name)
      end
    end)

    it("takes a module as it is", function()
      local knock = { reply = "KNOCKED", fields = { n = field.flag } }
      local module = new { cost = 2, messages = { KNOCK = knock } }
      assert.equal(module, strategy.find(module))
    end)

    it("refuses what is no strategy", function()
      assert.error_matches(function() strategy.find "teleport" end, '^no strategy "teleport"$')
      assert.error_matches(function() strategy.find {} end, "^a strategy is a name, or a module")
      assert.error_matches(function() strategy.find(5) end, "^a strategy is a name, or a module")
    end)

    it("passes on what is wrong with a module's text", function()
      package.preload["spec.broken"] = function() error "out of order" end
      local ok, reason = pcall(strategy.find, "spec.broken")
      assert.is_false(ok)
      assert.matches('^no strategy "spec.broken": .*out of order', reason)
      package.preload["spec.broken"] = nil
    end)

    it("says what is wrong with a strategy", function()
      local wrong = {
        ["its name has to be"] = { name = "my own" },
        ["cost is not a number from 0 on"] = { cost = -1 },
        ["budget is not a number"] = { budget = "2 s" },
        ["feasible is not a function"] = { feasible = true },
        ["messages is not a table"] = { messages = "KNOCK" },
        ["message knock: is no type"] = { messages = { knock = {} } },
        ["message ECHO: is one of signalling's own"] = { messages = { ECHO = {} } },
        ["message KNOCK: is not a table"] = { messages = { KNOCK = true } },
        ["message KNOCK: the check of n is not a function"] =
          { messages = { KNOCK = { fields = { n = 1 } } } },
        ["message KNOCK: answer is not a function"] = { messages = { KNOCK = { answer = 5 } } },
        ["message KNOCK: reply is no type"] = { messages = { KNOCK = { reply = "a b" } } },
      }
      for reason, fields in pairs(wrong) do
        assert.error_matches(function() strategy.find(new(fields)) end, "^strategy .*: " .. reason)
      end
      assert.error_matches(function() strategy.find { dial = dial } end, "^strategy nil: its name")
    end)
  end)

  it("exists() knows which names there are", function()
    for _, name in ipairs(strategy.DEFAULT) do assert.is_true(strategy.exists(name)) end
    assert.is_false(strategy.exists "teleport")
  end)

  describe("load()", function()
    it("gives modules in the same order", function()
      local mine = new()
      assert.same({ mine, strategy.find "direct" }, strategy.load { mine, "direct" })
    end)

    it("refuses no list, an empty one, and two of a name", function()
      assert.error_matches(function() strategy.load {} end, "not a list of one or more")
      assert.error_matches(function() strategy.load "direct" end, "not a list of one or more")
      assert.error_matches(function() strategy.load { new(), new() } end, 'two strategies are called "mine"')
    end)
  end)

  describe("messages()", function()
    it("gives each with its strategy and the pipe's id", function()
      local knock = { fields = { n = field.flag }, reply = "KNOCKED", answer = dial }
      local mine = new { messages = { KNOCK = knock } }
      local entry = strategy.messages({ mine }).KNOCK
      assert.same({ mine, "KNOCKED", dial, field.id, field.flag },
        { entry.strategy, entry.reply, entry.answer, entry.fields.pipe, entry.fields.n })
    end)

    it("refuses one type of two strategies", function()
      local mine, yours = new { messages = { KNOCK = {} } }, new { name = "yours", messages = { KNOCK = {} } }
      assert.error_matches(function() strategy.messages { mine, yours } end,
        "strategies mine and yours both have a message KNOCK")
    end)
  end)

  it("enabled() asks each, and puts the cheapest first", function()
    local function names(list, settings)
      for i, module in ipairs(strategy.enabled(list, settings)) do list[i] = module.name end
      return list
    end
    local cheap, dear = new { name = "cheap", cost = 1 }, new { name = "dear", cost = 9 }
    local never = new { name = "never", enabled = function(settings) return settings.always end }
    assert.same({ "cheap", "mine", "dear" }, { table.unpack(names({ dear, new(), cheap }, {})) })
    assert.same({ "cheap" }, { strategy.enabled({ never, cheap }, {})[1].name })
    assert.equal(2, #strategy.enabled({ never, cheap }, { always = true }))
  end)

  it("the relay is enabled for who has a TURN server", function()
    local relay = strategy.find "relay"
    assert.is_false(relay.enabled { turn = {} })
    assert.is_true(relay.enabled { turn = { { host = "127.0.0.1", port = 3478 } } })
  end)
end)
