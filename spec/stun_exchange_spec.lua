local core = require "p2pd.core"
local exchange = require "p2pd.stun.exchange"
local helper = require "spec.helper"
local stuns = require "spec.stuns"
local task = helper.task

local QUICK = { rto = 0.01, rc = 2, rm = 2 }

local function open() return assert(exchange.open { ip = "127.0.0.1" }) end

local function serve(script)
  script = script or {}
  script.mapped = stuns.open_internet
  return stuns.open(script)
end

local function target(server) return { ip = server.entry.host, port = server.entry.port } end

describe("p2pd.stun.exchange", function()
  it("gives each request its own answer", task(function()
    local one <close> = serve()
    local two <close> = serve { net = 2 }
    local socket <close> = open()
    local both <close> = core.task.spawn(function() return (socket:ask(target(two))) end)
    local answer, rtt, ip, port = socket:ask(target(one))
    assert.same({ ip = "127.0.0.1", port = socket.port }, answer.mapped)
    assert.same(one.other, answer.other)
    assert.same(target(one), { ip = ip, port = port })
    assert.is_true(rtt >= 0)
    assert.same(two.other, both:join().other)
  end))

  it("asks again when a request is lost", task(function()
    local server <close> = serve { reply = function(self) return self.asked == 1 end }
    local socket <close> = open()
    assert.is_table((socket:ask(target(server), QUICK)))
    assert.equal(2, server.asked)
  end))

  it("fails when nobody answers, or nobody is there", task(function()
    local server <close> = serve { reply = function() return true end }
    local socket <close> = open()
    assert.same({ nil, "timed out", "ETIMEDOUT" }, { socket:ask(target(server), QUICK) })
    local answer, message, code = socket:ask { ip = "127.0.0.1", port = helper.free_port() }
    assert.same({ nil, "ECONNREFUSED" }, { answer, code })
    assert.matches("refused", message)
    answer, message, code = socket:ask { ip = "::1", port = 1 }
    assert.same({ nil, "EAFNOSUPPORT" }, { answer, code })
    assert.is_string(message)
  end))

  it("leaves it to the asker who may answer", task(function()
    local server <close> = serve { filter = "none" }
    local socket <close> = open()
    local heard
    local answer, _, ip, port = socket:ask(target(server), { change = { ip = true, port = true },
      accept = function(...) heard = { ... } return true end })
    assert.is_table(answer)
    assert.same({ server.ips[2], server.ports[2] }, { ip, port })
    assert.same(heard, { ip, port })
    answer = { socket:ask(target(server), { accept = function() return false, "not you", "EACCES" end }) }
    assert.same({ nil, "not you", "EACCES" }, answer)
  end))

  it("hears its own requests that come back", task(function()
    local socket <close> = open()
    local other <close> = open()
    local heard
    other:ask({ ip = socket.ip, port = socket.port }, { rto = 0.01, rc = 2, rm = 2, on_id = function(id)
      socket:expect(id, function(...) heard = { ... } end)
    end })
    assert.same({ other.ip, other.port }, heard)
  end))

  it("tells who waits that it was closed", task(function()
    local server <close> = serve { reply = function() return true end }
    local socket = open()
    local waiting <close> = core.task.spawn(function() return socket:ask(target(server)) end)
    while server.asked == 0 do core.task.sleep(0.001) end
    socket:close()
    assert.same({ nil, "the socket is closed", "EBADF" }, { waiting:join() })
  end))

  it("says so when the address is not ours", function()
    local socket, message, code = exchange.open { ip = "192.0.2.1" }
    assert.same({ nil, "EADDRNOTAVAIL" }, { socket, code })
    assert.is_string(message)
  end)
end)
