--- What the benchmarks of nodes need: a node in its own process.
local harness = require "spec.bench.harness"

local testbed = {}

--- Starts `p2pd node` and waits until it is ready.
-- @tparam string path of its settings
-- @param ... further arguments
-- @treturn child
-- @treturn string its address
function testbed.node(path, ...)
  local child = harness.start { os.getenv "P2PD_EXE" or "./p2pd", "node", "--interface", "lo",
    "--settings", path, ... }
  return child, assert(child:line():match "^address: (.+)$", "the node did not say its address")
end

return testbed
