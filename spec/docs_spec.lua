-- The documents name files; those have to be there.
local helper = require "spec.helper"
local lfs = require "lfs"

local DOCS = { "docs/architecture.md", "docs/strategies.md", "docs/guide/repl.md", "README.md", "docs/lab.md",
  "docs/protocol.md", "docs/security.md", "docs/guide/deployment.md", "docs/guide/applications.md",
  "CONTRIBUTING.md" }

-- What looks like a path of this repository.
local function paths_in(text)
  local list = {}
  for path in text:gmatch "`([%w_/.-]+)`" do
    local top = path:match "^(%w+)/"
    local is_example = path:find "%u%u%u" ~= nil
    if top and not is_example and lfs.attributes(top, "mode") == "directory" then list[#list + 1] = path end
  end
  return list
end

describe("the documents", function()
  for _, name in ipairs(DOCS) do
    it(name .. " names files that are there", function()
      for _, path in ipairs(paths_in(helper.read(name))) do
        assert.is_not_nil(lfs.attributes(path, "mode"), ("%s: there is no %s"):format(name, path))
      end
    end)
  end

  it("docs/architecture.md shows the steps of five walks", function()
    local _, walks = helper.read("docs/architecture.md"):gsub("\n### [^\n]+\n\n1%. ", "")
    assert.equal(5, walks)
  end)

  -- The folders below one, and its files in C and Lua.
  local function units_of(folder)
    local list = {}
    for name in lfs.dir(folder) do
      local path = folder .. "/" .. name
      local is_folder = name:sub(1, 1) ~= "." and lfs.attributes(path, "mode") == "directory"
      if is_folder then list[#list + 1] = path .. "/" end
      if name:find "%.c$" or name:find "%.lua$" then list[#list + 1] = path end
    end
    return list
  end

  it("docs/architecture.md leaves no file or folder out", function()
    local text = helper.read "docs/architecture.md"
    for _, folder in ipairs { "lua/p2pd", "host", "bindings" } do
      for _, path in ipairs(units_of(folder)) do
        assert.is_truthy(text:find("`" .. path .. "`", 1, true), path)
      end
    end
  end)
end)
