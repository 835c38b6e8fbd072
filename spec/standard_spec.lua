-- Standard input and output of the executable, as streams.
local core = require "p2pd.core"
local helper = require "spec.helper"
local lfs = require "lfs"
local in_task = helper.task

local CAT = "for line in p2pd.stdin:lines() do assert(p2pd.stdout:write(line, '\\n')) end"

-- Ticks while it waits for input.
local TICK = [[
  local ticks = 0
  local ticking = p2pd.every(0.005, function() ticks = ticks + 1 end)
  local line = p2pd.stdin:read "l"
  p2pd.stdout:write(line, " ", ticks > 1 and "ticked" or "stopped", "\n")]]

local function run(redirection, code)
  local status, out, err = helper.run_redirected(redirection, { "-e", code })
  return { status, out, err }
end

describe("p2pd.standard", function()
  teardown(helper.close_all)

  it("lets other tasks run while it waits for a pipe", in_task(function()
    local child <close> = helper.p2pd("-e", TICK)
    core.task.sleep(0.3)
    child:stdin():write "x\n"
    assert.equal("x ticked\n", child:stdout():read "a")
  end))

  it("lets other tasks run while it waits for a terminal", in_task(function()
    if not os.execute "command -v script >/dev/null" then return pending "there is no script(1)" end
    local program = os.getenv "P2PD_EXE" or lfs.currentdir() .. "/p2pd"
    local file = helper.write(helper.scratch() .. "/tick.lua", TICK)
    local child <close> = assert(core.process.spawn { "script", "-qec", program .. " " .. file, "/dev/null",
      stdin = "pipe", stdout = "pipe" })
    core.task.sleep(0.5)
    child:stdin():write "x\n"
    child:stdout():settimeout(10)
    repeat
      local line = assert(child:stdout():read "l")
    until line:find "x ticked"
  end))

  it("reads and writes files", in_task(function()
    local folder = helper.scratch()
    helper.write(folder .. "/in", ("line\n"):rep(50000))
    assert.same({ 0, "", "" }, run(("<%s/in >%s/out"):format(folder, folder), CAT))
    assert.is_true(helper.read(folder .. "/in") == helper.read(folder .. "/out"))
  end))

  it("takes /dev/null, and closed descriptors, for what they are", in_task(function()
    assert.same({ 0, "", "" }, run("</dev/null", CAT))
    assert.same({ 0, "", "" }, run("<&-", CAT))
    assert.same({ 0, "", "" }, run(">/dev/null", "assert(p2pd.stdout:write 'x')"))
    assert.equal("EBADF", run(">&-", "io.stderr:write((select(3, p2pd.stdout:write 'x')))")[3])
    assert.equal("ENOSPC", run(">/dev/full", "io.stderr:write((select(3, p2pd.stdout:write 'x')))")[3])
  end))

  it("writes behind what print has said, and all of it before the end", in_task(function()
    local child <close> = helper.p2pd("-e", "print 'first' p2pd.stdout:write(('x'):rep(200000))")
    core.task.sleep(0.2)
    assert.equal(200006, #child:stdout():read "a")
    assert.same({ "exit", 0 }, { child:wait(5) })
  end))

  it("warns once when io.read would stop other tasks", in_task(function()
    local code = "local t <close> = p2pd.every(1, print) io.read() io.read() for _ in io.lines() do end"
    local got = run("</dev/null", code)
    assert.equal(1, select(2, got[3]:gsub("p2pd.stdin:read%(%) does not", "")))
    assert.same({ 0, "nil\n", "" }, run("</dev/null", "local _ = p2pd.VERSION print(io.read())"))
  end))
end)
