--- Throughput and CPU of one stream of a mux on loopback, in writes of 64 KiB, over plain TCP and over TLS,
-- against the same transfer by what is below it. The receiver's clock runs from its accept to the end of the
-- stream; CPU is both sides'.
local harness = require "spec.bench.harness"

local ROUNDS, BYTES = 7, 1 << 29
local GOAL, GOAL_CPU = 0.95, 1.1

-- Bytes a second, and CPU seconds of both sides for each byte.
local function transfer(...)
  local receiver <close> = harness.peer(2, "transfer_mux", "receive", ...)
  local sender <close> = harness.peer(1, "transfer_mux", "send", receiver:line(), tostring(BYTES), ...)
  local bytes, seconds, receiving = receiver:numbers()
  assert(bytes == BYTES, "the transfer is not complete")
  local sending = sender:numbers()
  sender:finish()
  receiver:finish()
  return bytes / seconds, (receiving + sending) / bytes
end

local function measure(kind)
  local cpu = { {}, {} }
  local function candidate(i, ...)
    local words = { kind, ... }
    return function(round)
      local rate, each = transfer(table.unpack(words))
      cpu[i][round] = each
      return rate
    end
  end
  local found = harness.alternate(ROUNDS, { candidate(1, "mux"), candidate(2) })
  local ratios = {}
  for round = 1, ROUNDS do ratios[round] = cpu[1][round] / cpu[2][round] end
  return found, harness.median(ratios)
end

local function rows_of(kind, name)
  local found, cpu = measure(kind)
  return {
    what = ("mux: throughput of one stream over %s, against %s alone"):format(name, name),
    ours = ("%.0f MB/s"):format(found.medians[1] / 1e6),
    theirs = ("%.0f MB/s"):format(found.medians[2] / 1e6),
    ratio = found.ratios[2], goal = ">= 0.95", met = found.ratios[2] >= GOAL,
  }, {
    what = ("mux: CPU for each byte, against %s alone"):format(name),
    ratio = cpu, goal = "<= 1.1", met = cpu <= GOAL_CPU,
  }
end

return function()
  local rows = {}
  rows[1], rows[2] = rows_of("plain", "plain TCP")
  rows[3], rows[4] = rows_of("tls", "TLS")
  return rows
end
