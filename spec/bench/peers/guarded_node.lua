-- A node that trusts one peer and echoes: `guarded_node SETTINGS FRIEND`. Its address is its first line.
local core = require "p2pd.core"
local p2pd = require "p2pd"

local path, trusted = ...
core.log.level "info"

p2pd.run(function()
  local node <close> = assert(p2pd.node { settings = path, interfaces = { "lo" }, trust = { trusted } })
  print(node.address)
  io.stdout:flush()
  for pipe in node:pipes() do
    p2pd.spawn(function()
      local held <close> = pipe
      for line in function() return (held:read "l") end do held:write(line, "\n") end
    end)
  end
end)
