--- The echo over pipes; see echo.lua.
local echo = require "spec.bench.peers.echo"
local pipes = require "spec.bench.peers.pipes"
local p2pd = require "p2pd"

local roles = {}

function roles.serve()
  local pipe <close> = pipes.accept()
  for line in pipe:lines() do pipe:write(line, "\n") end
end

function roles.connect(port)
  local pipe <close> = pipes.connect(port)
  local again = echo.counter()
  repeat
    pipe:write(echo.LINE, "\n")
    assert(pipe:read "l" == echo.LINE)
  until not again()
end

p2pd.run(roles[arg[1]], arg[2])
