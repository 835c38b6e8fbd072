local core = require "p2pd.core"
local helper = require "spec.helper"
local nodes = require "spec.nodes"
local streams = require "spec.streams"
local task = require "p2pd.task"
local in_task = helper.task

local alice, bob, eve = nodes.new(), nodes.new(), nodes.new()

-- The first flight of alice, who wants a node: a record with a ClientHello.
local function hello_for(node)
  local _ <close>, near, far = streams.pair()
  local _ <close> = task.spawn(core.tls.client, near, alice.context, node.id)
  return assert(far:recv())
end

-- What a node says to whoever sends these bytes, and what its own side finds.
local function say(node, bytes, ...)
  local _ <close>, near, far = streams.pair()
  local server <close> = task.spawn(core.tls.server, far, node.context, nil, ...)
  near:write(bytes)
  if not ... then near:shutdown() end
  local said = {}
  repeat
    local data = near:recv()
    said[#said + 1] = data
  until not data
  return table.concat(said), select(2, server:join())
end

local function flip(text, at)
  return text:sub(1, at - 1) .. string.char(text:byte(at) ~ 1) .. text:sub(at + 1)
end

-- The record with a message of another length in it; both lengths are right.
local function record(message)
  message = message:sub(1, 1) .. (">I3"):pack(#message - 4) .. message:sub(5)
  return "\22\3\1" .. (">s2"):pack(message)
end

describe("the proof of knowing a node's id", function()
  it("is in the hello of who dials the node, and nowhere else", in_task(function()
    local hello = hello_for(bob)
    assert.is_true(core.tls.proved(bob.context, hello))
    assert.same({ n = 1, false }, table.pack(core.tls.proved(eve.context, hello)))
    assert.same({ n = 1, false }, table.pack(core.tls.proved(alice.context, hello)))
  end))

  it("is another one each time", in_task(function()
    assert.not_equal(hello_for(bob):sub(-32), hello_for(bob):sub(-32))
  end))

  it("is the only one of the hello's bytes that depend on the node, but for random ones", in_task(function()
    local function fixed(hello) -- without the random, the key share and the binder
      local share = hello:find("\0\29\0\32", 1, true) + 4
      return hello:sub(1, 11) .. hello:sub(44, share - 1) .. hello:sub(share + 32, -33)
    end
    local first, second = hello_for(bob), hello_for(eve)
    assert.equal(fixed(first), fixed(second))
    for _, node in ipairs { alice, bob } do assert.is_nil(first:find(node.key:public(), 1, true)) end
  end))

  it("fails for every hello that was changed, and not a byte is said", in_task(function()
    local hello = hello_for(bob)
    for at = 1, #hello do
      if at ~= 2 and at ~= 3 and at ~= 4 and at ~= 5 then -- of the record's header; the lengths are below
        assert.is_false((core.tls.proved(bob.context, flip(hello, at))), at)
      end
    end
    for at = 1, #hello, 7 do
      local said, message = say(bob, flip(hello, at))
      if at ~= 3 then assert.equal("", said) end
      assert.is_string(message)
    end
  end))

  it("fails for a key share of somebody else", in_task(function()
    local hello = hello_for(bob)
    local other = hello_for(bob)
    local from = hello:find("\0\51\0\38\0\36\0\29\0\32", 1, true)
    local mixed = hello:sub(1, from + 9) .. other:sub(from + 10, from + 41) .. hello:sub(from + 42)
    assert.equal(#hello, #mixed)
    assert.equal("", (say(bob, mixed)))
  end))

  it("fails without the binder, with a shorter one, and for half a hello", in_task(function()
    local message = hello_for(bob):sub(6)
    for length = 4, #message - 1 do
      assert.equal("", (say(bob, record(message:sub(1, length)))), length)
    end
  end))

  it("ends a connection at once, whatever is wrong", in_task(function()
    local hello = hello_for(bob)
    for _, bytes in ipairs { hello_for(eve), flip(hello, #hello), flip(hello, 50), "GET / HTTP/1.0\r\n\r\n",
      "\21\3\3\0\2\2\80", "\22\3\1\255\255", record(("\1"):rep(60)), "\22\3\1\0\0" } do
      local said, message = say(bob, bytes, 60)
      assert.equal("", said)
      assert.matches("no proof that the peer knows the node id", message)
    end
  end))

  it("wants the hello in one record, of at most 2 KiB", in_task(function()
    local message = hello_for(bob):sub(6)
    local header = "\22\3\1"
    local halves = header .. (">s2"):pack(message:sub(1, 50)) .. header .. (">s2"):pack(message:sub(51))
    assert.equal("", (say(bob, halves)))
    assert.same({ false, 2048 }, { core.tls.proved(bob.context, "\22\3\1" .. (">I2"):pack(2043)) })
    assert.same({ false }, { core.tls.proved(bob.context, "\22\3\1" .. (">I2"):pack(2044)) })
  end))

  it("that is sent again gets an answer that the sender can't read", in_task(function()
    local said = say(bob, hello_for(bob))
    assert.equal("\22", said:sub(1, 1))
    assert.is_nil(said:find(bob.key:public(), 1, true))
  end))

  describe("proved()", function()
    it("tells how many bytes it needs", in_task(function()
      local hello = hello_for(bob)
      for length = 0, 4 do
        assert.same({ false, 5 }, { core.tls.proved(bob.context, hello:sub(1, length)) })
      end
      for length = 5, #hello - 1 do
        assert.same({ false, #hello }, { core.tls.proved(bob.context, hello:sub(1, length)) })
      end
      assert.same({ false }, { core.tls.proved(bob.context, hello .. "x") })
    end))

    it("raises for misuse", function()
      assert.error_matches(function() core.tls.proved({}, "") end, "p2pd.tls.context")
      assert.error_matches(function() core.tls.proved(bob.context) end, "string expected")
      assert.error_matches(function() core.tls.proved(core.tls.authority(), "") end, "the context of a node")
    end)
  end)
end)
