--- One side of a transfer over TLS; see transfer.lua.
--   transfer_tls.lua receive           prints its port; then, at the end, "BYTES SECONDS CIPHER"
--   transfer_tls.lua send PORT BYTES   in writes of 64 KiB
local p2pd = require "p2pd"
local tls = require "spec.bench.peers.tls"

local BLOCK = ("\0"):rep(64 * 1024)

local roles = {}

function roles.receive()
  local stream <close> = tls.accept()
  local started, total = p2pd.clock.monotonic(), 0
  while true do
    local data, message = stream:recv()
    assert(not message, message)
    if not data then break end
    total = total + #data
  end
  local seconds = p2pd.clock.monotonic() - started
  print(("%d %.9f"):format(total, seconds))
end

function roles.send(port, bytes)
  local stream <close> = tls.connect(port)
  for _ = 1, tonumber(bytes) // #BLOCK do assert(stream:write(BLOCK)) end
end

p2pd.run(roles[arg[1]], arg[2], arg[3])
