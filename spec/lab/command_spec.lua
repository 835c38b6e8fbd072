-- `p2pd lab`, as a process.
local helper = require "spec.helper"
local labs = require "spec.lab.labs"
local lfs = require "lfs"
local p2pd = require "p2pd"
local task = helper.task

local WAIT = 15

labs.describe("p2pd lab", function()
  local FEW = { "--stuns", "1", "--ntps", "0", "--turns", "0" }

  local function spawn(...)
    local command = { "lab", table.unpack(FEW) }
    for _, word in ipairs { ... } do command[#command + 1] = word end
    local child = helper.p2pd(command)
    for _, name in ipairs { "stdout", "stderr" } do child[name](child):settimeout(WAIT) end
    return child
  end

  -- Reads what it says about its hosts.
  local function read_report(child)
    local function line() return assert(child:stdout():read "l") end
    local report = {}
    for _ = 1, 2 do
      local name = line():match "^host (%a) "
      report[name] = line():match "^%s+(env .*)$"
    end
    report.settings = line():match "^settings  (.*)$"
    return report
  end

  it("runs a command in host a, with its input, output and status", task(function()
    local child <close> = spawn("--a", "full-cone", "--", "sh", "-c", "cat; cat /proc/net/fib_trie; exit 7")
    child:stdin():write "hello\n"
    child:stdin():shutdown()
    local out = child:stdout():read "a"
    assert.matches("^hello\n", out)
    assert.matches("10.0.1.2", out, 1, true)
    assert.same({ "exit", 7 }, { child:wait(WAIT) })
  end))

  it("passes a signal's death and a missing command on as shells do", task(function()
    local killed <close> = spawn("--", "sh", "-c", "kill -KILL $$")
    assert.same({ "exit", 137 }, { killed:wait(WAIT) })
    local missing <close> = spawn("--", "no-such-program")
    assert.same({ "exit", 127 }, { missing:wait(WAIT) })
  end))

  it("tells how to enter its hosts, until the end of its input", task(function()
    local child <close> = spawn("--a", "port-restricted+symmetric/random", "--b", "open", "--latency", "1")
    local report = read_report(child)
    local shell <close> = assert(io.popen(report.b .. " -c 'cat /proc/net/fib_trie; echo $P2PD_SETTINGS'"))
    local said = shell:read "a"
    assert.matches("11.0.2.2", said, 1, true)
    assert.matches(report.settings, said, 1, true)
    assert.is_function(loadfile(report.settings))
    child:stdin():shutdown()
    assert.same({ "exit", 0 }, { child:wait(WAIT) })
    assert.is_nil(lfs.attributes(report.settings))
  end))

  it("ends with 130 at Ctrl-C, and removes the lab", task(function()
    local child <close> = spawn()
    local report = read_report(child)
    child:kill "INT"
    assert.same({ "exit", 130 }, { child:wait(WAIT) })
    local deadline = p2pd.clock.monotonic() + WAIT
    while lfs.attributes(report.settings) do
      assert.is_true(p2pd.clock.monotonic() < deadline)
      p2pd.sleep(0.005)
    end
  end))

  it("refuses what no NAT can do, with status 2", task(function()
    for text, fault in pairs {
      ["odd"] = 'p2pd: "odd" is no type of NAT; there are: open, firewall, full-cone,',
      ["symmetric/equal"] = "p2pd: hosts.a.nats[1].delta: a symmetric NAT has a new port for each",
      ["symmetric+symmetric+symmetric"] = "p2pd: hosts.a.nats: 3 entries are more than 2",
    } do
      local child <close> = spawn("--a", text)
      assert.matches(fault, child:stderr():read "a", 1, true)
      assert.same({ "exit", 2 }, { child:wait(WAIT) })
    end
    local nothing <close> = spawn "--"
    assert.matches("there is no command after --", nothing:stderr():read "a", 1, true)
    assert.same({ "exit", 2 }, { nothing:wait(WAIT) })
  end))
end)
