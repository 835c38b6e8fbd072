--- A node in a fresh process: `ready_node.lua SETTINGS` prints the seconds until it is ready.
local p2pd = require "p2pd"

p2pd.run(function()
  local started = p2pd.clock.monotonic()
  local _ <close> = assert(p2pd.node { settings = arg[1], interfaces = { "lo" } })
  print(p2pd.clock.monotonic() - started)
  io.stdout:flush()
end)
