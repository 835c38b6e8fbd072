-- The chat in examples/, in the lab: two who talk all the time, whatever happens to what is between them.
local helper = require "spec.helper"
local lab = require "p2pd.lab"
local labs = require "spec.lab.labs"
local task = require "p2pd.task"

local HOME = { nats = { { type = "port-restricted" } }, latency = 0.03 }
local TASK_S, WAIT_S, PACE_S = 90, 10, 0.01

-- Somebody at a keyboard who numbers his lines, and what he sees. The other one's lines have to come once
-- each and in order: what does not is `wrong`.
local person = {}
person.__index = person

local function see(self, line)
  if line:find "^%*" then
    self.notes[#self.notes + 1] = line
  elseif line == ("%s: line %d"):format(self.other, self.seen + 1) then
    self.seen = self.seen + 1
  else
    self.wrong = self.wrong or line
  end
end

local function talk(self)
  while not self.is_silent do
    self.said = self.said + 1
    assert(self.child:stdin():write(("line %d\n"):format(self.said)))
    task.sleep(PACE_S)
  end
end

function person.start(l, host, name, other, ...)
  local child = assert(l:p2pd(host, { env = { P2PD_LOG = "error" }, "examples/chat.lua", name, ... }))
  return setmetatable({ child = child, other = other, said = 0, seen = 0, notes = {}, known = 0 }, person)
end

-- Reads what the chat shows, from here on.
function person:look()
  self.looking = task.spawn(function()
    for line in self.child:stdout():lines() do see(self, line) end
  end)
end

function person:begin()
  self.talking = task.spawn(talk, self)
end

-- Waits until the chat has said something, after what was waited for before.
function person:await(pattern)
  helper.wait_until(function()
    self.known = self.known + 1
    local note = self.notes[self.known]
    self.known = note and self.known or self.known - 1
    return note and note:find(pattern)
  end)
end

function person:fall_silent()
  self.is_silent = true
  self.talking:join()
end

function person:leave()
  self.child:stdin():close()
  assert.same({ "exit", 0 }, { self.child:wait(WAIT_S) })
  assert.equal("", self.child:stderr():read "a")
  self.looking:join()
end

labs.describe("the example chat, in the lab,", function()
  local function sh(l, host, ...)
    local result = assert(l:run(host, { "sh", "-ec", (...):format(select(2, ...)) }))
    assert.same({ "", 0 }, { result.err, result.status })
  end

  local function move_to(l, host, number)
    local net = l:address(host):match "^(.*%.)%d+$"
    sh(l, host, "ip addr flush dev eth0; ip addr add %s%d/24 dev eth0; ip route add default via %s1", net,
      number, net)
  end

  -- Both see more of each other than they had when this began.
  local function go_on(one, other)
    local enough, enough_of_other = one.seen + 20, other.seen + 20
    helper.wait_until(function()
      return one.wrong or other.wrong or one.seen >= enough and other.seen >= enough_of_other
    end)
  end

  local function check_whole(one, other)
    helper.wait_until(function() return one.wrong or one.seen >= other.said end)
    assert.is_nil(one.wrong)
    assert.equal(other.said, one.seen)
  end

  it("loses no line when the relay dies, an address changes twice and a NAT reboots", helper.task(function()
    local l <close> = assert(lab.open { hosts = { a = HOME, b = HOME },
      servers = { brokers = 1, stuns = 2, ntps = 1, turns = 1 } })
    l.settings = helper.settings { brokers = l.brokers, stuns = l.stuns, ntps = l.ntps,
      turn = { l.turns[1]:turn "tcp" } }
    local bob = person.start(l, "b", "Bob", "Ada")
    local _ <close> = bob.child
    local ada = person.start(l, "a", "Ada", "Bob", assert(bob.child:stdout():read "l"), "relay", "punch")
    local _ <close> = ada.child
    ada:look()
    bob:look()
    ada:await "^%* Bob is here, by relay$"
    bob:await "^%* Ada is here"
    ada:begin()
    bob:begin()
    l.turns[1]:stop()
    ada:await "^%* Bob: by punch instead of relay"
    go_on(ada, bob)
    for _, number in ipairs { 77, 78 } do
      move_to(l, "a", number)
      ada:await "by punch instead of punch %(resumed%)"
      go_on(ada, bob)
    end
    assert(l:reboot "a")
    ada:await "by punch instead of punch %(resumed%)"
    go_on(ada, bob)
    ada:fall_silent()
    bob:fall_silent()
    check_whole(ada, bob)
    check_whole(bob, ada)
    bob:leave()
    ada:await "^%* Bob has left$"
    ada:leave()
  end, TASK_S))
end)
