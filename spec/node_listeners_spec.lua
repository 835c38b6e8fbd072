local core = require "p2pd.core"
local helper = require "spec.helper"
local listeners = require "p2pd.node.listeners"
local task = helper.task

local function route(nic) return { name = "lo", family = "ipv4", nic = nic, internal = nic } end

local function is_open(ip, port)
  local stream <close> = core.tcp.connect(ip, port)
  return stream ~= nil
end

describe("p2pd.node.listeners", function()
  local opened, level

  before_each(function()
    opened, level = 0, core.log.level()
    core.log.level "error"
  end)

  after_each(function() core.log.level(level) end)

  local function new(port)
    return listeners.new { port = port or 0, on_listener = function() opened = opened + 1 end }
  end

  it("listen for each route, until it is not kept", task(function()
    local all, near, far = new(), route "127.0.0.1", route "127.0.0.2"
    assert.is_true(all:open { near, far })
    assert.equal(2, opened)
    local near_port, far_port = near.port, far.port
    all:keep { far }
    assert.same({ false, true }, { is_open("127.0.0.1", near_port), is_open("127.0.0.2", far_port) })
    assert.is_nil(near.port)
    all:close()
    all:close()
    assert.is_false(is_open("127.0.0.2", far_port))
  end))

  it("take the last port again", task(function()
    local all, first = new(), route "127.0.0.1"
    assert(all:open { first })
    local port = first.port
    all:keep {}
    local second = route "127.0.0.3"
    assert(all:open { second })
    assert.equal(port, second.port)
    all:close()
  end))

  it("have a port besides, of a route that is listened on", task(function()
    local all, one, port = new(), route "127.0.0.1", helper.free_port()
    assert.same({ "ENOENT" }, { (select(3, all:open_port(one, port))) })
    assert(all:open { one })
    assert.is_true(all:open_port(one, port))
    assert.is_true(all:open_port(one, port))
    assert.equal(2, opened)
    assert.is_true(is_open("127.0.0.1", port))
    all:close()
  end))

  it("fail when the port that is asked for is taken, and when no route can be listened on", task(function()
    local taken <close> = assert(core.tcp.listen { ip = "127.0.0.1" })
    local _, port = taken:getsockname()
    assert.equal("EADDRINUSE", select(3, new(port):open { route "127.0.0.1", route "127.0.0.2" }))
    assert.equal("EADDRNOTAVAIL", select(3, new():open { route "192.0.2.1" }))
  end))

  it("go on without a route that can't be listened on", task(function()
    local all, good, bad = new(), route "127.0.0.1", route "192.0.2.1"
    assert.is_true(all:open { good, bad })
    assert.is_nil(bad.port)
    assert.is_truthy(good.port)
    all:close()
  end))
end)
