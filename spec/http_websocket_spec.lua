local core = require "p2pd.core"
local frame = require "spec.websocket_frame"
local helper = require "spec.helper"
local loopback = require "spec.loopback"
local served = require "spec.served"
local task = require "p2pd.task"

local KEY = "dGhlIHNhbXBsZSBub25jZQ=="
local MASK = "\1\2\3\4"
local WAIT = 10

local UPGRADE = { Connection = "keep-alive, Upgrade", Upgrade = "WebSocket", ["Sec-WebSocket-Version"] = "13",
  ["Sec-WebSocket-Key"] = KEY }

local function with(more)
  local headers = {}
  for name, value in pairs(UPGRADE) do headers[name] = value end
  for name, value in pairs(more) do headers[name] = value end
  return headers
end

-- A client's end.
local function open(near, id)
  local one = near:begin("GET", "/v1/pipes/" .. id .. "/websocket", UPGRADE)
  local head = one:head()
  assert(head.status == 101, head.status)
  return one, head
end

local function send(one, opcode, payload, is_final)
  return one.stream:write(frame.encode_masked(opcode, payload, MASK, is_final))
end

-- The next frame of the server's; nil at the end.
local function receive(one)
  local bytes = one.stream:read(2)
  if not bytes or #bytes < 2 then return nil end
  local first, length = bytes:byte(1, 2)
  if length == 126 then length = string.unpack(">I2", one.stream:read(2)) end
  if length == 127 then length = string.unpack(">I8", one.stream:read(8)) end
  return first & 0x0f, length > 0 and one.stream:read(length) or "", first & 0x80 ~= 0
end

local function closed_with(one)
  local opcode, payload
  repeat opcode, payload = receive(one) until opcode == frame.CLOSE or not opcode
  return opcode and string.unpack(">I2", payload)
end

describe("spec.websocket_frame", function()
  it("makes frames as RFC 6455 section 5.7 shows them", function()
    assert.equal("\x81\x05Hello", frame.encode(frame.TEXT, "Hello"))
    assert.equal("\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58",
      frame.encode_masked(frame.TEXT, "Hello", "\x37\xfa\x21\x3d"))
    assert.equal("\x8a\x05Hello", frame.encode(frame.PONG, "Hello"))
    assert.equal("\x82\x7e\x01\x00", frame.encode(frame.BINARY, ("x"):rep(256)):sub(1, 4))
    assert.equal("\x82\x7f\0\0\0\0\0\1\0\0", frame.encode(frame.BINARY, ("x"):rep(65536)):sub(1, 10))
  end)
end)

