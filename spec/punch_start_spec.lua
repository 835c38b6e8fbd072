local core = require "p2pd.core"
local child = require "spec.child"
local helper = require "spec.helper"
local punches = require "spec.punches"
local in_task = helper.task
local start, now = core.punch.start, core.clock.monotonic

local NEAR, FAR, mapping, plan = punches.NEAR, punches.FAR, punches.mapping, punches.plan
local refused, until_failed = punches.refused, punches.until_failed

describe("p2pd.core.punch", function()
  describe("start()", function()
    local function refuses(code, text, mappings, more)
      local punch, message, actual = start(plan(mappings, more))
      assert.is_nil(punch)
      assert.equal(code, actual)
      assert.matches(text, message, 1, true)
    end

    it("refuses instants that make no sense", in_task(function()
      local there = { (refused()) }
      refuses("EINVAL", "'at' is more than 60 s ahead", there, { at = now() + 61, deadline = now() + 70 })
      refuses("EINVAL", "'deadline' is not after", there, { deadline = now() - 1 })
      refuses("EINVAL", "'deadline' is more than 300 s ahead", there, { deadline = now() + 400 })
      refuses("ETIMEDOUT", "'deadline' has passed", there, { at = now() - 2, deadline = now() - 1 })
      there[2] = mapping(NEAR, 0, FAR, 9, { after = 20 })
      refuses("EINVAL", "mappings[2]: its turn is after the 'deadline'", there)
    end))

    it("says which socket could not be made", in_task(function()
      local port = helper.free_port()
      local own <close> = assert(core.tcp.listen { ip = NEAR, port = port })
      local good = refused()
      local taken, foreign = mapping(NEAR, port, FAR, 9), mapping("192.0.2.1", 0, FAR, 9)
      refuses("EADDRINUSE", ("mappings[2]: a socket on 127.0.0.2:%d: Address already in use"):format(port),
        { good, taken })
      refuses("EADDRNOTAVAIL", "mappings[1]: a socket on 192.0.2.1:0", { foreign })
      refuses("ENODEV", "mappings[1]", { mapping(NEAR, 0, FAR, 9, { device = "nosuch0" }) })
      assert.truthy(own)
    end))

    it("says when there are no descriptors left, and keeps none", in_task(function()
      local result = child.run([[
        local now = core.clock.monotonic
        local function count()
          local n = 0
          for _ in require "lfs".dir "/proc/self/fd" do n = n + 1 end
          collectgarbage()
          return n
        end
        print(task.run(function()
          local before = count()
          local mappings = {}
          for i = 1, 64 do mappings[i] = { ip = "127.0.0.2", remote_ip = "127.0.0.3", remote_port = 9 } end
          local _, message, code = core.punch.start { at = now(), deadline = now() + 5, mappings = mappings }
          local after = count()
          local few <close> = core.punch.start { at = now(), deadline = now() + 0.5,
            mappings = table.move(mappings, 1, 5, 1, {}) }
          return code, message:match "mappings%[%d+%]" ~= nil, after == before, select(3, few:wait(5))
        end))
      ]], { shell = "ulimit -n 40" })
      assert.equal("EMFILE\ttrue\ttrue\tECONNREFUSED\n", result.out)
    end))

    it("raises for a bad plan, and names the field", function()
      local function bad(text, more, mappings)
        local ok, message = pcall(start, plan(mappings or { (refused()) }, more))
        assert.is_false(ok)
        assert.matches(text, message, 1, true)
      end
      local function bad_mapping(text, more)
        local m = mapping(NEAR, 0, FAR, 9)
        for key, value in pairs(more) do m[key] = value end
        bad("option 'mappings[2]." .. text, nil, { mapping(NEAR, 0, FAR, 8), m })
      end
      assert.has_error(function() start() end)
      assert.error_matches(function() start { deadline = 1 } end, "option 'at': an instant expected, got nil")
      assert.error_matches(function() start { at = 1 } end, "option 'deadline': an instant expected")
      bad("option 'at'", { at = 0 / 0 })
      bad("option 'at'", { at = "soon" })
      bad("option 'gap': 0.0001 to 10 expected, got 0", { gap = 0 })
      bad("option 'hold'", { hold = -1 })
      bad("option 'spread'", { spread = 1e9 })
      bad("option 'ttl_for'", { ttl_for = -1 })
      bad("option 'max_open': 1 to 320 expected, got 321", { max_open = 321 })
      bad("option 'max_open': a whole number expected, got 1.5", { max_open = 1.5 })
      bad("option 'rate': 1 to 10000 expected, got 0", { rate = 0 })
      bad("option 'mappings': a list expected, got x", { mappings = "x" })
      bad("option 'mappings': 1 to 1024 mappings expected, got 0", nil, {})
      local many = {}
      for i = 1, 1025 do many[i] = mapping(NEAR, 0, FAR, i) end
      bad("option 'mappings': 1 to 1024 mappings expected, got 1025", nil, many)
      bad("option 'mappings[2]': a table expected, got 5", nil, { mapping(NEAR, 0, FAR, 8), 5 })
      bad("option 'mappings[3]': the same as 'mappings[1]'", nil,
        { mapping(NEAR, 7, FAR, 8), mapping(NEAR, 7, FAR, 9), mapping(NEAR, 7, FAR, 8) })
      bad_mapping("remote_port': 1 to 65535 expected, got 0", { remote_port = 0 })
      bad_mapping("remote_port': 1 to 65535 expected, got 70000", { remote_port = 70000 })
      bad_mapping("remote_port': 1 to 65535 expected, got x", { remote_port = "x" })
      bad_mapping("remote_ip': an IP address expected, got peer.example", { remote_ip = "peer.example" })
      bad_mapping("remote_ip': a string expected", { remote_ip = "10.0.0.1\0" })
      bad_mapping("port': 0 to 65535 expected, got -1", { port = -1 })
      bad_mapping("ip': an address of the family of 'remote_ip' expected, got ::1", { ip = "::1" })
      bad_mapping("ip': an IP address expected, got x", { ip = "x" })
      bad_mapping("device': an interface's name expected", { device = ("x"):rep(16) })
      bad_mapping("after': 0 to 300 expected, got -1", { after = -1 })
      bad_mapping("ttl': 1 to 255 expected, got 0", { ttl = 0 })
      bad_mapping("ttl': an IPv4 mapping expected", { ip = "::1", remote_ip = "::1", ttl = 3 })
      bad_mapping("ip': a string expected", { ip = 5 })
      assert.error_matches(function() start(plan { { remote_ip = FAR } }) end, "mappings%[1%].remote_port'")
      assert.error_matches(function() start(plan { { remote_port = 9 } }) end, "mappings%[1%].remote_ip'")
    end)
  end)

  it("tells by what means it is punctual", in_task(function()
    local punch <close> = assert(start(plan { (refused()) }))
    until_failed(punch, 1)
    assert.truthy(({ fifo = true, slice = true, normal = true })[punch:stats().scheduler])
    assert.matches("open", tostring(punch))
  end))
end)
