local child = require "spec.child"
local helper = require "spec.helper"
local in_task = helper.task

-- What a task does when the signal comes; each says so on stdout first.
local STATES = {
  ["sleeps"] = "print 'there' task.sleep(60)",
  ["is busy"] = "print 'there' while true do end",
  ["is busy in a protected call"] = "print 'there' pcall(function() while true do end end) task.sleep(60)",
  ["waits for a connection"] = [[
    local listener <close> = core.tcp.listen { ip = "127.0.0.1" }
    print "there"
    listener:accept()
  ]],
  ["connects"] = [[
    local listener <close> = core.tcp.listen { ip = "127.0.0.1", backlog = 0 }
    local _, port = listener:getsockname()
    local queued <close> = core.tcp.connect("127.0.0.1", port)
    task.spawn(print, "there")
    local stream <close> = core.tcp.connect("127.0.0.1", port)
  ]],
  ["reads"] = [[
    local input <close> = core.stream.fd(0)
    print "there"
    input:read "a"
  ]],
  ["waits for another task"] = [[
    local other <close> = task.spawn(task.sleep, 60)
    print "there"
    other:join()
  ]],
  ["waits for what cannot be interrupted by others"] = [[
    task.spawn(function() print "there" while true do end end)
    task.sleep(60)
  ]],
}

local FRAME = [[
  task.run(function()
    local _ <close> = setmetatable({}, { __close = function() print "closed" end })
    %s
  end)
]]

local function interrupted(code, signal)
  local process <close> = child.spawn(FRAME:format(code))
  assert.equal("there", process:stdout():read "l")
  process:kill(signal)
  return child.finish(process)
end

describe("an interrupt", function()
  for _, signal in ipairs { "INT", "TERM" } do
    describe("SIG" .. signal, function()
      for what, code in pairs(STATES) do
        it("ends a program that " .. what, in_task(function()
          local result = interrupted(code, signal)
          assert.same({ "exit", 1, "closed\n" }, { result.how, result.status, result.out })
          assert.matches("interrupted!", result.err)
        end))
      end
    end)
  end

  it("that is swallowed is the last: the second ends the process", in_task(function()
    local process <close> = child.spawn(FRAME:format [[
      local function stubborn()
        print "there"
        while true do end
      end
      while true do
        if not pcall(stubborn) then print "caught" end
      end
    ]])
    process:stdout():read "l"
    process:kill "INT"
    assert.equal("caught", process:stdout():read "l")
    assert.equal("there", process:stdout():read "l")
    process:kill "INT"
    assert.same({ "signal", 2 }, { process:wait() })
  end))

  it("lets a task that lingers say what it has to say", in_task(function()
    local result = interrupted([[
      local _ <close> = setmetatable({}, { __close = function()
        task.spawn(function() task.sleep(0.02) print "said" end):linger()
        task.spawn(function() task.sleep(0.01) print "heard" end)
        task.spawn(function() task.sleep(60) print "never" end)
      end })
      print "there"
      task.sleep(60)
    ]], "TERM")
    assert.same({ "exit", 1, "closed\nheard\nsaid\n" }, { result.how, result.status, result.out })
  end))

  it("counts while closed streams drain at the end", in_task(function()
    local process <close> = child.spawn [[
      print(pcall(task.run, function()
        local listener <close> = core.tcp.listen { ip = "127.0.0.1" }
        local _, port = listener:getsockname()
        client = core.tcp.connect("127.0.0.1", port)
        server = listener:accept()
        client:settimeout(0)
        while client:write(("x"):rep(50000)) do end
        client:close()
        task.spawn(print, "there")
      end))
    ]]
    assert.equal("there", process:stdout():read "l")
    process:kill "INT"
    assert.equal("false\tinterrupted!", process:stdout():read "l")
  end))

  it("goes to a task that waits for it", in_task(function()
    local process <close> = child.spawn [[
      print(task.run(function()
        task.spawn(print, "there")
        return "got", core.task.wait_interrupt()
      end))
    ]]
    assert.equal("there", process:stdout():read "l")
    process:kill "INT"
    local result = child.finish(process)
    assert.same({ 0, "got\t2\n" }, { result.status, result.out })
  end))

  it("is told by interrupted()", in_task(function()
    local process <close> = child.spawn [[
      pcall(task.run, function() print "there" task.sleep(60) end)
      print(core.task.interrupted())
    ]]
    process:stdout():read "l"
    process:kill "TERM"
    assert.equal("15", process:stdout():read "l")
  end))

  it("leaves the former handlers in place", in_task(function()
    local process <close> = child.spawn [[
      task.run(function() end)
      print "there"
      while true do end
    ]]
    process:stdout():read "l"
    process:kill "TERM"
    assert.same({ "signal", 15 }, { process:wait() })
  end))
end)
