local directions = require "spec.lint.directions"
local helper = require "spec.helper"

describe("the directions of requires and includes", function()
  teardown(helper.close_all)

  -- What is said about a tree of these files.
  local function check(files)
    local root = helper.scratch()
    for path, text in pairs(files) do
      os.execute(("mkdir -p '%s/%s'"):format(root, path:match "^(.*)/"))
      helper.write(root .. "/" .. path, text)
    end
    return table.concat(directions.check(root), "\n")
  end

  local function refuses(files, ...)
    local said = check(files)
    for _, words in ipairs { ... } do assert.matches(words, said, 1, true) end
  end

  it("are found whichever way a require is written", function()
    local text = [=[
      local a, b = require "a", require("b")
      local ok, c = pcall(require, 'c')
      -- local no = require "no"
      --[[ require "no" ]] local d = require [[no]]
      local s = 'require "no"'
      local e = require("e." .. name), required "no"
    ]=]
    assert.same({ "a", "b", "c", "e." }, directions.requires(text))
  end)

  it("may be right", function()
    assert.equal("", check {
      ["lua/p2pd/init.lua"] = 'require "p2pd.node"',
      ["lua/p2pd/node.lua"] = 'require "p2pd.node.part" require "p2pd.core" require "dkjson"',
      ["lua/p2pd/node/part.lua"] = 'require "p2pd.node"', -- within a room
      ["scripts/chat.lua"] = 'require "p2pd"',
      ["examples/talk.lua"] = 'require "p2pd" require "examples.words"',
      ["examples/words.lua"] = "",
      ["host/a.h"] = "#include <ev.h>",
      ["host/a.c"] = '#include "host/a.h"',
      ["host/main.c"] = '#include <lua.h>\n#include "bindings/b.h"\nint main(void) {}',
      ["bindings/b.h"] = '#include <lua.h>\n#include "host/a.h"',
    })
  end)

  describe("are refused", function()
    it("for a circle of two rooms", function()
      refuses({
        ["lua/p2pd/a.lua"] = 'require "p2pd.b.part"',
        ["lua/p2pd/b/part.lua"] = "",
        ["lua/p2pd/b.lua"] = 'local function f() return require "p2pd.a" end',
      }, "a circle of rooms: a, b", "a -> b: lua/p2pd/a.lua", "b -> a: lua/p2pd/b.lua")
    end)

    it("for a circle through the first module", function()
      refuses({ ["lua/p2pd/init.lua"] = 'require "p2pd.a"', ["lua/p2pd/a.lua"] = 'require "p2pd"' },
        "a circle of rooms: a, p2pd")
    end)

    it("for a circle of three units", function()
      refuses({
        ["host/a.h"] = '#include "host/b.h"',
        ["host/b.h"] = "",
        ["host/b.c"] = '#include "host/b.h"\n#include "host/c/d.h"',
        ["host/c/d.h"] = "",
        ["host/c/d.c"] = '#include "host/a.h"',
      }, "a circle of units: host/a, host/b, host/c/d", "host/b -> host/c/d: host/b.c")
    end)

    it("for a require of what is above", function()
      local files = {
        ["lua/p2pd/a.lua"] = 'require "spec.helper" require "p2pd.scripts.chat" require "examples.talk"',
        ["scripts/chat.lua"] = 'require "spec.helper"',
        ["examples/talk.lua"] = 'require "spec.helper"',
        ["spec/helper.lua"] = "",
      }
      refuses(files, 'lua/p2pd/a.lua requires "spec.helper"', 'lua/p2pd/a.lua requires "p2pd.scripts.chat"',
        'lua/p2pd/a.lua requires "examples.talk"', 'scripts/chat.lua requires "spec.helper"',
        'examples/talk.lua requires "spec.helper"')
    end)

    it("for a require of what is not there", function()
      refuses({ ["spec/a_spec.lua"] = 'require "p2pd.gone"' },
        'spec/a_spec.lua requires "p2pd.gone", which is no file here')
    end)

    it("for Lua in the host", function()
      refuses({ ["host/a.c"] = "/* int main(void) */\n# include <lauxlib.h>" },
        "host/a.c includes <lauxlib.h>")
      refuses({ ["netdelay/a.c"] = "#include <lua.h>" }, "netdelay/a.c includes <lua.h>")
    end)

    it("for an include of what is above", function()
      refuses({ ["host/a.c"] = '#include "bindings/b.h"', ["bindings/b.h"] = "" },
        'host/a.c includes "bindings/b.h"')
      refuses({ ["bindings/b.c"] = '#include "netdelay/n.h"', ["netdelay/n.h"] = "" },
        'bindings/b.c includes "netdelay/n.h"')
    end)

    it("for an include that is not from the root", function()
      for _, name in ipairs { "b.h", "../host/b.h", "host/gone.h", "host/../host/b.h" } do
        refuses({ ["host/a.c"] = ('#include "%s"'):format(name), ["host/b.h"] = "" },
          ('host/a.c includes "%s", which is no file from the root'):format(name))
      end
    end)
  end)
end)
