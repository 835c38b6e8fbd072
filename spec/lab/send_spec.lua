-- Two people behind port-restricted NATs: a file by a code, broken off half-way and finished.
local core = require "p2pd.core"
local helper = require "spec.helper"
local lab = require "p2pd.lab"
local labs = require "spec.lab.labs"

local WAIT, LARGE = 30, 30 * 1000 * 1000

labs.describe("p2pd send and recv, in the lab", function()
  local l, base

  setup(function()
    base = helper.scratch()
    local make = "LD_PRELOAD= sh -c 'mkdir %s/in && head -c %d /dev/urandom >%s/large'"
    os.execute(make:format(base, LARGE, base))
    core.task.run(function()
      local function host()
        return { latency = 0.01, nats = { { type = "port-restricted", delta = "equal" } } }
      end
      l = assert(lab.open { hosts = { home = host(), away = host() },
        servers = { brokers = 1, stuns = 1, ntps = 1, turns = 0 } })
    end)
  end)
  teardown(function()
    core.task.run(function() if l then l:close() end end)
    helper.close_all()
  end)

  local function run(host, ...)
    local line = { os.getenv "P2PD_EXE" or "./p2pd", ... }
    line.cwd, line.stdin, line.stdout, line.stderr = base, "null", "pipe", "pipe"
    line.env = { P2PD_LOG = "error", XDG_DATA_HOME = base .. "/data" }
    local child = assert(l:spawn(host, line))
    child:stderr():settimeout(WAIT)
    return child
  end

  local function listen(child, pattern)
    while true do
      local line = assert(child:stderr():read "l", "it ended")
      local found = line:match(pattern)
      if found then return found end
    end
  end

  local function size_of_part()
    local kind, size = assert(core.folder.open(base .. "/in")):stat "large.p2pd.part"
    return kind and size or 0
  end

  it("punch, and go on after the receiver was killed", function()
    helper.in_task(function()
      local sender <close> = run("home", "send", "large")
      local first <close> = run("away", "recv", listen(sender, "p2pd recv (%S+)"), "--to", "in")
      assert.equal("punch", listen(first, "connected by (%S+)"))
      helper.wait_until(function() return size_of_part() > LARGE // 10 end)
      first:kill "KILL"
      first:wait(WAIT)
      local second <close> = run("away", "recv", listen(sender, "p2pd recv (%S+)"), "--to", "in")
      assert.same({ "exit", 0 }, { second:wait(WAIT) })
      assert.same({ "exit", 0 }, { sender:wait(WAIT) })
      assert.is_true(os.execute(("LD_PRELOAD= cmp '%s/large' '%s/in/large'"):format(base, base)))
    end, 90)
  end)
end)
