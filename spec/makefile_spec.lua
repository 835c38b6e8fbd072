local function output_of(command)
  local pipe <close> = assert(io.popen("LD_PRELOAD= MAKEFLAGS= " .. command .. " 2>/dev/null"))
  return pipe:read "a"
end

-- The targets that are files or have rules of their own: by name, true when there is something to be done.
local function rules()
  local found, target = {}, nil
  for line in output_of("make -prRnq help"):gmatch "([^\n]*)\n" do
    local name, needs = line:match "^([%w_-]+):%s*(.*)$"
    target = name or line ~= "" and target or nil
    if name then found[name] = found[name] or needs:find "[%w_-]" ~= nil end
    if target and line:find "^\t" then found[target] = true end
  end
  return found
end

describe("the Makefile", function()
  it("has something to do for every target that its help names", function()
    local known, count = rules(), 0
    for line in output_of("make help"):gmatch "[^\n]+" do
      local target = line:match "^make ([%w_-]+)"
      if target then
        assert.is_true(known[target], "make " .. target .. " does nothing")
        count = count + 1
      end
      for named in line:gmatch "`make ([%w_-]+)`" do assert.is_true(known[named], named) end
    end
    assert.is_true(count > 10)
  end)

  it("has something to do for every target that the README names", function()
    local known = rules()
    for line in io.lines "README.md" do
      local example = line:match "^    make ([%w_-]+)"
      for target in (line .. (example and ("`make %s`"):format(example) or "")):gmatch "`make ([%w_-]+)`" do
        assert.is_true(known[target], "make " .. target .. " does nothing")
      end
    end
  end)
end)
