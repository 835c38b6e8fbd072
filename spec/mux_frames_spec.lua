--- A mux and a peer whose frames are made by hand.
local core = require "p2pd.core"
local helper = require "spec.helper"
local p2pd_task = require "p2pd.task"
local streams = require "spec.streams"

local task = helper.task
local WAIT = 5

-- A mux, and the stream at whose other end it is, for frames by hand.
local function by_hand(options)
  local pair, near, far = streams.pair()
  local mux = core.mux.new(near, "server", options)
  far:settimeout(WAIT)
  return p2pd_task.hold(mux, pair), mux, far
end

local DATA, WINDOW, PING, GO_AWAY = 0, 1, 2, 3
local SYN, ACK, FIN, RST = 1, 2, 4, 8

local function frame(kind, flags, stream, length, data)
  return string.pack(">I1I1I2I4I4", 0, kind, flags, stream, length) .. (data or "")
end

local function receive(stream)
  local header = assert(stream:read(12))
  local _, kind, flags, number, length = string.unpack(">I1I1I2I4I4", header)
  return { kind, flags, number, length, kind == DATA and length > 0 and stream:read(length) or nil }
end

describe("p2pd.core.mux and frames", function()
  describe("refuses", function()
    local function check_broken(bytes, why)
      return task(function()
        local _ <close>, mux, peer = by_hand()
        peer:write(bytes)
        local stream, reason, code = mux:accept(WAIT)
        while stream do stream, reason, code = mux:accept(WAIT) end
        assert.equal("the peer breaks the protocol: " .. why, reason)
        assert.equal("EPROTO", code)
        local last
        repeat last = receive(peer) until last[1] == GO_AWAY
        assert.equal(1, last[4])
      end)
    end

    it("another version", check_broken("\1" .. ("\0"):rep(11), "no frame of yamux"))
    it("an unknown type", check_broken(frame(4, 0, 0, 0), "no frame of yamux"))
    it("a number of ours", check_broken(frame(WINDOW, SYN, 2, 0), "it begins a stream with a number of ours"))
    it("a number that is in use", check_broken(frame(WINDOW, SYN, 3, 0) .. frame(WINDOW, SYN, 3, 0),
      "it begins a stream with a number that is in use"))
    it("a stream without a number", check_broken(frame(DATA, 0, 0, 0), "a stream's frame without a number"))
    it("a stream that has not begun", check_broken(frame(DATA, 0, 5, 0),
      "a frame of a stream that has not begun"))
    it("more than the window", check_broken(frame(DATA, SYN, 1, 256 * 1024 + 1),
      "more bytes than its window"))
    it("bytes after the end", check_broken(frame(WINDOW, SYN | FIN, 1, 0) .. frame(DATA, 0, 1, 1, "x"),
      "bytes after a stream's end"))
    it("windows that overflow", check_broken(frame(WINDOW, SYN, 1, 0xffffffff), "its window overflows"))
  end)

  it("refuses streams beyond its limits, and lives", task(function()
    local _ <close>, mux, peer = by_hand { backlog = 4 }
    for i = 0, 4 do peer:write(frame(WINDOW, SYN, 2 * i + 1, 0)) end
    assert.same({ WINDOW, RST, 9, 0 }, receive(peer))
    local first <close> = assert(mux:accept(WAIT))
    assert.same({ WINDOW, ACK, 1, 0 }, receive(peer))
    peer:write(frame(DATA, 0, 1, 3, "ok\n"))
    assert.equal("ok", first:read())
    assert.equal(1, mux:info().refused)
  end))

  it("answers pings, and ignores frames of streams that are over", task(function()
    local _ <close>, mux, peer = by_hand()
    peer:write(frame(WINDOW, SYN, 1, 0), frame(WINDOW, RST, 1, 0), frame(DATA, 0, 1, 5, "late!"))
    peer:write(frame(PING, SYN, 0, 77))
    assert.same({ PING, ACK, 0, 77 }, receive(peer))
    assert.equal(0, mux:info().streams)
  end))

  it("resets the stream with the most unread when too much is", task(function()
    local _ <close>, mux, peer = by_hand { memory_max = 256 * 1024 }
    peer:write(frame(DATA, SYN, 1, 200000, ("x"):rep(200000)), frame(DATA, SYN, 3, 100000, ("x"):rep(100000)))
    local one <close> = assert(mux:accept(WAIT))
    local two <close> = assert(mux:accept(WAIT))
    assert.equal(100000, #two:read(100000))
    assert.equal("ENOBUFS", select(3, one:read(1)))
  end))

  it("refuses 10,000 streams that a peer opens, and lives", task(function()
    local _ <close>, mux, peer = by_hand()
    local writing <close> = core.task.spawn(function()
      for i = 0, 9999 do peer:write(frame(WINDOW, SYN, 2 * i + 1, 0)) end
      peer:write(frame(PING, SYN, 0, 1))
    end)
    local refused, last = 0
    repeat
      last = receive(peer)
      refused = refused + (last[2] == RST and 1 or 0)
    until last[1] == PING
    assert.equal(10000 - 256, refused)
    assert.equal(256, mux:info().streams)
    writing:join()
  end))

  it("takes what was read before it was made", task(function()
    local pair <close>, near, far = streams.pair()
    far:write("go\n", frame(DATA, SYN, 1, 3, "hi\n"))
    assert.equal("go", near:read())
    local mux <close> = core.mux.new(near, "server")
    local stream <close> = assert(mux:accept(WAIT))
    assert.equal("hi", stream:read())
    assert.is_truthy(pair)
  end))

  it("says why it has ended when the peer goes away in anger", task(function()
    local _ <close>, mux, peer = by_hand()
    local stream <close> = assert(mux:open())
    peer:write(frame(GO_AWAY, 0, 0, 2))
    assert.same({ nil, "the peer has an internal error", "ECONNRESET", n = 3 }, table.pack(mux:accept(WAIT)))
    assert.equal("ECONNRESET", select(3, stream:read()))
    assert.same({ nil, "the peer has an internal error", "ECONNRESET", n = 3 }, table.pack(mux:open()))
    assert.equal("ECONNRESET", select(3, mux:ping(WAIT)))
    assert.is_true(mux:wait_idle(0))
  end))

  it("waits for a peer that never reads, with little memory", task(function()
    local _ <close>, mux, peer = by_hand()
    local stream <close> = assert(mux:open())
    stream:settimeout(0)
    local piece, total = ("x"):rep(50000), 0
    repeat
      local ok, _, _, some = stream:write(piece)
      total = total + (ok and #piece or some)
    until not ok
    assert.is_true(total <= 256 * 1024 + 64 * 1024)
    peer:write(frame(WINDOW, ACK, 2, 1000000))
    stream:settimeout(WAIT)
    assert.equal(stream, stream:write(piece))
  end))
end)
