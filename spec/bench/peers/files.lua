--- One side of a transfer of files, or of as many bytes, over a pipe with TLS.
--   files.lua receive FOLDER    prints its port; then, at the end, "BYTES SECONDS FILES"
--   files.lua send PORT PATH
--   files.lua read              prints its port; then, at the end, "BYTES SECONDS"
--   files.lua write PORT BYTES  in writes of 64 KiB
local pipe = require "p2pd.pipe"
local p2pd = require "p2pd"
local tls = require "spec.bench.peers.tls"
local transfer = require "p2pd.transfer"

local BLOCK = ("\0"):rep(64 * 1024)

local roles = {}

local function piped(stream)
  return pipe.new(stream, { strategy = "direct" })
end

function roles.receive(folder)
  local line <close> = piped(tls.accept())
  local started = p2pd.clock.monotonic()
  local summary = assert(transfer.receive(line, folder))
  print(("%d %.9f %d"):format(summary.bytes, p2pd.clock.monotonic() - started, summary.files))
end

function roles.send(port, path)
  local line <close> = piped(tls.connect(port))
  assert(assert(transfer.send(line, { path })).failed == 0, "not all was sent")
end

function roles.read()
  local line <close> = piped(tls.accept())
  local started, total = p2pd.clock.monotonic(), 0
  while true do
    local data, message = line:recv()
    assert(not message, message)
    if not data then break end
    total = total + #data
  end
  print(("%d %.9f"):format(total, p2pd.clock.monotonic() - started))
end

function roles.write(port, bytes)
  local line <close> = piped(tls.connect(port))
  for _ = 1, tonumber(bytes) // #BLOCK do assert(line:write(BLOCK)) end
end

p2pd.run(roles[arg[1]], arg[2], arg[3])
