local core = require "p2pd.core"
local helper = require "spec.helper"
local http = require "spec.http"
local lfs = require "lfs"
local task = require "p2pd.task"

local WAIT = http.WAIT

-- A server whose requests are handled by a function, each in a task of its own.
local function serve(handler, options)
  local given = { ip = "127.0.0.1", port = 0 }
  for name, value in pairs(options or {}) do given[name] = value end
  local server = assert(core.http.listen(given))
  local children = task.group()
  children:spawn(function()
    for request in function() return (server:accept()) end do
      children:detach(function()
        local held <close> = request
        handler(held)
      end)
    end
  end)
  local _, port = server:getsockname()
  return setmetatable({ server = server, port = port }, { __close = function()
    server:close()
    children:cancel()
  end })
end

local function hello(request)
  request:answer(200, { ["Content-Type"] = "text/plain" }, "hello")
end

local function read_all(request)
  local pieces = {}
  for piece in function() return (request:stream():recv()) end do pieces[#pieces + 1] = piece end
  return table.concat(pieces)
end

describe("p2pd.core.http", function()
  describe("requests", function()
    it("have a method, a target as it was sent, and headers", helper.task(function()
      local seen
      local served <close> = serve(function(request)
        seen = table.pack(request:head())
        hello(request)
      end)
      local answer = http.request(served.port, "GET", "/a%20b?c=%41", { ["X-One"] = "1", Accept = "*/*" })
      assert.same({ 200, "hello" }, { answer.status, answer.body })
      assert.same({ "GET", "/a%20b?c=%41" }, { seen[1], seen[2] })
      assert.same({ host = "localhost", ["x-one"] = "1", accept = "*/*" }, seen[3])
    end))

    it("join headers of one name, so that two Hosts are none that is known", helper.task(function()
      local seen
      local served <close> = serve(function(request)
        seen = select(3, request:head())
        hello(request)
      end)
      local client <close> = http.connect(served.port)
      client.stream:write "GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\nx: 2\r\n\r\n"
      assert.equal(200, client:receive().status)
      assert.equal("1, 2", seen.x)
    end))

    it("follow each other on a connection, also when they come at once", helper.task(function()
      local served <close> = serve(function(request)
        request:answer(200, nil, (select(2, request:head())))
      end)
      local client <close> = http.connect(served.port)
      local lines = {}
      for i = 1, 20 do lines[i] = ("GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"):format(i) end
      client.stream:write(table.concat(lines))
      for i = 1, 20 do assert.equal("/" .. i, client:receive().body) end
    end))

    it("are refused when they are malformed", helper.task(function()
      local served <close> = serve(hello, { idle = 1 })
      for _, text in ipairs { "\0\r\n\r\n", "GET\r\n\r\n", "GET / HTTP/9.9\r\n\r\n", ("\xff"):rep(100)
        .. "\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" } do
        local client <close> = http.connect(served.port)
        client.stream:write(text)
        client.stream:shutdown()
        local answer = client:receive()
        assert.is_true(answer == nil or answer.status >= 400, text)
      end
      assert.equal(200, http.request(served.port, "GET", "/").status)
    end))

    it("get status 500 when their taker lets go of them", helper.task(function()
      local served <close> = serve(function() end)
      assert.equal(500, http.request(served.port, "GET", "/").status)
    end))
  end)

  describe("bodies", function()
    it("come piece by piece, of any size, at the taker's speed", helper.task(function()
      local most, total, ready = 0, 0, task.condition()
      local served <close> = serve(function(request)
        ready:wait(0.05)
        for piece in function() return (request:stream():recv()) end do
          most, total = math.max(most, #piece), total + #piece
        end
        request:answer(200, nil, tostring(total))
      end)
      local answer = http.request(served.port, "POST", "/", nil, ("x"):rep(3000000))
      assert.equal("3000000", answer.body)
      assert.is_true(most <= 65536)
    end))

    it("come in chunks, and behind Expect", helper.task(function()
      local served <close> = serve(function(request) request:answer(200, nil, read_all(request)) end)
      local client <close> = http.connect(served.port)
      client:send("POST", "/", { ["Transfer-Encoding"] = "chunked", Expect = "100-continue" }, "")
      assert.equal(100, client:head().status)
      client.stream:write "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
      assert.equal("abcde", client:receive().body)
    end))

    it("behind Expect are not asked for when the answer is there before", helper.task(function()
      local served <close> = serve(function(request) request:answer(413, nil, "no") end)
      local client <close> = http.connect(served.port)
      client:send("POST", "/", { ["Content-Length"] = 50000000, Expect = "100-continue" })
      local answer = client:receive()
      assert.same({ 413, "no" }, { answer.status, answer.body })
      client.stream:settimeout(WAIT)
      assert.is_nil((client.stream:read "a" or ""):match "HTTP")
    end))

    it("behind Expect, of a client that goes instead, are told", helper.task(function()
      local gone, taken = task.condition(), task.condition()
      local served <close> = serve(function(request)
        taken:broadcast()
        request:wait_gone()
        gone:broadcast()
      end)
      local client = http.connect(served.port)
      client:send("POST", "/", { ["Content-Length"] = 50000000, Expect = "100-continue" })
      assert(taken:wait(WAIT))
      task.spawn(function() client:abort() end)
      assert(gone:wait(WAIT))
    end))

    it("that nobody wants are not waited for, and what comes of them does no harm", helper.task(function()
      local served <close> = serve(function(request) request:answer(403, { ["X-Why"] = "early" }, "no") end)
      for _, headers in ipairs { { ["Content-Length"] = 50000000 }, { ["Transfer-Encoding"] = "chunked" } } do
        local client <close> = http.connect(served.port)
        client:send("POST", "/", headers)
        local answer = client:receive()
        assert.same({ 403, "early", "no" }, { answer.status, answer.headers["x-why"], answer.body })
        assert(client.stream:write(("x"):rep(100000)))
        assert.equal("", client.stream:read "a")
      end
    end))

    it("of which nobody wants the rest are answered in their middle", helper.task(function()
      local served <close> = serve(function(request)
        request:stream():recv(1000)
        request:answer(507, { ["X-Why"] = "full" }, "no room")
      end)
      local client <close> = http.connect(served.port)
      client:send("POST", "/", { ["Content-Length"] = 50000000 })
      assert(client.stream:write(("x"):rep(2000000)))
      local answer = client:receive()
      assert.same({ 507, "full", "no room", "close" }, { answer.status, answer.headers["x-why"], answer.body,
        answer.headers.connection })
      assert.equal("", client.stream:read "a")
    end))

    it("that are short need not be wanted for the next request", helper.task(function()
      local served <close> = serve(function(request)
        request:stream():recv(10)
        request:answer(409, nil, "no")
      end)
      local client <close> = http.connect(served.port)
      for _ = 1, 2 do
        client:send("POST", "/", { ["Content-Length"] = 100000 }, ("x"):rep(100000))
        assert.equal(409, client:receive().status)
      end
    end))

    it("that nobody wants are dropped, and not kept", helper.task(function()
      local served <close> = serve(function(request) request:answer(413, nil, "no") end)
      local before = collectgarbage "count"
      local client <close> = http.connect(served.port)
      client:send("POST", "/", { ["Content-Length"] = 50000000 })
      local piece = ("x"):rep(1000000)
      assert(client.stream:write(piece))
      assert.equal(413, client:receive().status)
      for _ = 1, 50 do client.stream:write(piece) end
      assert.is_true(collectgarbage "count" - before < 10000)
    end))

    it("that break off are told", helper.task(function()
      local told = task.condition()
      local code
      local served <close> = serve(function(request)
        repeat
          local piece, _, failure = request:stream():recv()
          code = failure
        until not piece
        told:broadcast()
      end)
      local client = http.connect(served.port)
      client:send("POST", "/", { ["Content-Length"] = 100 }, "half")
      task.spawn(function() client:abort() end)
      assert(told:wait(WAIT))
      assert.equal("EPIPE", code)
    end))
  end)

  describe("answers in pieces", function()
    it("come as they are written, at the client's speed", helper.task(function()
      local served <close> = serve(function(request)
        assert(request:begin(200, { ["X-A"] = "b" }))
        for _ = 1, 100 do assert(request:stream():write(("y"):rep(50000))) end
        request:stream():shutdown()
      end)
      local answer = http.request(served.port, "GET", "/")
      assert.same({ 200, "b", 5000000 }, { answer.status, answer.headers["x-a"], #answer.body })
    end))

    it("are broken off when their taker lets go of them", helper.task(function()
      local served <close> = serve(function(request)
        request:begin(200)
        request:stream():write "half"
      end)
      local client <close> = http.connect(served.port)
      client:send("GET", "/")
      assert.equal(200, client:head().status)
      local rest = client.stream:read "a" or ""
      assert.is_nil(rest:find("0\r\n\r\n", 1, true))
    end))

    it("wait for a slow client, and time out", helper.task(function()
      local code
      local done = task.condition()
      local served <close> = serve(function(request)
        request:begin(200)
        request:stream():settimeout(0.05)
        repeat
          local ok, _, failure = request:stream():write(("z"):rep(1000000))
          code = failure
        until not ok
        done:broadcast()
      end)
      local client <close> = http.connect(served.port)
      client:send("GET", "/")
      assert(done:wait(WAIT))
      assert.equal("ETIMEDOUT", code)
    end))
  end)

  describe("a client that vanishes", function()
    it("wakes who waits for that", helper.task(function()
      local gone, taken = task.condition(), task.condition()
      local served <close> = serve(function(request)
        taken:broadcast()
        if request:wait_gone(WAIT) and request:is_gone() then gone:broadcast() end
      end)
      local client = http.connect(served.port)
      client:send("GET", "/")
      assert(taken:wait(WAIT))
      client:abort()
      assert(gone:wait(WAIT))
    end))

    it("ends a stream that is being written", helper.task(function()
      local ended = task.condition()
      local code
      local served <close> = serve(function(request)
        request:begin(200)
        local ok
        repeat ok, _, code = request:stream():write(("x"):rep(10000)) until not ok -- luacheck: ignore
        ended:broadcast()
      end)
      local client = http.connect(served.port)
      client:send("GET", "/")
      assert(client.stream:read(1000))
      task.spawn(function() client:abort() end)
      assert(ended:wait(WAIT))
      assert.equal("EPIPE", code)
    end))

    it("ends a stream that says nothing", helper.task(function()
      local ended = task.condition()
      local served <close> = serve(function(request)
        request:begin(200)
        request:stream():write "hello"
        if request:wait_gone(WAIT) then ended:broadcast() end
      end)
      local client = http.connect(served.port)
      client:send("GET", "/")
      assert.equal(200, client:head().status)
      client:abort()
      assert(ended:wait(WAIT))
    end))
  end)

  describe("upgrade()", function()
    it("gives the connection, with what has come already, and ends it", helper.task(function()
      local served <close> = serve(function(request)
        local stream <close> = assert(request:upgrade({ Upgrade = "echo" }, WAIT))
        for data in function() return (stream:recv()) end do stream:write(data) end
      end)
      local client <close> = http.connect(served.port)
      client:send("GET", "/", { Connection = "Upgrade", Upgrade = "echo" }, nil)
      client.stream:write "early"
      local head = client:head()
      assert.same({ 101, "echo" }, { head.status, head.headers.upgrade })
      assert.equal("early", client.stream:read(5))
      client.stream:write(("u"):rep(500000))
      assert.equal(500000, #client.stream:read(500000))
      client.stream:shutdown()
      assert.equal("", client.stream:read "a")
    end))
  end)

  describe("limits", function()
    it("head bombs are refused", helper.task(function()
      local served <close> = serve(hello, { head = 4096 })
      local client <close> = http.connect(served.port)
      client.stream:write("GET / HTTP/1.1\r\nHost: a\r\n")
      for _ = 1, 200 do
        if not client.stream:write("X: ", ("y"):rep(1000), "\r\n") then break end
      end
      local answer = client:receive()
      assert.is_true(answer == nil or answer.status == 431 or answer.status == 413)
      assert.equal(414, http.request(served.port, "GET", "/" .. ("z"):rep(10000)).status)
    end))

    it("a head that comes byte by byte has its time", helper.task(function()
      local served <close> = serve(hello, { idle = 1 })
      local client <close> = http.connect(served.port)
      local _ <close> = task.spawn(function()
        while client.stream:write "G" do task.sleep(0.1) end
      end)
      local text = client.stream:read "a"
      assert.is_true(text == nil or text == "")
      assert.equal(200, http.request(served.port, "GET", "/").status)
    end))

    it("a request that waits may wait longer", helper.task(function()
      local served <close> = serve(function(request)
        task.sleep(1.3)
        hello(request)
      end, { idle = 1 })
      assert.equal(200, http.request(served.port, "GET", "/").status)
    end))

    it("a thousand connections are served", helper.task(function()
      local limit = core.process.descriptors()
      if limit < 3000 then return pending "too few descriptors" end
      local served <close> = serve(hello)
      local clients <close> = task.hold()
      for i = 1, 1000 do
        clients[i], clients.n = http.connect(served.port), i
      end
      for i = 1, 1000 do clients[i]:send("GET", "/") end
      for i = 1, 1000 do assert.equal("hello", clients[i]:receive().body) end
      assert.equal(1000, served.server:connections())
    end))

    it("what is more waits until another one goes", helper.task(function()
      local served <close> = serve(hello, { connections = 2 })
      local one, two <close> = http.connect(served.port), http.connect(served.port)
      for _, client in ipairs { one, two } do
        client:send("GET", "/")
        assert.equal(200, client:receive().status)
      end
      local three <close> = http.connect(served.port)
      three:send("GET", "/")
      three.stream:settimeout(0.1)
      assert.is_nil(three.stream:read(1))
      three.stream:settimeout(WAIT)
      one:close()
      assert.equal(200, three:receive().status)
    end))
  end)

  describe("listen()", function()
    it("on a unix socket is for its owner alone", helper.task(function()
      local path = helper.scratch() .. "/http.sock"
      local server = assert(core.http.listen { path = path })
      assert.equal("rw-------", lfs.attributes(path, "permissions"))
      assert.equal(path, server:getsockname())
      server:close()
      server:close()
      assert.is_nil(lfs.attributes(path))
    end))

    it("fails when the port is taken", helper.task(function()
      local one <close> = assert(core.http.listen { ip = "127.0.0.1", port = 0 })
      local _, port = one:getsockname()
      local two, reason, code = core.http.listen { ip = "127.0.0.1", port = port }
      assert.same({ nil, "EADDRINUSE" }, { two, code })
      assert.matches("127.0.0.1", reason, 1, true)
    end))

    it("raises for what makes no sense", function()
      assert.has_error(function() core.http.listen {} end)
      assert.has_error(function() core.http.listen { ip = "localhost" } end)
      assert.has_error(function() core.http.listen { ip = "127.0.0.1", head = 1 } end)
      assert.has_error(function() core.http.listen { ip = "127.0.0.1", path = "/x" } end)
    end)
  end)

  describe("misuse", function()
    it("raises: a second answer, headers with line ends, a status that is none", helper.task(function()
      local faults = {}
      local served <close> = serve(function(request)
        for _, headers in ipairs { { A = "b\r\nC: d" }, { ["A\n"] = "b" }, { [""] = "b" }, { A = "\0" } } do
          faults[#faults + 1] = not pcall(request.answer, request, 200, headers, "")
        end
        faults[#faults + 1] = not pcall(request.answer, request, 99)
        faults[#faults + 1] = not pcall(request.write, request, "x")
        hello(request)
        faults[#faults + 1] = not pcall(request.answer, request, 200)
      end)
      assert.equal(200, http.request(served.port, "GET", "/").status)
      assert.same({ true, true, true, true, true, true, true }, faults)
    end))
  end)

  describe("close()", function()
    it("breaks off what is under way, whatever it waits for", helper.task(function()
      local taken = 0
      local served = serve(function(request)
        taken = taken + 1
        local _, target = request:head()
        if target == "/stream" then request:begin(200) end
        request:wait_gone()
      end)
      local clients <close> = task.hold()
      for i, target in ipairs { "/wait", "/stream", "/wait", "/head" } do
        clients[i], clients.n = http.connect(served.port), i
        if target ~= "/head" then clients[i]:send("GET", target) else clients[i].stream:write "GET /" end
      end
      helper.wait_until(function() return taken == 3 end)
      getmetatable(served).__close(served)
      for i = 1, 4 do assert.is_nil((clients[i].stream:read "a" or ""):match "hello") end
    end))

    it("wakes who accepts", helper.task(function()
      local server = assert(core.http.listen { ip = "127.0.0.1", port = 0 })
      local waiting = task.spawn(function() return server:accept() end)
      task.sleep(0)
      server:close()
      local request, _, code = waiting:join(WAIT)
      assert.same({ nil, "EBADF" }, { request, code })
    end))
  end)
end)
