-- The command chat, as people who type use it.
local chat = require "p2pd.chat"
local commands = require "spec.commands"
local core = require "p2pd.core"
local helper = require "spec.helper"
local p2pd = require "p2pd"
local task, finish, wait_for, wrong = helper.task, commands.finish, commands.wait_for, commands.wrong

describe("the command", function()
  local CODE = "^%*.*p2pd chat " .. commands.CODE
  local world = commands.world(setup, teardown, before_each)

  describe("chat", function()
    it("brings lines to everybody who is there, with names", task(function()
      local bob <close> = world:spawn("chat", "--nick", "bob")
      local address = wait_for(bob:stdout(), "^address: (.*)$")
      local alice <close> = world:spawn("chat", "--nick", "alice", address)
      wait_for(bob:stdout(), "^%* (alice)~.... is here %(direct%)")
      local carol <close> = world:spawn("chat", "--nick", "carol\27[2J", address)
      wait_for(bob:stdout(), "^%* (carol%?%[2J)~.... is here")
      for _, one in ipairs { alice, carol } do wait_for(one:stdout(), "^%* (bob)~.... is here") end
      bob:stdin():write "hello all\n/who\n"
      for _, one in ipairs { alice, carol } do wait_for(one:stdout(), "^bob~....: (hello all)$") end
      wait_for(bob:stdout(), "^%* here: (bob, alice~...., carol.*)$")
      alice:stdin():write "bell\a\n/name Alice\n"
      wait_for(bob:stdout(), "^alice~....: (bell%?)$")
      wait_for(bob:stdout(), "^%* alice~.... is now (Alice)")
      alice:stdin():write "/quit\n"
      assert.same({ "exit", 0 }, { alice:wait(commands.WAIT) })
      wait_for(bob:stdout(), "^%* (Alice)~.... has left$")
      carol:kill "INT"
      wait_for(bob:stdout(), "^%* (carol).* has left: hung up")
      bob:stdin():write "anybody?\n"
      wait_for(bob:stdout(), "^%* (nobody is here)$")
      bob:stdin():close()
      assert.equal(0, (finish(bob)))
    end))

    it("says that somebody's path is gone, and that he has left for good", task(function()
      local bob <close> = world:spawn("chat", "--nick", "bob", "--resume", "1")
      local alice <close> = world:spawn("chat", "--nick", "alice", wait_for(bob:stdout(), "^address: (.*)$"))
      wait_for(bob:stdout(), "^%* (alice)~.... is here")
      alice:kill "KILL"
      wait_for(bob:stdout(), "^%* the path to (alice)~.... is gone: looking for another$")
      wait_for(bob:stdout(), "^%* (alice)~.... has left: the peer vanished")
    end))

    it("is joined by a code, and by another one of /code", task(function()
      local bob <close> = world:spawn("chat", "--nick", "bob", "--code")
      local first = bob:stdout():read "l"
      assert.not_matches("address:", first, 1, true)
      local alice <close> = world:spawn("chat", "--nick", "alice",
        first:match(CODE) or wait_for(bob:stdout(), CODE))
      wait_for(bob:stdout(), "^%* (alice)~.... is here")
      bob:stdin():write "/code\n"
      local carol <close> = world:spawn("chat", "--nick", "carol", wait_for(bob:stdout(), CODE))
      wait_for(bob:stdout(), "^%* (carol)~.... is here")
      bob:stdin():write "/code\n"
      local eve <close> = world:spawn("chat", wrong(wait_for(bob:stdout(), CODE)))
      wait_for(eve:stdout(), "(the code is wrong)")
      wait_for(bob:stdout(), "^%* (somebody tried a wrong code)")
      bob:stdin():write "/nonsense\n"
      wait_for(bob:stdout(), "^%* (/who, /name NAME, /code, /quit)$")
      assert.is_truthy(alice and carol)
    end))

    it("shows what arrives above the line that one types", task(function()
      local bob <close> = world:spawn("chat", "--nick", "bob")
      local address = wait_for(bob:stdout(), "^address: (.*)$")
      local program = helper.executable()
      local alice <close> = assert(core.process.spawn { "script", "-qfec",
        ("%s chat --settings %s --interface lo --nick alice '%s'"):format(program, world.path, address),
        "/dev/null", stdin = "pipe", stdout = "pipe" })
      alice:stdout():settimeout(commands.WAIT)
      wait_for(alice:stdout(), "%* (bob)~.... is here")
      wait_for(bob:stdout(), "%* (alice)~.... is here")
      alice:stdin():write "half a li"
      local drawn = ""
      repeat drawn = drawn .. assert(alice:stdout():recv()) until drawn:find "half a li"
      bob:stdin():write "interrupting\n"
      wait_for(alice:stdout(), "bob~....: (interrupting)\r?$")
      alice:stdin():write "ne\r"
      wait_for(bob:stdout(), "^alice~....: (half a line)$")
      alice:stdin():write "\4" -- Ctrl-D
      wait_for(bob:stdout(), "alice~.... (has left)$")
      assert.same({ "exit", 0 }, { alice:wait(commands.WAIT) })
    end))

    it("lists two who call each other at the same time once", task(function()
      local names = { "one", "two" }
      local chats, heard, closing = {}, { {}, {} }, p2pd.condition()
            local one <close> = world:start { protocols = { chat.PROTOCOL } }
      local two <close> = world:start { protocols = { chat.PROTOCOL } }
      local tasks <close> = require("p2pd.task").group()
      for i, node in ipairs { one, two } do
        chats[i] = chat.new(node, { name = names[i], on_event = function(kind, _, what)
          table.insert(heard[i], kind == "said" and what or kind)
          closing:broadcast()
        end })
        tasks:spawn(chats[i].serve, chats[i])
      end
      tasks:spawn(chats[1].call, chats[1], two.address)
      tasks:spawn(chats[2].call, chats[2], one.address)
      local function count(i)
        local n = 0
        for _ in pairs(chats[i].members) do n = n + 1 end
        return n
      end
      helper.wait_until(function() return count(1) == 2 and count(2) == 2 end)
      chats[1]:say "hello"
      chats[2]:say "hello"
      chats[1]:say "again"
      helper.wait_until(function() return #heard[1] == 2 and #heard[2] == 3 end)
      assert.same({ { "joined", "hello" }, { "joined", "hello", "again" }, 1, 1 },
        { heard[1], heard[2], #chats[1]:who(), #chats[2]:who() })
    end))

    it("calls people by the names of contacts, and says who does not answer", task(function()
      local bob <close> = world:spawn("chat", "--nick", "bob", "--name", "bob")
      wait_for(bob:stdout(), "^address: (.*)$")
      assert.equal(0, (world:run("contacts", "add", "robert", "0-0-0-" .. world:id_of "bob")))
      local alice <close> = world:spawn("chat", "robert", "nobody")
      wait_for(alice:stdout(), "^%* nobody: (nobody is neither)")
      wait_for(alice:stdout(), "^%* (robert) is here")
    end))
  end)
end)
