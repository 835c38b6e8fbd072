--- One side of a transfer through one stream of a mux; see transfer.lua.
--   transfer_mux.lua receive KIND [mux]         prints its port; at the end, "BYTES SECONDS CPU-SECONDS"
--   transfer_mux.lua send PORT BYTES KIND [mux] in writes of 64 KiB; prints its CPU seconds
-- KIND is plain or tls, what is below; without `mux` that is the stream itself.
local core = require "p2pd.core"
local p2pd = require "p2pd"
local pipes = require "spec.bench.peers.pipes"
local tls = require "spec.bench.peers.tls"

local BLOCK = ("\0"):rep(64 * 1024)

local KINDS = {
  tls = { accept = tls.accept, connect = tls.connect },
  plain = {
    accept = function()
      local listener <close> = pipes.listen()
      return assert(listener:accept())
    end,
    connect = function(port) return assert(core.tcp.connect("127.0.0.1", tonumber(port))) end,
  },
}

local function say(...)
  print(...)
  io.stdout:flush()
end

local roles = {}

function roles.receive(kind, mux)
  local stream <close> = KINDS[kind].accept()
  local above <close> = mux and core.mux.new(stream, "server")
  local source <close> = above and assert(above:accept()) or stream
  local started, busy, total = p2pd.clock.monotonic(), os.clock(), 0
  while true do
    local data, message = source:recv()
    assert(not message, message)
    if not data then break end
    total = total + #data
  end
  say(total, p2pd.clock.monotonic() - started, os.clock() - busy)
end

function roles.send(port, bytes, kind, mux)
  local stream <close> = KINDS[kind].connect(port)
  local above <close> = mux and core.mux.new(stream, "client")
  local target <close> = above and assert(above:open()) or stream
  local busy = os.clock()
  for _ = 1, tonumber(bytes) // #BLOCK do assert(target:write(BLOCK)) end
  say(os.clock() - busy)
end

p2pd.run(roles[arg[1]], table.unpack(arg, 2))
