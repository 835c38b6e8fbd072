-- However a lab ends, nothing of it is left.
local agent = require "spec.lab.agent"
local child = require "spec.child"
local helper = require "spec.helper"
local lab = require "p2pd.lab"
local labs = require "spec.lab.labs"
local lfs = require "lfs"
local p2pd = require "p2pd"
local probe = require "spec.lab.probe"
local task = helper.task

local WAIT_S, PAUSE_S = 15, 0.005

local HOSTS = { a = { nats = { { type = "port-restricted" } }, latency = 0.001 }, c = {} }
local HOSTS_TEXT = '{ a = { nats = { { type = "port-restricted" } }, latency = 0.001 }, c = {} }'

-- A program that leaves its parent and its terminal: its process id.
local DAEMON = { "sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & echo $!" }

local function is_there(path)
  return lfs.attributes(path) ~= nil
end

local function is_process(pid)
  local status = helper.read(("/proc/%d/status"):format(pid))
  return status ~= "" and not status:find "State:%s+Z"
end

labs.describe("p2pd.lab, closing,", function()
  -- What a lab is made of: its folder and processes.
  local function open(servers)
    local l = assert(lab.open { hosts = HOSTS, servers = servers })
    local traces = { folder = l.folder, l.keeper.pid, l.netdelay:pid(), tonumber(l:run("a", DAEMON).out) }
    for _, kind in ipairs { "brokers", "stuns", "ntps", "turns" } do
      for _, server in ipairs(l[kind]) do traces[#traces + 1] = server.child:pid() end
    end
    return l, traces
  end

  local function is_gone(traces)
    for _, pid in ipairs(traces) do
      if is_process(pid) then return false end
    end
    return not is_there(traces.folder)
  end

  local function check_present(traces)
    for _, pid in ipairs(traces) do assert.is_true(is_process(pid)) end
    assert.is_true(is_there(traces.folder))
  end

  local function wait_until_gone(traces)
    local deadline = p2pd.clock.monotonic() + WAIT_S
    while not is_gone(traces) do
      assert.is_true(p2pd.clock.monotonic() < deadline, "something is left of the lab")
      p2pd.sleep(PAUSE_S)
    end
  end

  it("waits until all is gone", task(function()
    local l, traces = open { brokers = 1, stuns = 1, ntps = 1, turns = 1 }
    local sleeper <close> = assert(l:spawn("a", { "sleep", "1000" }))
    check_present(traces)
    l:close()
    assert.is_true(is_gone(traces))
    assert.same({ "signal", 9 }, { sleeper:wait(WAIT_S) })
    l:close()
    assert.error_matches(function() l:run("a", { "true" }) end, "attempt to use a closed lab")
  end))

  it("works outside of tasks too", function()
    local l, traces = open()
    l:close()
    helper.in_task(function() wait_until_gone(traces) end)
  end)

  it("happens when a block is left by an error", task(function()
    local traces
    assert.error_matches(function()
      local l <close>, found = open()
      traces = found
      assert(l)
      error "trouble"
    end, "trouble")
    wait_until_gone(traces)
  end))

  it("happens when its task is cancelled", task(function()
    local traces
    local opened = p2pd.condition()
    local user = p2pd.spawn(function()
      local l <close>, found = open { brokers = 1 }
      traces = found
      opened:signal()
      l:run("a", { "sleep", "1000" })
    end)
    opened:wait(WAIT_S)
    check_present(traces)
    user:cancel()
    wait_until_gone(traces)
  end))

  -- A process with a lab, which tells its folder and its keeper.
  local function spawn_user(code, options)
    local process = child.spawn(([[
      local lab = require "p2pd.lab"
      task.run(function()
        local l <close> = assert(lab.open { hosts = %s, servers = { brokers = 1 } })
        print(l.folder)
        print(l.keeper.pid)
        print(l:run("a", { "sh", "-c", "setsid sleep 1000 >/dev/null 2>&1 & echo $!" }).out)
        %s
      end)]]):format(HOSTS_TEXT, code), options)
    process:stdout():settimeout(WAIT_S)
    local function line() return assert(process:stdout():read "l") end
    return process, { folder = line(), tonumber(line()), tonumber(line()) }
  end

  it("happens at Ctrl-C", task(function()
    local process <close>, traces = spawn_user "task.sleep(1000)"
    check_present(traces)
    process:kill "INT"
    process:wait(WAIT_S)
    wait_until_gone(traces)
  end))

  it("happens when its process is killed", task(function()
    local process <close>, traces = spawn_user "task.sleep(1000)"
    check_present(traces)
    process:kill "KILL"
    wait_until_gone(traces)
  end))

  it("happens when something is missing, which is named", task(function()
    local folder = helper.scratch()
    assert(lfs.mkdir(folder .. "/p2pd"))
    assert(lfs.link(package.searchpath("p2pd.core", package.cpath):gsub("^([^/])", lfs.currentdir() .. "/%1"),
      folder .. "/p2pd/core.so", true))
    local result = child.run(([[
      local lab = require "p2pd.lab"
      local l, reason, code = task.run(lab.open, { hosts = %s })
      print(l, reason, code)]]):format(HOSTS_TEXT),
      { env = { LUA_CPATH = folder .. "/?.so;;", TMPDIR = folder, PATH = "/usr/bin:/bin" } })
    assert.matches("^nil\tlatency, jitter and loss need p2pd%-netdelay, .*\tENOENT\n$", result.out)
    for name in lfs.dir(folder) do assert.not_matches("^p2pd%-", name) end
  end))

  it("leaves another lab alone, which the first never met", task(function()
    local first <close> = assert(lab.open { hosts = HOSTS })
    local second = assert(lab.open { hosts = HOSTS })
    local one <close> = agent.start(first, "c")
    local other <close> = agent.start(second, "a")
    probe.listen(one, 80)
    assert.equal(first:address "c", second:address "c")
    local _, _, code = probe.knock(other, first:address "c", 80)
    assert.equal("ECONNREFUSED", code)
    second:close()
    local mine <close> = agent.start(first, "a")
    assert.equal("welcome", (probe.knock(mine, first:address "c", 80)))
  end))
end)
