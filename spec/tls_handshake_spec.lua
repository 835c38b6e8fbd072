local encryption = require "spec.encryption"

local core, in_task, nodes, relays, streams, task = encryption.tools()
local alice, bob, eve, random = encryption.alice, encryption.bob, encryption.eve, encryption.random
local serve_against, dial_against = encryption.serve_against, encryption.dial_against

describe("p2pd.core.tls", function()
  describe("a handshake", function()
    local garbage = { ["a line"] = "GET / HTTP/1.1\r\n\r\n", zeros = ("\0"):rep(4096),
      ["a line of our own"] = "P2PD/1 ready abc def\n", ["empty records"] = ("\22\3\1\0\0"):rep(40),
      ["a record that is too long"] = "\22\3\3\255\255" .. ("x"):rep(70000) }
    for what, bytes in pairs(garbage) do
      local function talk(stream)
        stream:write(bytes)
        stream:recv()
        stream:recv()
      end

      it("with " .. what .. " fails at once", in_task(function()
        assert.equal("EPROTO", select(3, serve_against(talk)))
        assert.equal("EPROTO", select(3, dial_against(talk)))
      end))
    end

    it("with random bytes fails", in_task(function()
      for _ = 1, 50 do
        local bytes = random(math.random(5, 600))
        local ok, _, code = serve_against(function(stream)
          stream:write(bytes)
          stream:shutdown()
          stream:recv()
        end)
        assert.is_nil(ok)
        assert.is_true(code == "EPROTO" or code == "ECONNRESET", code)
      end
    end))

    it("that nobody answers times out, and the stream is dead", in_task(function()
      local _ <close>, near = streams.pair()
      local ok, message, code = core.tls.client(near, alice.context, bob.id, 0.05)
      assert.is_nil(ok)
      assert.matches("timed out", message)
      assert.equal("ETIMEDOUT", code)
      assert.equal("EBADF", select(3, near:write "x"))
    end))

    it("that nobody begins times out", in_task(function()
      assert.equal("ETIMEDOUT", select(3, serve_against(function(s) s:recv() end, 0.05)))
    end))

    it("with a peer that hangs up says so, at every step", in_task(function()
      local hang_up = function(s) s:close() end
      for _, try in ipairs { serve_against, dial_against } do
        local _, message, code = try(hang_up)
        assert.matches("hung up in the TLS handshake", message)
        assert.equal("ECONNRESET", code)
      end
    end))

    it("that is cut anywhere fails on both sides or is done", in_task(function()
      for allowed = 1, 1400, 93 do
        local relay <close>, near, far = relays.new()
        local left = allowed
        relay.filter = function(data)
          local part = data:sub(1, left)
          left = left - #part
          if left > 0 then return part end
          task.spawn(relay.cut, relay)
          return part
        end
        local mine, theirs = nodes.shake({ stream = near, node = alice, peer = bob.id },
          { stream = far, node = bob, peer = alice.id })
        assert.is_true(theirs[1] or theirs[3] == "ECONNRESET", theirs[2])
        assert.is_true(mine[1] or mine[3] == "ECONNRESET", mine[2])
      end
    end))

    it("comes through byte by byte", in_task(function()
      local relay <close>, near, far = relays.new()
      relay.filter = function(data, upwards)
        local to = upwards and relay.outer or relay.inner
        for i = 1, #data - 1 do to:write(data:sub(i, i)) task.sleep(0) end
        return data:sub(-1)
      end
      nodes.encrypt(near, alice, far, bob)
      near:write "slowly\n"
      assert.equal("slowly", far:read "l")
    end))

    it("that is cancelled leaves nothing", in_task(function()
      local _ <close>, near, far = streams.pair()
      local client = task.spawn(core.tls.client, near, alice.context, bob.id)
      local server = task.spawn(core.tls.server, far, bob.context, eve.id)
      task.sleep(0)
      client:cancel()
      server:cancel()
    end))

    it("whose stream is closed meanwhile fails", in_task(function()
      local _ <close>, near = streams.pair()
      local client <close> = task.spawn(core.tls.client, near, alice.context, bob.id)
      task.sleep(0)
      near:close()
      assert.equal("EBADF", select(3, client:join()))
    end))

    it("leaks nothing, 500 times", in_task(function()
      for round = 1, 500 do
        local _ <close>, near, far = streams.pair()
        local peer = round % 5 == 0 and eve.id or alice.id
        nodes.shake({ stream = near, node = alice, peer = bob.id },
          { stream = far, node = bob, peer = peer })
      end
    end, 60))
  end)
end)
