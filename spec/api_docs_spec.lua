local helper = require "spec.helper"
local lfs = require "lfs"

describe("the API's pages", function()
  local folder, start

  setup(function()
    if not os.execute "command -v ldoc >/dev/null" then return end
    folder = helper.scratch()
    for name, place in pairs { config = folder, core = folder .. "/core" } do
      local command = "LD_PRELOAD= ldoc -q -c docs/%s.ld -d '%s' . >/dev/null 2>&1"
      os.execute(command:format(name, place))
    end
    start = helper.read(folder .. "/index.html")
  end)

  teardown(helper.close_all)

  local function test(what, fn)
    it(what, function()
      if not folder then return pending "there is no ldoc" end
      fn()
    end)
  end

  test("start with what is public", function()
    local at = 0
    for _, name in ipairs { "p2pd", "node", "session", "pipe", "task", "contacts", "clock", "address",
      "policy", "code",
      "transfer", "strategy" } do
      local id = name == "p2pd" and name or "p2pd." .. name
      at = assert(start:find(('<section id="%s">'):format(id), at + 1, true), name)
    end
    assert.is_truthy(start:find('<section id="inside">', at, true))
    assert.matches("<code>p2pd.core</code>[^.]*private", start)
  end)

  local function has(text)
    return start:find(text, 1, true) ~= nil
  end

  test("show calls as they are written", function()
    for _, call in ipairs { "p2pd.node([given])", "node:accept([protocol[, timeout]])", "pipe:read(...)" } do
      assert.is_true(has("<code>" .. call .. "</code>"), call)
    end
    assert.is_false(has "<code>methods")
  end)

  test("lose no word between angle brackets", function()
    assert.is_true(has "&lt;close&gt;")
    assert.is_false(has "<close>")
  end)

  -- Every page's links within the folder, and the places that they name.
  test("lead nowhere that is not there", function()
    for _, kind in ipairs { ".", "modules", "classes", "topics", "core", "core/modules" } do
      for file in lfs.dir(folder .. "/" .. kind) do
        local page = file:find "%.html$" and helper.read(("%s/%s/%s"):format(folder, kind, file)) or ""
        for link in page:gmatch 'href="([^":]*)"' do
          local path, place = link:match "^([^#]*)#?(.*)$"
          local target = ("%s/%s/%s"):format(folder, kind, path)
          local is_page = path == "" or lfs.attributes(target, "mode") == "file"
          assert.is_true(is_page or path:find "^%.%./[%w_/]+%.md$" ~= nil, ("%s: %s"):format(file, link))
          if place ~= "" and path:find "index%.html$" then
            assert.is_true(has(('id="%s"'):format(place)), ("%s: %s"):format(file, link))
          end
        end
      end
    end
  end)
end)
