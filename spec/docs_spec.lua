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
end)
