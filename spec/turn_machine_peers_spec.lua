local core = require "p2pd.core"
local server = require "spec.turn_server"

local allocated, kinds, waits = server.allocated, server.kinds, server.waits
local PEER = { ip = "192.0.2.9", port = 7000 }
local TCP = { reliable = true, tcp = true }

describe("core.turn", function()
  describe("peers", function()
    local function permitted(client, now)
      assert.is_true(client:permit(PEER.ip))
      client:feed(server.success(server.take(client, now or 0)), 0, now or 0)
      return client:event()
    end

    it("are permitted, once each", function()
      local client = allocated()
      assert.is_true(client:permit(PEER.ip))
      local request = server.take(client, 0)
      assert.same({ "permit", PEER.ip, true }, { request.name, request.peer.ip, request.integrity })
      client:permit(PEER.ip)
      waits(client, 0)
      client:feed(server.success(request), 0, 0)
      assert.same({ kind = "permitted", ip = PEER.ip, port = 0 }, client:event())
      client:permit(PEER.ip)
      assert.equal("permitted", client:event().kind)
    end)

    it("can be wanted early: on a stream in one flight with the allocation, else right after it", function()
      for _, reliable in ipairs { true, false } do
        local client = server.client { reliable = reliable }
        assert.is_true(client:permit(PEER.ip))
        client:feed(server.challenge(server.take(client, 0)), 0, 0)
        local allocate = server.take(client, 0)
        local permit = reliable and server.take(client, 0)
        waits(client, 0)
        client:feed(server.success(allocate, { relayed = server.RELAYED, lifetime = 600 }), 0, 0)
        permit = permit or server.take(client, 0)
        assert.same({ "permit", PEER.ip, true }, { permit.name, permit.peer.ip, permit.integrity })
        client:feed(server.success(permit), 0, 0)
        waits(client, 0)
        assert.same({ "allocated", "permitted" }, kinds(client))
      end
    end)

    it("wanted early go with an allocation that fails", function()
      local client = server.client { reliable = true }
      client:permit(PEER.ip)
      client:feed(server.challenge(server.take(client, 0)), 0, 0)
      local allocate, permit = server.take(client, 0), server.take(client, 0)
      client:feed(server.refuse(allocate, 486), 0, 0)
      client:feed(server.refuse(permit, 437), 0, 0)
      assert.same({ "failed" }, kinds(client))
    end)

    it("may be refused, and asked for again", function()
      local client = allocated()
      client:permit(PEER.ip)
      client:feed(server.refuse(server.take(client, 0), 403), 0, 0)
      local event = client:event()
      assert.same({ "failed", "permit", PEER.ip, "EPERM" },
        { event.kind, event.request, event.ip, event.code })
      assert.equal("permitted", permitted(client).kind)
    end)

    it("are of the relayed address's family", function()
      local client = allocated()
      assert.same({ nil, "EAFNOSUPPORT" },
        { (function(ok, _, code) return ok, code end)(client:permit "2001:db8::1") })
    end)

    it("are not too many", function()
      local client = allocated()
      for i = 1, 64 do assert.is_true(client:permit("192.0.2." .. i)) end
      assert.equal("ENOBUFS", select(3, client:permit "192.0.2.65"))
    end)

    it("send and get datagrams by indications", function()
      local client = allocated()
      permitted(client)
      local m = core.stun.decode(client:wrap("hello", PEER.ip, PEER.port))
      assert.same({ "indication", 6, PEER, "hello" }, { m.class, m.method, m.peer, m.data })
      assert.same({ "world", PEER.ip, PEER.port },
        { client:feed(server.indicate("data", { peer = PEER, data = "world" })) })
      assert.equal("", (client:feed(server.indicate("data", { peer = PEER, data = "" }))))
    end)

    it("that are not permitted are not heard", function()
      local client = allocated()
      permitted(client)
      assert.is_false(client:feed(server.indicate("data", { peer = server.MAPPED, data = "x" })))
      assert.is_false(client:feed(server.indicate("data", { peer = PEER })))
    end)

    local function bound(options)
      local client = allocated(options)
      client:bind(PEER.ip, PEER.port)
      local request = server.take(client, 0)
      assert.same({ "bind", 0x4000, PEER }, { request.name, request.channel, request.peer })
      client:feed(server.success(request), 0, 0)
      assert.same({ kind = "bound", ip = PEER.ip, port = PEER.port }, client:event())
      return client
    end

    it("send and get datagrams by channels", function()
      local client = bound()
      assert.equal("\x40\0\0\5hello", client:wrap("hello", PEER.ip, PEER.port))
      assert.same({ "abc", PEER.ip, PEER.port }, { client:feed "\x40\0\0\3abc" })
      assert.same({ "abc", PEER.ip, PEER.port }, { client:feed "\x40\0\0\3abc\0" })
      assert.equal("x", (client:feed(server.indicate("data", { peer = PEER, data = "x" }))))
    end)

    it("have channels padded on streams", function()
      assert.equal("\x40\0\0\5hello\0\0\0", bound({ reliable = true }):wrap("hello", PEER.ip, PEER.port))
    end)

    it("have channels whose length has to fit", function()
      local client = bound()
      for _, bytes in ipairs { "\x40", "\x40\0\0", "\x40\0\0\4abc", "\x40\0\0\3abcdefg", "\x40\0\xff\xff" } do
        assert.equal("EBADMSG", select(3, client:feed(bytes)))
      end
      assert.is_false(client:feed "\x41\0\0\3abc")
      assert.is_false(client:feed "\x7f\xff\0\3abc")
    end)

    it("take no datagram that is too long", function()
      assert.equal("EMSGSIZE", select(3, bound():wrap(("x"):rep(65468), PEER.ip, PEER.port)))
    end)
  end)

  describe("frame_length()", function()
    it("tells STUN from ChannelData", function()
      assert.equal(20, core.turn.frame_length "\0\1\0\0")
      assert.equal(28, core.turn.frame_length "\1\1\0\8")
      assert.equal(4, core.turn.frame_length "\x40\0\0\0")
      assert.equal(8, core.turn.frame_length "\x40\0\0\1")
      assert.equal(65540, core.turn.frame_length "\x40\0\xff\xff")
    end)

    it("refuses what is neither", function()
      assert.equal("EBADMSG", select(3, core.turn.frame_length "\x80\0\0\0"))
      assert.equal("EBADMSG", select(3, core.turn.frame_length "\0\1\0\1"))
      assert.equal("EBADMSG", select(3, core.turn.frame_length "\x50\0\0\1"))
      assert.has_error(function() core.turn.frame_length "abc" end)
    end)
  end)

  describe("TCP connections (RFC 6062)", function()
    local ATTEMPT = server.indicate("attempt", { peer = PEER, connection = 77 })

    local function with_peer()
      local client = allocated(TCP)
      client:permit(PEER.ip)
      client:feed(server.success(server.take(client, 0)), 0, 0)
      client:event()
      return client
    end

    it("are announced, and joined on a connection of their own", function()
      local client = with_peer()
      client:feed(ATTEMPT)
      assert.same({ kind = "attempt", ip = PEER.ip, port = PEER.port, connection = 77 }, client:event())
      assert.is_true(client:join(77))
      local request = server.take(client, 0)
      assert.same({ "join", 77, 77, true },
        { request.name, request.on, request.connection, request.integrity })
      client:feed(server.success(request), 77, 0)
      assert.same({ kind = "joined", connection = 77 }, client:event())
    end)

    it("are joined again after a stale nonce, on the same connection", function()
      local client = with_peer()
      client:feed(ATTEMPT)
      client:event()
      client:join(77)
      client:feed(server.challenge(server.take(client, 0), 438, "fresh"), 77, 0)
      local request = server.take(client, 0)
      assert.same({ "join", 77, "fresh" }, { request.name, request.on, request.nonce })
    end)

    it("can fail to be joined", function()
      local client = with_peer()
      client:join(77)
      client:feed(server.refuse(server.take(client, 0), 447), 77, 0)
      local event = client:event()
      assert.same({ "failed", "join", 77, "ECONNREFUSED" },
        { event.kind, event.request, event.connection, event.code })
    end)

    it("are made by the server on demand", function()
      local client = with_peer()
      assert.is_true(client:connect(PEER.ip, PEER.port))
      local request = server.take(client, 0)
      assert.same({ "connect", PEER, 0 }, { request.name, request.peer, request.on })
      client:feed(server.success(request, { connection = 78 }), 0, 0)
      assert.same({ kind = "connected", ip = PEER.ip, port = PEER.port, connection = 78 }, client:event())
    end)

    it("of strangers are not heard of, nor endless ones", function()
      local client = with_peer()
      client:feed(server.indicate("attempt", { peer = server.MAPPED, connection = 1 }))
      assert.is_nil(client:event())
      for i = 1, 1000 do client:feed(server.indicate("attempt", { peer = PEER, connection = i })) end
      assert.equal(128, #kinds(client))
    end)

    it("need a TCP allocation, and that a stream", function()
      local client = allocated()
      assert.equal("ENOTCONN", select(3, client:connect(PEER.ip, PEER.port)))
      assert.equal("ENOTCONN", select(3, client:join(1)))
      assert.has_error(function() core.turn.client { tcp = true } end)
    end)
  end)
end)
