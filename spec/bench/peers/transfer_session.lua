--- One side of a transfer over a session whose path is TLS; see transfer_tls.lua.
--   transfer_session.lua receive           prints its port; then, at the end, "BYTES SECONDS CPU"
--   transfer_session.lua send PORT BYTES   in writes of 64 KiB; prints "CPU"
local core = require "p2pd.core"
local p2pd = require "p2pd"
local tls = require "spec.bench.peers.tls"

local BLOCK = ("\0"):rep(64 * 1024)

local roles = {}

local function new(stream, initiator)
  local session = core.session.new { initiator = initiator }
  assert(session:attach(stream))
  return session
end

function roles.receive()
  local session <close> = new(tls.accept(), false)
  local stream <close> = assert(session:stream())
  local started, total, cpu = p2pd.clock.monotonic(), 0, os.clock()
  while true do
    local data, message = stream:recv()
    assert(not message, message)
    if not data then break end
    total = total + #data
  end
  print(("%d %.9f %.6f"):format(total, p2pd.clock.monotonic() - started, os.clock() - cpu))
end

function roles.send(port, bytes)
  local session <close> = new(tls.connect(port), true)
  local stream <close> = assert(session:stream())
  local cpu = os.clock()
  for _ = 1, tonumber(bytes) // #BLOCK do assert(stream:write(BLOCK)) end
  stream:shutdown()
  assert(stream:read "a" == "")
  print(("%.6f"):format(os.clock() - cpu))
end

p2pd.run(roles[arg[1]], arg[2], arg[3])
