--- Yamux with implementations that others wrote, over loopback: peers in this folder, built by make interop.
local core = require "p2pd.core"
local helper = require "spec.helper"

local FOLDER = os.getenv "P2PD_INTEROP"
local WAIT, STREAMS, BYTES = 60, 1000, 100 * 1000 * 1000

local function in_task(fn)
  return helper.task(fn, 2 * WAIT)
end

local function exists(path)
  local file <close> = io.open(path)
  return file ~= nil
end

local PEERS = {
  { name = "hashicorp/yamux", needs = FOLDER .. "/yamux_go", FOLDER .. "/yamux_go" },
  { name = "@chainsafe/libp2p-yamux", needs = FOLDER .. "/node_modules/@chainsafe/libp2p-yamux/package.json",
    "node", FOLDER .. "/yamux_peer.mjs", resets = true },
}

-- -- the side that is ours

local function drain(stream)
  local count = 0
  while true do
    local data, reason = stream:read(65536)
    if not data then return assert(not reason and count, reason) end
    count = count + #data
  end
end

local function send(stream, count)
  local piece = ("x"):rep(65536)
  for left = count, 1, -#piece do assert(stream:write(left < #piece and piece:sub(1, left) or piece)) end
end

local ANSWERS = {
  send = function(stream, count) send(stream, count) end,
  count = function(stream, count)
    stream:write(count and #stream:read(count) or drain(stream), "\n")
  end,
}

local function answer(stream)
  local held <close> = stream
  local command, argument = held:read():match "(%a+) ?(%d*)"
  ANSWERS[command](held, tonumber(argument))
end

-- A peer that plays `role`, and our mux with it.
local function start(peer, role, streams, bytes)
  local listener <close> = assert(core.tcp.listen { ip = "127.0.0.1" })
  local command = table.move(peer, 1, #peer, 1, {})
  for _, word in ipairs { select(2, listener:getsockname()), role, streams, bytes } do
    command[#command + 1] = tostring(word)
  end
  command.stdout = "pipe"
  local child = assert(core.process.spawn(command))
  child:stdout():settimeout(WAIT)
  local stream = assert(listener:accept(WAIT))
  local mux = core.mux.new(stream, role == "client" and "server" or "client", { backlog = 2 * STREAMS })
  local accepting = core.task.spawn(function()
    for accepted in function() return (mux:accept()) end do core.task.spawn(answer, accepted) end
  end)
  return setmetatable({}, { __close = function()
    mux:close()
    accepting:cancel()
    child:close()
  end }), mux, child
end

local function ask(mux, command)
  local stream = assert(mux:open())
  stream:settimeout(WAIT)
  stream:write(command, "\n")
  return stream
end

-- -- what is tried

local function echo(mux, number)
  local stream <close> = ask(mux, "echo")
  local data = ("%d "):format(number):rep(100)
  stream:write(data)
  stream:shutdown()
  return stream:read "a" == data
end

local function check_streams(mux)
  local tasks = {}
  for i = 1, STREAMS do tasks[i] = core.task.spawn(echo, mux, i) end
  for i = 1, STREAMS do assert.is_true(tasks[i]:join(WAIT)) end
end

local function check_bulk(mux)
  local upload <close> = ask(mux, "count")
  send(upload, BYTES)
  upload:shutdown()
  assert.equal(BYTES, tonumber(upload:read()))
  local download <close> = ask(mux, "send " .. BYTES)
  assert.equal(BYTES, drain(download))
end

local function describe_peer(peer, role)
  it("opens streams that we answer", in_task(function()
    local _ <close>, mux, child = start(peer, role, STREAMS, BYTES)
    assert.equal(("opened %d true"):format(STREAMS), child:stdout():read())
    assert.equal("moved " .. BYTES, child:stdout():read())
    assert.equal(0, mux:info().refused)
  end))

  it("answers streams that we open", in_task(function()
    local _ <close>, mux, child = start(peer, role, 0, 0)
    assert.equal("opened 0 true", child:stdout():read())
    check_streams(mux)
    check_bulk(mux)
    assert.is_true(mux:ping(WAIT) > 0)
    assert.is_true(mux:wait_idle(WAIT))
  end))

  it("sees that we reset a stream", in_task(function()
    local _ <close>, mux, child = start(peer, role, 0, 0)
    local stream = ask(mux, "hold")
    assert.equal("held", stream:read())
    stream:abort()
    local line
    repeat line = child:stdout():read() until not line or line:find "^held:"
    assert.matches("[Rr]eset", line)
    assert.is_true(mux:ping(WAIT) > 0)
  end))

  if peer.resets then
    it("resets a stream", in_task(function()
      local _ <close>, mux = start(peer, role, 0, 0)
      local stream <close> = ask(mux, "reset")
      assert.equal("ECONNRESET", select(3, stream:read()))
      assert.is_true(mux:ping(WAIT) > 0)
    end))
  end

  it("sees the end, and all that was sent before it", in_task(function()
    local _ <close>, mux, child = start(peer, role, 0, 0)
    local stream = ask(mux, "count")
    send(stream, 1000000)
    stream:shutdown()
    assert.equal(1000000, tonumber(stream:read()))
    stream:close()
    mux:close()
    local line
    repeat line = child:stdout():read() until line == "closed" or not line
    assert.equal("closed", line)
  end))
end

for _, peer in ipairs(PEERS) do
  for _, role in ipairs { "client", "server" } do
    describe(("yamux with %s as the %s"):format(peer.name, role), function()
      if not exists(peer.needs) then
        pending(peer.name .. " is not here")
        return
      end
      describe_peer(peer, role)
    end)
  end
end
