local core = require "p2pd.core"
local helper = require "spec.helper"
local nodes = require "spec.nodes"
local task = require "p2pd.task"
local in_task = helper.task

local alice, bob, eve = nodes.new(("a"):rep(32)), nodes.new(("b"):rep(32)), nodes.new()

describe("p2pd.core.tls", function()
  describe("openssl", function()
    local folder

    local function run(...)
      local child <close> = assert(core.process.spawn { stderr = "null", env = { LD_PRELOAD = "" },
        "openssl", ... })
      assert(select(2, child:wait(10)) == 0, table.concat({ ... }, " "))
    end

    -- A key and a self-signed certificate: paths. With a node, of its key.
    local function certificate(name, node, kind)
      local key, cert = ("%s/%s.key"):format(folder, name), ("%s/%s.crt"):format(folder, name)
      if node then -- RFC 8410 §7
        local prefix = "\x30\x2e\x02\x01\0\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20"
        run("pkey", "-inform", "DER", "-in", helper.write(key .. ".der", prefix .. node.seed),
          "-out", key)
      else
        run("genpkey", "-algorithm", kind or "ed25519", "-out", key)
      end
      run("req", "-x509", "-new", "-key", key, "-subj", "/CN=x", "-days", "1", "-out", cert)
      return key, cert
    end

    setup(function()
      folder = helper.scratch()
    end)

    teardown(helper.close_all)

    -- An openssl s_client that has connected: the child, and our stream.
    local function s_client(...)
      local listener <close> = assert(core.tcp.listen { ip = "127.0.0.1" })
      local _, port = listener:getsockname()
      local child = assert(core.process.spawn { stdin = "pipe", stdout = "pipe", stderr = "null",
        env = { LD_PRELOAD = "" }, "openssl", "s_client", "-connect", "127.0.0.1:" .. port, ... })
      return child, assert(listener:accept(10))
    end

    local function append(list, ...)
      return table.unpack(table.move({ ... }, 1, select("#", ...), #list + 1, list))
    end

    local function serve(...)
      local child, stream = s_client(append({ nodes.proof_options(bob) }, ...))
      local _ <close> = task.hold(child, stream)
      return core.tls.server(stream, bob.context, alice.id, 5)
    end

    -- What s_client tells of a server of ours, and what that says.
    local function scan(...)
      local child, stream = s_client("-msg", ...)
      local _ <close> = task.hold(child, stream)
      local result = table.pack(core.tls.server(stream, bob.context, nil, 5))
      child:stdin():close()
      return child:stdout():read "a", table.unpack(result, 1, result.n)
    end

    for what, options in pairs {
      ["without a proof that it knows our id"] = { "-tls1_3" },
      ["with TLS 1.2"] = { "-tls1_2" },
      ["with a proof that it knows another id"] = { nodes.proof_options(eve) },
    } do
      it(what .. " gets no byte", in_task(function()
        local key, cert = certificate("alice", alice)
        local said, ok, message, code = scan("-key", key, "-cert", cert, table.unpack(options))
        assert.is_nil(ok)
        assert.matches("no proof that the peer knows the node id", message)
        assert.equal("EPROTO", code)
        assert.matches("SSL handshake has read 0 bytes", said)
        assert.is_nil(said:find("<<<", 1, true))
      end))
    end

    it("with the proof learns who we are", in_task(function()
      local said, ok = scan(nodes.proof_options(bob))
      assert.is_nil(ok)
      assert.matches("<<< TLS 1.3.-Certificate", said)
    end))

    it("without a certificate is refused", in_task(function()
      local ok, message, code = serve()
      assert.is_nil(ok)
      assert.matches("no certificate", message)
      assert.equal("EACCES", code)
    end))

    it("with another certificate is refused", in_task(function()
      local key, cert = certificate "other"
      local _, message, code = serve("-key", key, "-cert", cert)
      assert.matches("of another node", message)
      assert.equal("EACCES", code)
    end))

    it("with a certificate of another kind is refused", in_task(function()
      local key, cert = certificate("x", nil, "ed448")
      local _, message, code = serve("-key", key, "-cert", cert)
      assert.matches("certificate", message)
      assert.equal("EACCES", code)
    end))

    it("with another group is refused", in_task(function()
      local _, message, code = serve("-groups", "P-256")
      assert.matches("TLS handshake", message)
      assert.equal("EPROTO", code)
    end))

    it("with the right certificate is taken, also when it updates its keys", in_task(function()
      local key, cert = certificate("alice", alice)
      local child, stream = s_client("-key", key, "-cert", cert, nodes.proof_options(bob))
      local _ <close> = task.hold(child, stream)
      assert.is_true(core.tls.server(stream, bob.context, alice.id, 5))
      local input = child:stdin()
      input:write "before\n"
      assert.equal("before", stream:read "l")
      input:write "K\n"
      task.sleep(0.1) -- it looks for commands at the beginning of what it reads
      input:write "after\n"
      assert.equal("after", stream:read "l")
      assert(stream:write "an answer under the new key\n")
      local output = child:stdout()
      repeat local line = assert(output:read "l") until line:find "an answer under the new key"
    end))

    local function dial(...)
      local port = helper.free_port()
      local child <close> = assert(core.process.spawn { stdin = "pipe", stdout = "pipe",
        stderr = "null", env = { LD_PRELOAD = "" }, "openssl", "s_server", "-accept",
        "127.0.0.1:" .. port, ... })
      repeat until assert(child:stdout():read "l") == "ACCEPT"
      local stream <close> = assert(core.tcp.connect("127.0.0.1", port, nil, 5))
      return core.tls.client(stream, alice.context, bob.id, 5)
    end

    it("as a server with another key is refused", in_task(function()
      local key, cert = certificate "other"
      local _, message, code = dial("-key", key, "-cert", cert)
      assert.matches("of another node", message)
      assert.equal("EACCES", code)
    end))

    it("as a server that knows whom we want, and proves nothing else, is refused", in_task(function()
      local _, message, code = dial("-nocert", nodes.proof_options(bob))
      assert.matches("has no node key", message)
      assert.equal("EACCES", code)
    end))

    it("as a server of TLS 1.2 is refused", in_task(function()
      local key, cert = certificate("bob", bob)
      local _, message, code = dial("-tls1_2", "-key", key, "-cert", cert)
      assert.matches("does not speak TLS 1.3", message)
      assert.equal("EPROTO", code)
    end))

    it("as a server with the right key is taken", in_task(function()
      local key, cert = certificate("bob", bob)
      assert.is_true(dial("-key", key, "-cert", cert, "-Verify", "1"))
    end))
  end)
end)
