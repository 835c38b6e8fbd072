--- Throughput of a pipe on loopback, in writes of 64 KiB, against the same transfer by a plain C program with
-- blocking sockets. The receiver's clock runs from its accept to the end of the stream.
local harness = require "spec.bench.harness"

local ROUNDS, BYTES, GOAL = 9, 1 << 30, 0.9

local function transfer(receive, send)
  local receiver <close> = receive()
  local port = receiver:line()
  local sender <close> = send(port, tostring(BYTES))
  local bytes, seconds = receiver:numbers()
  assert(bytes == BYTES, "the transfer is not complete")
  sender:finish()
  receiver:finish()
  return bytes / seconds
end

local function by_pipe()
  return transfer(function() return harness.peer(2, "transfer", "receive") end,
    function(...) return harness.peer(1, "transfer", "send", ...) end)
end

local function by_blocking_sockets(program)
  return transfer(function() return harness.start { cpu = 2, program, "receive" } end,
    function(...) return harness.start { cpu = 1, program, "send", ... } end)
end

return function()
  local program = harness.compile "blocking"
  local found = harness.alternate(ROUNDS,
    { by_pipe, function() return by_blocking_sockets(program) end })
  local ratio = found.ratios[2]
  return { {
    what = "throughput, 64 KiB writes, against blocking sockets in C",
    ours = ("%.0f MB/s"):format(found.medians[1] / 1e6),
    theirs = ("%.0f MB/s"):format(found.medians[2] / 1e6),
    ratio = ratio, goal = ">= 0.9", met = ratio >= GOAL,
  } }
end
