local round_trips = require "p2pd.cli.round_trips"

describe("p2pd.cli.round_trips", function()
  it("sums up", function()
    local trips = round_trips.new "pipe"
    trips.sent = 2
    assert.equal("pipe: 2 sent, 2 lost", trips:summary())
    trips:add(0.001)
    trips.sent = 4
    trips:add(0.004)
    assert.equal("pipe: 4 sent, 2 lost, min/avg/max 1.00/2.50/4.00 ms", trips:summary())
  end)

  it("tells once when a pipe's path changes", function()
    local info = { strategy = "relay", remote = "192.0.2.1:3478" }
    local path = round_trips.path { info = function() return info end }
    assert.equal("relay to 192.0.2.1:3478", path.now)
    assert.is_nil(path:change())
    info = { strategy = "punch", remote = "192.0.2.2:4000" }
    assert.equal("now punch to 192.0.2.2:4000 (was relay to 192.0.2.1:3478)", path:change())
    assert.is_nil(path:change())
    info = {}
    assert.equal("now no path (was punch to 192.0.2.2:4000)", path:change())
    info = nil
    assert.is_nil(path:change())
  end)

  it("knows a closed pipe's strategy", function()
    assert.equal("direct", round_trips.path({ strategy = "direct", info = function() end }).now)
  end)
end)
