--- One side of a transfer over a pipe, as blocking.c does it over plain sockets.
--   transfer.lua receive           prints its port; then, at the end, "BYTES SECONDS"
--   transfer.lua send PORT BYTES   in writes of 64 KiB
local pipes = require "spec.bench.peers.pipes"
local p2pd = require "p2pd"

local BLOCK = ("x"):rep(64 * 1024)

local roles = {}

function roles.receive()
  local pipe <close> = pipes.accept()
  local started, total = p2pd.clock.monotonic(), 0
  while true do
    local data = pipe:recv()
    if not data then break end
    total = total + #data
  end
  print(("%d %.9f"):format(total, p2pd.clock.monotonic() - started))
end

function roles.send(port, bytes)
  local pipe <close> = pipes.connect(port)
  for _ = 1, tonumber(bytes) // #BLOCK do assert(pipe:write(BLOCK)) end
end

p2pd.run(roles[arg[1]], arg[2], arg[3])
