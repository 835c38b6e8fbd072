-- Who a node's listener turns away, who it lets in, and how many.
local core = require "p2pd.core"
local handshake = require "p2pd.handshake"
local helper = require "spec.helper"
local id = require "p2pd.id"
local loopback = require "spec.loopback"
local nodes = require "spec.nodes"
local p2pd = require "p2pd"
local task, wait_until = helper.task, helper.wait_until

local WAIT = 5

describe("p2pd.node", function()
  local world = loopback.new(setup, teardown, { stun = true })
  local usual_timeout = handshake.TIMEOUT

  after_each(function() handshake.TIMEOUT = usual_timeout end)

  -- The first line of a stream without TLS.
  local function hello(node, to)
    return ("P2PD/1 dial %s %s %s\n"):format(id.new(), id.new(), to or node.id)
  end

  -- A dialer by hand, up to its go.
  local function dial(node, about)
    local stream = nodes.call(node)
    assert(core.tls.client(stream, about.context, node.id, WAIT))
    return stream
  end

  describe("its listener", function()
    local function check_turned_away(text, answer, options)
      return task(function()
        local node <close> = world:start(options)
        local stranger <close> = nodes.call(node, text(node))
        local got = stranger:read "a"
        assert.matches(answer, got or "")
        wait_until(function() return node:stats().turned_away == 1 end)
        assert.same({ 0, 0 }, { node:stats().unverified, node:stats().accepted })
      end)
    end

    it("turns garbage away", check_turned_away(function() return "GET / HTTP/1.1\r\n\r\n" end, "^$"))
    it("turns random bytes away", check_turned_away(function()
      return core.random.bytes(200) .. "\n"
    end, "^$"))
    it("turns endless lines away", check_turned_away(function() return ("x"):rep(100000) end, "^$"))
    it("turns words too many away", check_turned_away(function(node)
      return hello(node):gsub("\n", " more\n")
    end, "^$"))
    it("turns who comes without TLS away, and says why", check_turned_away(hello,
      "^P2PD/1 refused only encrypted pipes here\n$"))
    it("turns who comes for no dial of ours away, without a word", check_turned_away(function()
      return ("P2PD/1 back %s\n"):format(id.new())
    end, "^$"))
    it("without TLS turns who wants another node away, without a word", check_turned_away(function(node)
      return hello(node, id.new())
    end, "^$", { secure = false }))
    it("without TLS turns away who does not say go", check_turned_away(function(node)
      return hello(node) .. "P2PD/1 stop\n"
    end, "^P2PD/1 ready %w+ %w+\n$", { secure = false }))

    it("turns away who does not say go", task(function()
      local node <close> = world:start()
      local stranger <close> = dial(node, nodes.new())
      stranger:write "P2PD/1 stop\n"
      stranger:read "a"
      wait_until(function() return node:stats().turned_away == 1 end)
    end))

    it("turns the silent away after the deadline", task(function()
      handshake.TIMEOUT = 0.05
      local node <close> = world:start()
      local silent <close> = nodes.call(node)
      local begun <close> = nodes.call(node, "\x16\3\1")
      assert.equal("", silent:read "a")
      assert.equal("", begun:read "a")
      wait_until(function() return node:stats().turned_away == 2 end)
    end))

    it("survives who hangs up at any step", task(function()
      local node <close> = world:start { secure = false }
      local text = hello(node) .. "P2PD/1 go x\n"
      local ends = { 0, 1, 6, 30, #hello(node) - 1, #hello(node), #text - 1 }
      for _, at in ipairs(ends) do
        local gentle = nodes.call(node, text:sub(1, at))
        gentle:close()
        local rude = nodes.call(node, text:sub(1, at))
        rude:abort()
      end
      wait_until(function() return node:stats().unverified == 0 end)
      local pipe <close> = assert(node:connect(node.address, { strategies = { "direct" } }))
      local accepted <close> = assert(node:accept(WAIT))
      assert.equal(pipe.id, accepted.id)
    end))

    it("lets 64 strangers wait, and nobody beyond", task(function()
      handshake.TIMEOUT = 0.5
      local node <close> = world:start()
      local strangers <close> = p2pd.spawn(function()
        local crowd = {}
        for i = 1, 100 do crowd[i] = assert(core.tcp.connect("127.0.0.1", nodes.port_of(node))) end
        return crowd
      end)
      local crowd = strangers:join(WAIT)
      wait_until(function() return node:stats().turned_away >= 36 end)
      assert.is_true(node:stats().unverified <= 64)
      wait_until(function() return node:stats().turned_away == 100 end)
      for _, stream in ipairs(crowd) do stream:close() end
      local alice <close> = world:start()
      local pipe <close> = assert(alice:connect(node.address, { strategies = { "direct" } }))
      assert.equal("direct", pipe.strategy)
    end))

    it("lets in whom a list names, and not whom another one does", task(function()
      local alice, eve, mallory = nodes.new(), nodes.new(), nodes.new()
      local node <close> = world:start { allow = { alice.id, mallory.id }, deny = { mallory.id },
        trust = { eve.id } }
      local verdicts = {}
      for i, one in ipairs { alice, eve, mallory } do
        local stream <close> = dial(node, one)
        stream:write(("P2PD/1 go pipe%d\n"):format(i))
        verdicts[i] = stream:read "l"
      end
      assert.same({ "P2PD/1 accepted", "P2PD/1 refused not allowed", "P2PD/1 refused not allowed" }, verdicts)
      assert.same({ "trusted", "trusted", "stranger" }, { node.limits.trust:step(alice.id),
        node.limits.trust:step(eve.id), node.limits.trust:step(mallory.id) })
      for _, name in ipairs { "allow", "deny", "trust" } do
        assert.error_matches(function() world:start { [name] = { "a b" } } end,
          name .. " is .* a list of node ids")
      end
    end))

    it("keeps a stranger from having all pipes, and others from none", task(function()
      local node <close> = world:start { limits = { pipes_of_strangers = 6, pipes_of_peer = 4 } }
      local eve, alice = nodes.new(), nodes.new()
      local streams, accepted = {}, {}
      local function open(one, i)
        streams[i] = dial(node, one)
        streams[i]:write(("P2PD/1 go pipe%d\n"):format(i))
        return streams[i]:read "l"
      end
      for i = 1, 4 do
        assert.equal("P2PD/1 accepted", open(eve, i))
        accepted[i] = assert(node:accept(WAIT))
      end
      assert.equal("P2PD/1 refused too busy", open(eve, 5))
      for i = 6, 8 do
        assert.equal("P2PD/1 accepted", open(alice, i))
        accepted[i] = assert(node:accept(WAIT))
      end
      assert.equal(6, node:stats().limits.pipes_of_strangers.used)
      assert.is_nil((streams[1]:read "l"))
      for i, pipe in pairs(accepted) do
        pipe:close()
        streams[i]:close()
      end
      streams[5]:close()
      assert.equal(0, node:stats().limits.pipes_of_strangers.used)
    end))

    it("refuses pipes when enough wait to be accepted", task(function()
      local node <close> = world:start { limits = { pipes_waiting_of_strangers = 20 } }
      local pipes = {}
      local alice = nodes.new()
      for i = 1, 20 do
        pipes[i] = dial(node, alice)
        pipes[i]:write(("P2PD/1 go pipe%d\n"):format(i))
      end
      wait_until(function() return node:stats().waiting == 20 end)
      local late <close> = dial(node, alice)
      late:write "P2PD/1 go late\n"
      assert.equal("P2PD/1 refused too busy", late:read "l")
      assert.is_nil((late:read "l"))
      assert.equal(1, node:stats().limits.pipes_waiting_of_strangers.refused)
      for _, stream in ipairs(pipes) do stream:close() end
    end))
  end)
end)