describe("p2pd.core.websocket", function()
  it("answers a key as RFC 6455 section 1.3 shows it", function()
    assert.equal("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", core.websocket.accept_of(KEY))
    assert.has_error(function() core.websocket.accept_of "short" end)
  end)

  -- A stream that is a WebSocket's end, and the raw one at its other end.
  local function pair(fn)
    return helper.task(function()
      local listener <close> = assert(core.tcp.listen { ip = "127.0.0.1" })
      local _, port = listener:getsockname()
      local near <close> = assert(core.tcp.connect("127.0.0.1", port, nil, WAIT))
      local far <close> = assert(listener:accept(WAIT))
      near:settimeout(WAIT)
      far:settimeout(WAIT)
      fn(assert(core.websocket.serve(far)), { stream = near })
    end)
  end

  it("reads messages whose frames and bytes come one by one", pair(function(socket, client)
    local text = ("0123456789"):rep(30)
    local bytes = frame.encode_masked(frame.BINARY, text:sub(1, 7), MASK, false)
      .. frame.encode_masked(frame.CONTINUATION, text:sub(8, 200), MASK, false)
      .. frame.encode_masked(frame.CONTINUATION, text:sub(201), MASK)
    local _ <close> = task.spawn(function()
      for c in bytes:gmatch "." do client.stream:write(c) core.task.sleep(0) end
    end)
    assert.equal(text, socket:read(#text))
  end))

  it("makes a message of each write, and a close frame of its end", pair(function(socket, client)
    socket:write "one"
    socket:write(("2"):rep(70000))
    assert(core.websocket.shutdown(socket, 1011, "no more"))
    assert.same({ frame.BINARY, "one", true }, { receive(client) })
    local got = ""
    while #got < 70000 do got = got .. select(2, receive(client)) end
    assert.equal(("2"):rep(70000), got)
    assert.same({ frame.CLOSE, frame.close_payload(1011, "no more"), true }, { receive(client) })
    assert.is_nil((socket:write "late"))
  end))

  it("fails for who breaks the rules, and says so", pair(function(socket, client)
    client.stream:write("\x82\xfe\0\1" .. MASK .. "x")
    assert.same({ nil, "read: a length in more bytes than it needs", "EPROTO" }, { socket:read(1) })
    socket:close()
    assert.equal(1002, closed_with(client))
  end))

  it("pings a client that is silent, and gives up one that does not answer", pair(function(socket, client)
    socket:setsilence(1)
    local pinged = task.spawn(function()
      assert.equal(frame.PING, (receive(client)))
      send(client, frame.PONG, "")
      send(client, frame.BINARY, "here")
    end)
    assert.equal("here", socket:read(4))
    pinged:join()
    assert.equal("ETIMEDOUT", (select(3, socket:read(1))))
  end))

  it("answers close frames by their code, and faulty ones by what is wrong", function()
    for payload, code in pairs { ["\x03"] = 1002, ["\0\0"] = 1002, ["\x03\xed"] = 1002, ["\x03\xee"] = 1002,
      ["\x03\xe7"] = 1002, ["\x07\xd0"] = 1002, ["\x13\x88"] = 1002, ["\x03\xe8\xff"] = 1007,
      ["\x03\xe8\xed\xa0\x80"] = 1007, ["\x03\xe8\xc0\xaf"] = 1007, ["\x03\xe8\xf4\x90\x80\x80"] = 1007,
      [""] = 1000, ["\x03\xe8"] = 1000, ["\x03\xe8bye \xc3\xa4"] = 1000, ["\x0b\xb8"] = 3000,
      ["\x13\x87"] = 4999, ["\x03\xe9\xe2\x82\xac\xf0\x9f\x8c\x8d"] = 1001 } do
      pair(function(socket, client)
        send(client, frame.CLOSE, payload)
        assert.is_nil(socket:read(1))
        assert.equal(code, closed_with(client))
      end)()
    end
  end)

  it("is for streams that are one", pair(function(_, client)
    assert.has_error(function() core.websocket.shutdown(client.stream, 1000) end)
    assert.has_error(function() core.websocket.shutdown(client.stream, 10) end)
  end))
end)

describe("p2pd.http.websocket", function()
  local world = loopback.new(setup, teardown)

  local function socket(fn)
    return served.two(world, function(near, far)
      local id, other = served.join(near, far)
      local one <close>, head = open(near, id)
      fn(one, far.server.pipes:find(other).pipe, near, id, head)
    end)
  end

  it("carries bytes both ways, of any length, in any pieces", socket(function(one, pipe, _, _, head)
    assert.same({ "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", "websocket" },
      { head.headers["sec-websocket-accept"], head.headers.upgrade })
    for _, length in ipairs { 1, 125, 126, 65535, 65536, 300000 } do
      local text = ("abcdefg"):rep(length // 7 + 1):sub(1, length)
      send(one, frame.BINARY, text)
      assert.is_true(pipe:read(length) == text)
      pipe:write(text)
      local got = ""
      while #got < length do
        local opcode, payload, is_final = receive(one)
        assert.same({ frame.BINARY, true }, { opcode, is_final })
        got = got .. payload
      end
      assert.is_true(got == text)
    end
    send(one, frame.BINARY, "one ", false)
    send(one, frame.PING, "in between")
    send(one, frame.CONTINUATION, "", false)
    send(one, frame.CONTINUATION, "message")
    assert.equal("one message", pipe:read(11))
    assert.same({ frame.PONG, "in between", true }, { receive(one) })
  end))

  it("is closed by the client, and leaves the pipe", socket(function(one, pipe, near, id)
    send(one, frame.CLOSE, frame.close_payload(1001, "away"))
    assert.equal(1001, closed_with(one))
    assert.is_nil(one.stream:read(1))
    helper.wait_until(function() return near.server.pipes:find(id).reader == nil end)
    local again <close> = open(near, id)
    pipe:write "still"
    assert.same({ frame.BINARY, "still", true }, { receive(again) })
  end))

  it("tells the peer's end", socket(function(one, pipe)
    pipe:shutdown()
    assert.equal(1000, closed_with(one))
    send(one, frame.CLOSE, frame.close_payload(1000))
    assert.is_nil(one.stream:read(1))
  end))

  it("lets a client vanish", socket(function(one, pipe, near, id)
    one.stream:write(frame.encode_masked(frame.BINARY, ("x"):rep(1000), MASK):sub(1, 500))
    assert.equal(492, #pipe:read(492))
    one:abort()
    helper.wait_until(function() return near.server.pipes:find(id).reader == nil end)
  end))

  describe("closes with 1002", function()
    for name, bytes in pairs {
      ["a reserved bit"] = "\xc2\x80" .. MASK, ["a reserved opcode"] = "\x83\x80" .. MASK,
      ["no mask"] = "\x82\x01x", ["a fragmented ping"] = "\x09\x80" .. MASK, ["a long ping"] = "\x89\xfe\1\0"
        .. MASK,
      ["a length of 64 bits"] = "\x82\xff\xff\0\0\0\0\0\0\0" .. MASK,
        ["a continuation of nothing"] = "\x80\x80" .. MASK,
      ["a message in a message"] = "\x02\x80" .. MASK .. "\x82\x80" .. MASK,
        ["a close of one byte"] = "\x88\x81" .. MASK .. "x",
      ["a length in eight bytes that two hold"] = "\x82\xff\0\0\0\0\0\0\0\1" .. MASK,
      ["another reserved opcode"] = "\x8b\x80" .. MASK,
    } do
      it(name, socket(function(one)
        one.stream:write(bytes)
        assert.equal(1002, closed_with(one))
      end))
    end
  end)

  it("takes no text, and no reason that is no UTF-8", socket(function(one, _, near, id)
    send(one, frame.TEXT, "hello")
    assert.equal(1003, closed_with(one))
    helper.wait_until(function() return near.server.pipes:find(id).reader == nil end)
    local again <close> = open(near, id)
    send(again, frame.CLOSE, "\x03\xe8\xff\xff")
    assert.equal(1007, closed_with(again))
  end))

  it("bears random bytes", socket(function(one, _, near, id)
    one:abort()
    math.randomseed(11)
    for _ = 1, 100 do
      helper.wait_until(function() return near.server.pipes:find(id).reader == nil end)
      local again <close> = open(near, id)
      again.stream:write((("."):rep(math.random(40)):gsub(".", function() return string.char(math.random(0,
        255)) end)))
      again.stream:shutdown()
      repeat local opcode = receive(again) until not opcode
    end
    assert.equal(200, near:call("GET", "/v1/node").status)
  end))

  it("refuses requests that are none", served.two(world, function(near, far)
    local id = served.join(near, far)
    local path = "/v1/pipes/" .. id .. "/websocket"
    assert.equal(426, near:call("GET", path).status)
    assert.equal("13", near:call("GET", path, nil, with { ["Sec-WebSocket-Version"] = "8" })
      .headers["sec-websocket-version"])
    assert.equal(400, near:call("GET", path, nil, with { ["Sec-WebSocket-Key"] = "x" }).status)
    assert.equal(403, near:call("GET", path, nil, with { Origin = "http://evil.example" }).status)
    assert.equal(404, near:call("GET", "/v1/pipes/none/websocket", nil, UPGRADE).status)
    local stranger = near:call("GET", path, nil, with { Authorization = "x" })
    assert.equal(401, stranger.status)
  end))

  it("takes the token as a protocol", served.two(world, function(near, far)
    local id = served.join(near, far)
    local one <close> = near:begin("GET", "/v1/pipes/" .. id .. "/websocket", with {
      Authorization = false, ["Sec-WebSocket-Protocol"] = "p2pd, p2pd.token." .. near.token })
    local head = one:head()
    assert.same({ 101, "p2pd" }, { head.status, head.headers["sec-websocket-protocol"] })
    one.stream:settimeout(WAIT)
  end))
end)
