-- Sessions in the lab: pipes through real NATs that outlive what happens to their paths.
local helper = require "spec.helper"
local lab = require "p2pd.lab"
local labs = require "spec.lab.labs"
local peers = require "spec.lab.peers"
local talk = require "spec.lab.talk"
local task = require "p2pd.task"

local HOME = { nats = { { type = "port-restricted" } }, latency = 0.005 }
local TASK_S = 60

labs.describe("p2pd.session, in the lab:", function()
  local function open(servers)
    local wanted = { brokers = 1, stuns = 2, ntps = 1 }
    for key, value in pairs(servers or {}) do wanted[key] = value end
    return assert(lab.open { hosts = { a = HOME, b = HOME }, servers = wanted })
  end

  local function sh(l, host, ...)
    local result = assert(l:run(host, { "sh", "-ec", (...):format(select(2, ...)) }))
    assert.same({ "", 0 }, { result.err, result.status })
  end

  local function gateway(ip) return (ip:gsub("%d+$", "1")) end

  local function move_to(l, host, number)
    local net = l:address(host):match "^(.*%.)%d+$"
    sh(l, host, "ip addr flush dev eth0; ip addr add %s%d/24 dev eth0; ip route add default via %s1", net,
      number, net)
  end

  -- Two nodes, a pipe from a to b that is in use, and the lab: for a function that does something to it.
  local function pair(fn, options)
    options = options or {}
    return helper.task(function()
      local l <close> = open(options.servers)
      local function node() return { node = options.node and options.node(l) } end
      local a <close> = peers.start(l, "a", node())
      local b <close> = peers.start(l, "b", node())
      local said = talk.start(a, b.address, options.connect or { strategies = { "direct", "punch" } })
      said:go_on()
      fn(l, said, a, b)
    end, TASK_S)
  end

  -- What was sent has come back, once and in order.
  local function check_whole(said)
    local found = said:finish()
    assert.same({ "end" }, found.ended)
    assert.equal(found.sent, found.got)
    return found
  end

  for _, host in ipairs { "a", "b" } do
    it("goes on when the address of " .. host .. " changes", pair(function(l, said)
      move_to(l, host, 77)
      said:await("info.session.resumed >= 1 and pipe.strategy")
      said:go_on()
      check_whole(said)
    end))

    it("goes on when the NAT of " .. host .. " has forgotten it", pair(function(l, said)
      assert(l:reboot(host))
      said:await("info.session.resumed >= 1 and pipe.strategy")
      said:go_on()
      local found = check_whole(said)
      assert.matches("^the peer has not answered for", found.story[1].why)
    end))

    it("goes on when the link of " .. host .. " was down", pair(function(l, said)
      sh(l, host, "ip link set eth0 down; sleep 3; ip link set eth0 up; ip route add default via %s",
        gateway(l:address(host)))
      said:await("info.session.resumed >= 1 and pipe.strategy")
      said:go_on()
      check_whole(said)
    end))
  end

  it("goes on when the address changes, twice, under all the load there can be", pair(function(l, said)
    said:go_on(500)
    for i, number in ipairs { 77, 78 } do
      move_to(l, "a", number)
      said:await(("info.session.resumed >= %d and pipe.strategy"):format(i))
      said:go_on(500)
    end
    check_whole(said)
  end, { connect = { strategies = { "direct", "punch" }, length = 10000, pace = 0 } }))

  it("goes on when a cut line is mended", pair(function(l, said)
    assert(l:cut "b")
    said:await "not pipe.strategy"
    assert(l:mend "b")
    said:await("info.session.resumed >= 1 and pipe.strategy")
    said:go_on()
    check_whole(said)
  end))

  it("ends when nothing is mended, with the reasons", pair(function(l, said)
    assert(l:cut "b")
    said:await "talk.ended"
    local found = said:look()
    assert.matches("^the peer vanished: no path for 3 s %(.+%)$", found.ended[1])
    assert.equal("ETIMEDOUT", found.ended[2])
    said:await "#node:sessions() == 0"
  end, { node = function() return { resume = 3 } end }))

  local function turn_settings(l)
    return { settings = select(2, helper.settings { brokers = l.brokers, stuns = l.stuns, ntps = l.ntps,
      turn = { l.turns[1]:turn "tcp" } }) }
  end

  -- How many connections a has to the server: an allocation lives as long as the one that asked for it.
  local function count_relays(l)
    local result = assert(l:run("a", { "cat", "/proc/net/tcp" }))
    return select(2, result.out:gsub((":%04X 01 "):format(l.turns[1].port), ""))
  end

  it("begins with a relay, goes over to a punched path and gives the allocation back",
    pair(function(l, said)
      said:await 'pipe.strategy == "punch"'
      said:go_on()
      helper.wait_until(function() return count_relays(l) == 0 end)
      local found = check_whole(said)
      assert.same({ "relay", "punch" }, { found.story[1].strategy, found.story[2].strategy })
      assert.is_nil(found.story[3])
    end, {
      servers = { turns = 1 }, node = turn_settings,
      connect = { strategies = { "relay", "punch" }, policy = "sequence" },
    }))

  it("is over at once when the peer has been started anew", helper.task(function()
    local l <close> = open()
    local a <close> = peers.start(l, "a")
    local first = peers.start(l, "b", { node = { name = "again" } })
    local address = first.address
    local said = talk.start(a, address, { strategies = { "punch" } })
    said:go_on()
    first:close()
    local second <close> = peers.start(l, "b", { node = { name = "again" } })
    assert.equal(address:match "[^-]+$", second.address:match "[^-]+$")
    said:await "talk.ended"
    assert.same({ "the peer has lost the session", "ECONNRESET" }, said:look().ended)
    local anew = talk.start(a, second.address, { strategies = { "punch" } })
    anew:go_on()
    check_whole(anew)
  end, TASK_S))

  it("is one for two nodes that dial each other at once", helper.task(function()
    local l <close> = open()
    local a <close> = peers.start(l, "a")
    local b <close> = peers.start(l, "b")
    local there, back
    task.all {
      function()
        there = talk.start(a, b.address, { strategies = { "punch" } })
        return true
      end,
      function()
        back = talk.start(b, a.address, { strategies = { "punch" } })
        return true
      end,
    }
    for _, said in ipairs { there, back } do
      said:go_on(200)
      said:await "#node:sessions() == 1"
    end
    local ids = {}
    for i, node in ipairs { a, b } do ids[i] = node:call "return state.pipe:info().session.paths" end
    assert.is_true(ids[1] <= 2 and ids[2] <= 2)
    check_whole(there)
    check_whole(back)
  end, TASK_S))

  -- One side writes and the other one only reads; lines that are not the next one are `wrong`.
  local WRITE = [[
    local pipe = state.pipe or state.node:accept(10)
    state.sent = 0
    task.spawn(function()
      while pipe:write(("%d\n"):format(state.sent + 1)) do
        state.sent = state.sent + 1
        task.sleep(0.005)
      end
    end)]]
  local READ = [[
    local pipe = state.pipe or state.node:accept(10)
    state.got = 0
    task.spawn(function()
      for line in pipe:lines() do
        state.wrong = state.wrong or line ~= tostring(state.got + 1) and line or nil
        state.got = state.got + 1
      end
    end)]]
  local CONNECT = [[
    state.accepting:cancel()
    if ... then state.pipe = assert(state.node:connect(..., { strategies = { "direct", "punch" } })) end]]
  local GO_ON = [[
    local limit, enough = core.clock.monotonic() + 15, state.got + 20
    while state.got < enough and core.clock.monotonic() < limit do task.sleep(0.01) end
    return state.got >= enough and not state.wrong]]
  local WAS_BROKEN = [[
    local limit = core.clock.monotonic() + 15
    local of = state.node:sessions()[1]
    while of:info().resumed == 0 and core.clock.monotonic() < limit do task.sleep(0.01) end
    return of:info().story[1].why]]

  -- The probe that follows the last data, its answer's time, and the second by which a late look excuses it.
  local NOTICED_S = 2 + 1.5 + 1

  for _, reader in ipairs { "a", "b" } do
    it(("notices that the NAT of %s has forgotten it, who only reads"):format(reader), helper.task(function()
      local l <close> = open()
      local a <close> = peers.start(l, "a")
      local b <close> = peers.start(l, "b")
      b:call(CONNECT)
      a:call(CONNECT, b.address)
      local of = { a = a, b = b }
      for name, node in pairs(of) do node:call(name == reader and READ or WRITE) end
      assert.is_true(of[reader]:call(GO_ON))
      assert(l:reboot(reader))
      local silent = of[reader]:call(WAS_BROKEN):match "^the peer has not answered for ([%d.]+) s$"
      assert.is_true(tonumber(silent) <= NOTICED_S)
      assert.is_true(of[reader]:call(GO_ON))
    end, TASK_S))
  end

  -- What stands in for a file: blocks that tell their place.
  local BLOCK_CODE = [[
    local PAD = ("0123456789abcdef"):rep(4096):sub(1, -9)
    local function block_of(i) return ("%08d"):format(i) .. PAD end
  ]]
  local block_of = assert(load(BLOCK_CODE .. "return block_of"))()

  local RECEIVE = BLOCK_CODE .. [[
    state.accepting:cancel()
    state.accepting = task.spawn(function()
      local pipe <close> = state.node:accept()
      local i = 0
      while true do
        local block, reason = pipe:read(65536)
        if block ~= block_of(i + 1) then
          state.received = { blocks = i, left = block and #block or 0, reason = reason }
          return pipe:write "thank you\n"
        end
        i = i + 1
      end
    end)
  ]]
  local RECEIVED = [[
    local limit = core.clock.monotonic() + 15
    while not state.received and core.clock.monotonic() < limit do task.sleep(0.01) end
    return state.received]]

  local BLOCKS = 3200 -- 200 MB

  -- Writes blocks up to a number; returns when most of them are through.
  local function feed(child, from, to)
    for i = from, to do assert(child:stdin():write(block_of(i))) end
    return to + 1
  end

  it("carries p2pd connect through it all, which tells the story", helper.task(function()
    local l <close> = open { turns = 1, brokers = 2 }
    local b <close> = peers.start(l, "b")
    b:call(RECEIVE)
    local path = helper.settings { brokers = l.brokers, stuns = l.stuns, ntps = l.ntps,
      turn = { l.turns[1]:turn "tcp" } }
    local child <close> = assert(l:p2pd("a", { "connect", b.address, "--explain", "--policy", "sequence",
      "--strategies", "relay,punch", "--settings", path }))
    local said = task.spawn(function() return child:stderr():read "a" end)
    local at = feed(child, 1, 40)
    l.turns[1]:stop()
    at = feed(child, at, 800)
    for number, last in pairs { [77] = 1400, [78] = 2000 } do
      move_to(l, "a", number)
      at = feed(child, at, last)
    end
    assert(l:reboot "a")
    at = feed(child, at, BLOCKS)
    assert.equal(BLOCKS + 1, at)
    assert(child:stdin():shutdown())
    assert.same({ blocks = BLOCKS, left = 0 }, b:call(RECEIVED))
    assert.equal("thank you\n", child:stdout():read "a")
    assert.same({ "exit", 0 }, { child:wait(10) })
    local story = said:join():match "p2pd: by these paths:\n(.*)$"
    assert.matches("^ +0.00 s  relay ", story)
    local _, gone = story:gsub(": its local address is gone\n", "")
    assert.equal(2, gone)
    assert.matches("the peer has not answered for", story)
    assert.matches("punch +%S+ > %S+\n +to the end\n$", story)
  end, 120))
end)
