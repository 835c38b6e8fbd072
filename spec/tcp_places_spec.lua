local core = require "p2pd.core"
local helper = require "spec.helper"
local lfs = require "lfs"
local p2pd = require "p2pd"
local task = require "p2pd.task"
local in_task = helper.task

local tcp = p2pd.tcp

describe("p2pd.tcp", function()
  teardown(helper.close_all)

  it("parse() knows addresses, names, ports and paths", function()
    assert.same({ host = "127.0.0.1", port = 22 }, tcp.parse "127.0.0.1:22")
    assert.same({ host = "example.org", port = 80 }, tcp.parse "example.org:80")
    assert.same({ host = "::1", port = 80 }, tcp.parse "[::1]:80")
    assert.same({ host = "127.0.0.1", port = 2222 }, tcp.parse "2222")
    assert.same({ host = "127.0.0.1", port = 2222 }, tcp.parse(2222))
    assert.same({ path = "/run/x" }, tcp.parse "/run/x")
    assert.same({ path = "./x" }, tcp.parse "./x")
    assert.same({ path = "x" }, tcp.parse "unix:x")
    for _, text in ipairs { "127.0.0.1:22", "[::1]:80", "unix:/run/x" } do
      assert.equal(text, tcp.format(tcp.parse(text)))
    end
  end)

  it("parse() refuses what is no place", function()
    for _, bad in ipairs { "", "x", "x:", ":22", "x:70000", "x:-1", "::1:22", "x:1e3", "unix:", "70000" } do
      assert.same({ nil, "EINVAL" }, { (tcp.parse(bad)), (select(3, tcp.parse(bad))) })
    end
    assert.has_error(function() tcp.parse {} end)
  end)

  it("connects to a listener by address and by name", in_task(function()
    local listener <close> = assert(tcp.listen(0))
    local ip, port = listener:getsockname()
    assert.equal("127.0.0.1", ip)
    for _, host in ipairs { "127.0.0.1", "localhost" } do
      local near <close> = assert(tcp.connect(host .. ":" .. port, { timeout = 5 }))
      local far <close>, from = listener:accept(5)
      near:write "hello\n"
      assert.same({ "hello", "127.0.0.1" }, { far:read "l", from })
    end
  end))

  it("tells why there is no connection", in_task(function()
    assert.equal("ECONNREFUSED", select(3, tcp.connect("127.0.0.1:" .. helper.free_port())))
    assert.equal("EINVAL", select(3, tcp.connect "nothing"))
    assert.equal("EINVAL", select(3, tcp.connect "127.0.0.1:0"))
    assert.equal("ENOENT", select(3, tcp.connect "/no/such/socket"))
    assert.equal("EADDRNOTAVAIL", select(3, tcp.listen "192.0.2.1:0"))
    assert.error_matches(function() tcp.connect("127.0.0.1:1", { timeuot = 1 }) end, "timeuot")
    assert.error_matches(function() tcp.listen(0, { ip = "::" }) end, "no option is called ip")
  end))

  describe("of unix sockets", function()
    local path
    before_each(function() path = helper.scratch() .. "/socket" end)

    it("connects and listens", in_task(function()
      local listener <close> = assert(tcp.listen(path))
      assert.same({ path }, { listener:getsockname() })
      assert.equal("rw-------", lfs.attributes(path, "permissions"))
      local near <close> = assert(tcp.connect("unix:" .. path))
      local far <close> = assert(listener:accept(5))
      near:write "hello"
      near:shutdown()
      assert.equal("hello", far:read "a")
      listener:close()
      assert.is_nil(lfs.attributes(path))
    end))

    it("leaves a socket alone on which somebody listens, and other files", in_task(function()
      local listener <close> = assert(tcp.listen(path))
      assert.equal("EADDRINUSE", select(3, tcp.listen(path)))
      assert.is_truthy(listener)
      helper.write(path .. ".txt", "text")
      assert.equal("EADDRINUSE", select(3, tcp.listen(path .. ".txt")))
      assert.equal("text", helper.read(path .. ".txt"))
      assert.equal("ENAMETOOLONG", select(3, tcp.listen("/" .. ("x"):rep(200))))
    end))

    it("replaces a socket that a dead process has left", in_task(function()
      local code = ([[local l = p2pd.tcp.listen "%s" os.exit(0)]]):format(path)
      local child <close> = helper.p2pd("-e", code)
      child:wait(5)
      assert.equal("socket", lfs.attributes(path, "mode"))
      local listener <close> = assert(tcp.listen(path))
      local _ <close> = assert(tcp.connect(path))
      assert(listener:accept(5)):close()
    end))

    it("waits while the listener is busy", in_task(function()
      local listener <close> = assert(core.tcp.listen_path(path))
      local waiting <close> = task.group()
      local connected = 0
      for _ = 1, 200 do
        waiting:spawn(function()
          local stream <close> = assert(tcp.connect(path, { timeout = 10 }))
          connected = connected + 1
          stream:read "l"
        end)
      end
      for _ = 1, 200 do assert(listener:accept(10)):close() end
      helper.wait_until(function() return connected == 200 end)
    end))
  end)

  it("streams() goes through connections until the listener is closed", in_task(function()
    local listener <close> = assert(tcp.listen(0))
    local port = select(2, listener:getsockname())
    local count = 0
    local serving <close> = task.spawn(function()
      for stream in listener:streams() do
        stream:close()
        count = count + 1
      end
      return "over"
    end)
    for _ = 1, 3 do
      local near <close> = assert(tcp.connect(port))
      near:read "a"
    end
    listener:close()
    assert.same({ "over", 3 }, { serving:join(5), count })
  end))
end)
