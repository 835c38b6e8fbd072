local helper = require "spec.helper"
local lfs = require "lfs"

local PASSES = 'describe("it", function() it("passes", function() end) end)'
local SUITE = "cd '%s' && mkdir spec && cp '%s'/spec/*.lua spec && %s lua5.4 spec/suite.lua %s 2>&1; echo $?"

describe("the suite", function()
  teardown(helper.close_all)

  -- Runs files with the texts given; returns what was written, and how it ended.
  local function run(texts, more)
    local folder, files = helper.scratch(), {}
    for name, text in pairs(texts) do
      files[#files + 1] = ("'%s'"):format(helper.write(("%s/%s_spec.lua"):format(folder, name), text))
    end
    local command = SUITE:format(folder, lfs.currentdir(), more or "", table.concat(files, " "))
    local pipe <close> = assert(io.popen(command))
    local text, status = pipe:read "a":match "^(.*)\n(%d+)\n$"
    return text, tonumber(status)
  end

  local function check(texts, last, status, shown, more)
    local text, ended = run(texts, more)
    assert.equal(last, text:match "([^\n]*)$")
    assert.equal(status, ended)
    for _, words in ipairs(shown or {}) do assert.matches(words, text, 1, true) end
  end

  it("sums up what its files say", function()
    check({
      a = PASSES, b = PASSES,
      ["c d"] = 'describe("it", function() it("waits", function() pending "no moon" end) end)',
    }, "2 passed, 0 failed, 1 skipped", 0, { "no moon" })
  end)

  it("shows failures in full, and fails", function()
    check({ a = PASSES, b = 'describe("it", function() it("fails", function() error "because" end) end)' },
      "1 passed, 1 failed, 0 skipped", 1, { "b_spec.lua", "it fails", "because", "stack traceback" })
  end)

  it("fails with a file that cannot be read, or has nothing", function()
    check({ a = PASSES, b = "(" }, "1 passed, 1 failed, 0 skipped", 1, { "unexpected symbol" })
    check({ a = PASSES, b = "" }, "1 passed, 1 failed, 0 skipped", 1, { "it has no specs" })
  end)

  it("fails with nothing to run", function()
    check({}, "0 passed, 0 failed, 0 skipped", 1)
  end)

  it("fails with a process that ends before its time, whatever its status", function()
    local exits = 'describe("it", function() it("exits", function() print "last words" os.exit(0) end) end)'
    check({ a = PASSES, b = exits },
      "1 passed, 1 failed, 0 skipped", 1, { "ended with status 0", "last words" })
  end)

  it("ends a process that does not", function()
    check({ a = PASSES, b = 'describe("it", function() it("hangs", function() while true do end end) end)' },
      "1 passed, 1 failed, 0 skipped", 1, { "did not end in time" }, "P2PD_SPEC_SECONDS=1")
  end)

  it("runs what is to be alone after the others", function()
    local text = run { a = PASSES, b = 'describe("it", function() it("is #alone", function() end) end)' }
    assert.matches("a_spec.lua.*b_spec.lua", text)
    assert.matches("\n2 passed, 0 failed, 0 skipped$", text)
  end)

  it("gives each process ports of its own", function()
    local text = run({
      a = 'describe("it", function() it("tells", function() error(os.getenv "P2PD_PORTS") end) end)',
    }, "P2PD_SPEC_SECONDS=20")
    assert.matches("2%d%d%d%d%-%d%d%d%d%d", text)
  end)
end)
