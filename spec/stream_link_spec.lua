local core = require "p2pd.core"
local helper = require "spec.helper"
local lfs = require "lfs"
local nodes = require "spec.nodes"
local pipe = require "p2pd.pipe"
local streams = require "spec.streams"
local task = require "p2pd.task"
local in_task = helper.task

local SIZE = 3 * 1024 * 1024

local function swallow(stream) return task.spawn(streams.swallow, stream) end

-- a - b linked to c - d: what a writes comes out of d.
local function chain()
  local one, a, b = streams.pair()
  local two, c, d = streams.pair()
  return task.hold(one, two), a, b, c, d
end

local function count_descriptors()
  local count = 0
  for _ in lfs.dir "/proc/self/fd" do count = count + 1 end
  return count
end

describe("p2pd.stream.link", function()
  it("carries bytes both ways, and tells how many", in_task(function()
    local _ <close>, a, b, c, d = chain()
    local linking <close> = task.spawn(b.link, b, c)
    local there <close> = swallow(d)
    local back <close> = swallow(a)
    local writing <close> = task.spawn(function()
      a:write(("x"):rep(SIZE))
      a:shutdown()
    end)
    d:write(("y"):rep(SIZE + 1))
    d:shutdown()
    assert.same({ received = SIZE, sent = SIZE + 1 }, linking:join())
    assert.same({ SIZE, SIZE + 1 }, { there:join(), back:join() })
    writing:join()
  end))

  it("keeps the bytes in order through the kernel and through TLS", in_task(function()
    local text = core.random.bytes(250):rep(8000)
    for _, encrypted in ipairs { false, true } do
      local _ <close>, a, b, c, d = chain()
      if encrypted then nodes.encrypt(a, nodes.new(), b, nodes.new()) end
      local linking <close> = task.spawn(b.link, b, c)
      local reading <close> = task.spawn(d.read, d, "a")
      a:write(text)
      a:shutdown()
      assert.is_true(reading:join() == text)
      d:close()
      linking:join()
    end
  end))

  it("passes on what had been read already", in_task(function()
    local _ <close>, a, b, c, d = chain()
    a:write "first\nsecond\n"
    assert.equal("first", b:read "l")
    local linking <close> = task.spawn(b.link, b, c)
    assert.equal("second", d:read "l")
    a:close()
    d:close()
    assert(linking:join())
  end))

  it("keeps a half-close, and what comes after it", in_task(function()
    local _ <close>, a, b, c, d = chain()
    local linking <close> = task.spawn(b.link, b, c)
    a:write "question"
    a:shutdown()
    assert.equal("question", d:read "a")
    d:write "answer"
    d:shutdown()
    assert.equal("answer", a:read "a")
    assert.same({ received = 8, sent = 6 }, linking:join())
  end))

  it("stops reading while the other is slow, and goes on", in_task(function()
    local _ <close>, a, b, c, d = chain()
    local linking <close> = task.spawn(b.link, b, c)
    local taken = streams.stuff(a)
    assert.is_true(taken < 40 * 1024 * 1024)
    a:shutdown()
    assert.equal(taken, streams.swallow(d))
    d:close()
    linking:join()
  end))

  -- Closing with unread input resets: the failure is passed on as one.
  it("breaks off the other when one breaks", in_task(function()
    local _ <close>, a, b, c, d = chain()
    local linking <close> = task.spawn(b.link, b, c)
    d:write "unread"
    core.task.sleep(0.01)
    core.stream.fd(a:detach(), true):abort()
    local ok, _, code = linking:join(5)
    assert.same({ nil, "ECONNRESET" }, { ok, code })
    assert.equal("ECONNRESET", select(3, d:read "a"))
  end))

  it("is over when one of them is closed", in_task(function()
    local _ <close>, _, b, c, d = chain()
    local linking <close> = task.spawn(b.link, b, c)
    task.sleep(0)
    task.sleep(0)
    c:close()
    local ok, message, code, counts = linking:join()
    assert.same({ nil, "one of the streams was closed", "ECANCELED", { received = 0, sent = 0 } },
      { ok, message, code, counts })
    assert.is_nil((d:read "a"):match ".")
    assert.equal("EBADF", select(3, b:read "l"))
  end))

  it("leaves the streams to their owner when its task is cancelled", in_task(function()
    local _ <close>, a, b, c = chain()
    local before = count_descriptors()
    local linking = task.spawn(b.link, b, c)
    a:write "x"
    task.sleep(0.01)
    assert.has_error(function() b:read "l" end)
    assert.has_error(function() c:write "x" end)
    assert.has_error(function() b:link(c) end)
    linking:cancel()
    assert.equal(before, count_descriptors())
    a:write "mine\n"
    assert.equal("mine", b:read "l")
  end))

  it("goes between a stream and two others", in_task(function()
    local child <close> = assert(core.process.spawn { "tr", "a-z", "A-Z", stdin = "pipe", stdout = "pipe" })
    local _ <close>, near, far = streams.pair()
    local linking <close> = task.spawn(near.link, near, { from = child:stdout(), to = child:stdin() })
    far:write "shout"
    far:shutdown()
    assert.equal("SHOUT", far:read "a")
    assert.same({ received = 5, sent = 5 }, linking:join())
  end))

  it("may end with what the stream gives", in_task(function()
    local _ <close>, a, b, c, d = chain()
    local linking <close> = task.spawn(b.link, b, { from = c, to = c, first = true })
    a:write "all"
    a:shutdown()
    assert.same({ received = 3, sent = 0 }, linking:join())
    assert.equal("all", d:read "a")
  end))

  it("waits for a pipe's verdict, and is refused with it", in_task(function()
    local _ <close>, a, b, c, d = chain()
    local one = pipe.new(b, { strategy = "direct", peer = "PEER", awaits_verdict = true })
    local linking <close> = task.spawn(one.link, one, c)
    a:write("P2PD/1 accepted\n", "hello\n")
    assert.equal("hello", d:read "l")
    a:close()
    d:close()
    assert(linking:join())
    local _ <close>, e, f = streams.pair()
    local other = pipe.new(f, { strategy = "direct", peer = "PEER", awaits_verdict = true })
    e:write "P2PD/1 refused not you\n"
    local ok, message, code, counts = other:link(c)
    assert.same({ nil, "refused by the peer: not you", "EACCES", { received = 0, sent = 0 } },
      { ok, message, code, counts })
  end))

  it("raises for what is no stream, and for a stream with itself", in_task(function()
    local _ <close>, a, b = streams.pair()
    for _, bad in ipairs { 5, {}, { from = a }, { from = a, to = b, frist = true }, { from = a, to = 5 } } do
      assert.has_error(function() a:link(bad) end)
    end
    assert.has_error(function() a:link(a) end)
  end))
end)
