--- Throughput of TLS on loopback, in writes of 64 KiB, against openssl's s_client and s_server with the same
-- cipher; and what a handshake takes. The receiver's clock runs from the end of its handshake to the end of
-- the stream; openssl's programs are timed from start to end, and what they take for no bytes is subtracted.
local core = require "p2pd.core"
local harness = require "spec.bench.harness"
local nodes = require "spec.nodes"
local relays = require "spec.relays"
local scratch = require "p2pd.lab.scratch"
local streams = require "spec.streams"

local ROUNDS, BYTES, GOAL = 7, 1 << 30, 0.9
local HANDSHAKES = 200

local function by_stream()
  local receiver <close> = harness.peer(2, "transfer_tls", "receive")
  local sender <close> = harness.peer(1, "transfer_tls", "send", receiver:line(), tostring(BYTES))
  local bytes, seconds = receiver:numbers()
  assert(bytes == BYTES, "the transfer is not complete")
  sender:finish()
  return bytes / seconds
end

-- -- openssl's own programs

local function sh(cpu, command, ...)
  return harness.start { cpu = cpu, "sh", "-c", command, "sh", ... }
end

-- Files in a folder: a key, its certificate, nothing, and BYTES zeros.
local function prepare()
  local folder = scratch.folder()
  local child <close> = sh(nil, [[cd "$1" && openssl genpkey -algorithm ed25519 -out key &&
    openssl req -x509 -new -key key -subj /CN=x -out cert 2>/dev/null &&
    truncate -s 0 nothing && truncate -s "$2" zeros]], folder, tostring(BYTES))
  child:finish()
  return folder
end

-- The first connection only finds out whether the server is there.
local SERVE = [[cd "$1" && exec openssl s_server -accept "127.0.0.1:$2" -naccept 2 -quiet -key key \
  -cert cert -Verify 1 -ciphersuites "$3" >/dev/null 2>&1]]
local SEND = [[cd "$1" && exec openssl s_client -connect "127.0.0.1:$2" -quiet -no_ign_eof -key key \
  -cert cert -ciphersuites "$3" <"$4" >/dev/null 2>&1]]

local function wait_for(port)
  for _ = 1, 1000 do
    local stream <close> = core.tcp.connect("127.0.0.1", port, nil, 1)
    if stream then return end
    core.task.sleep(0.01)
  end
  error("openssl s_server does not listen", 0)
end

local function timed(folder, cipher, file)
  local port = scratch.free_port()
  local server <close> = sh(2, SERVE, folder, tostring(port), cipher)
  wait_for(port)
  local started = harness.now()
  local client <close> = sh(1, SEND, folder, tostring(port), cipher, file)
  client:finish()
  server:finish()
  return harness.now() - started
end

local function by_openssl(folder, cipher)
  local nothing = timed(folder, cipher, "nothing")
  return BYTES / (timed(folder, cipher, "zeros") - nothing)
end

-- -- handshakes

local alice, bob = nodes.new(), nodes.new()

local function describe()
  local _ <close>, near, far = streams.pair()
  nodes.encrypt(near, alice, far, bob)
  return near:stats().tls
end

local function flights()
  local relay <close>, near, far = relays.new()
  nodes.encrypt(near, alice, far, bob)
  return relay:flights()
end

local function handshake_ms()
  local times = {}
  for i = 1, HANDSHAKES do
    local _ <close>, near, far = streams.pair()
    local started = harness.now()
    nodes.encrypt(near, alice, far, bob)
    times[i] = (harness.now() - started) * 1e3
  end
  return harness.median(times)
end

local function throughput_row()
  local folder, tls = prepare(), describe()
  local found = harness.alternate(ROUNDS,
    { by_stream, function() return by_openssl(folder, tls.cipher) end })
  scratch.remove_all()
  return {
    what = ("TLS throughput, 64 KiB writes, against openssl s_client and s_server (%s)")
      :format(tls.cipher),
    ours = ("%.0f MB/s"):format(found.medians[1] / 1e6),
    theirs = ("%.0f MB/s"):format(found.medians[2] / 1e6),
    ratio = found.ratios[2], goal = ">= 0.9", met = found.ratios[2] >= GOAL,
  }
end

return function()
  -- The client's second flight carries its first data: it waits for one round trip.
  local count = flights()
  return {
    throughput_row(),
    {
      what = "TLS handshake: round trips before the client may write",
      ours = ("%d"):format(count // 2), goal = "1", met = count == 3,
    },
    {
      what = "TLS handshake: time, both sides in one process",
      ours = ("%.2f ms"):format(handshake_ms()),
    },
  }
end
