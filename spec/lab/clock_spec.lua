-- Hosts whose clocks are wrong, each in its own way, mean the same instant all the same.
local helper = require "spec.helper"
local lab = require "p2pd.lab"
local labs = require "spec.lab.labs"

local SKEWS = { -0.5, -0.05, 0, 0.05, 0.5 }
local MEETING = 2000000000 -- a network time

-- Prints when the meeting is by this machine's one monotonic clock; how far off that may be; and by how much
-- the system's clock was found to be ahead.
local PROGRAM = [[
  local clock, config = require "p2pd.clock", require "p2pd.config"
  local burst = { count = 4, spacing = 0.001, spacing_max = 0.001 }
  local found = assert(clock.measure(config.resolve().ntp, burst))
  local now = clock.now() - require "p2pd.core".clock.realtime()
  print(("%.7f %.7f %.7f %.7f"):format(clock.to_monotonic(%MEETING%), found.bound, -found.offset, now))
]]

labs.describe("p2pd.clock in the lab", function()
  local function measure(l, host, skew)
    local child <close> = assert(l:p2pd(host, { env = { P2PD_SKEW = tostring(skew) }, "-e",
      (PROGRAM:gsub("%%MEETING%%", MEETING)) }))
    local line = child:stdout():read "l"
    assert(line, child:stderr():read "a")
    local instant, bound, ahead, wrong = line:match "^(%S+) (%S+) (%S+) (%S+)$"
    return { instant = tonumber(instant), bound = tonumber(bound), ahead = tonumber(ahead),
      wrong = tonumber(wrong) }
  end

  it("corrects every skew to within its bound, and the hosts agree", helper.task(function()
    local l <close> = assert(lab.open {
      hosts = {
        a = { latency = 0.02, nats = { { type = "port-restricted" } } },
        b = { up = 0.03, down = 0.01, jitter = 0.005 },
      },
      servers = { ntps = 3 },
    })
    for _, skew in ipairs(SKEWS) do
      local a, b = measure(l, "a", skew), measure(l, "b", -skew)
      for found, wanted in pairs { [a] = skew, [b] = -skew } do
        assert.is_true(math.abs(found.ahead - wanted) <= found.bound)
        assert.is_true(math.abs(found.wrong) <= found.bound)
      end
      assert.is_true(math.abs(a.instant - b.instant) <= a.bound + b.bound)
    end
  end, 60))

  it("does without NTP when the host has no UDP", helper.task(function()
    local l <close> = assert(lab.open { hosts = { a = { udp = false } }, servers = { ntps = 1 } })
    local result = assert(l:run("a", { "lua5.4", "-e", [[
      local core = require "p2pd.core"
      local clock, config = require "p2pd.clock", require "p2pd.config"
      core.task.run(function()
        local found, reason, code = clock.measure(config.resolve().ntp, { timeout = 0.1 })
        print(found, code, clock.offset().source)
      end)
    ]] }))
    assert.equal("nil\tETIMEDOUT\tsystem\n", result.out)
  end))
end)
