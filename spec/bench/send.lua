--- Files over a pipe: one large file, checksum included, against as many bytes over the same kind of pipe, on
-- loopback and on a line of 1 Gbit/s; many small ones; and what a code takes. The receiver's clock runs from
-- its pipe to the end. The files are in memory (/dev/shm), so that no disk is measured.
local core = require "p2pd.core"
local harness = require "spec.bench.harness"
local message = require "p2pd.code.message"
local p2pd = require "p2pd"
local servers = require "p2pd.lab.servers"

local ROUNDS, BYTES, GOAL = 5, 1 << 30, 0.9
local LINE_ROUNDS, LINE_BYTES = 3, 256 << 20
local CODES, TRIPS_GOAL = 5, 3
local SMALL_ROUNDS, FOLDERS, FILES, SMALL, SMALL_GOAL = 3, 100, 1000, 100, 5000

local function sh(command, ...)
  local child <close> = harness.start { "sh", "-c", command, "sh", ... }
  child:finish()
end

local function transfer(reader, writer)
  local receiver <close> = reader()
  local sender <close> = writer(receiver:line())
  local bytes, seconds, files = receiver:numbers()
  sender:finish()
  receiver:finish()
  return bytes, seconds, files
end

-- Unpinned: a file is read and hashed by a thread besides the loop's.
local function by_files(folder, path)
  sh([[rm -rf "$1/to" && mkdir "$1/to"]], folder)
  return transfer(function() return harness.peer(nil, "files", "receive", folder .. "/to") end,
    function(port) return harness.peer(nil, "files", "send", port, path) end)
end

local function by_pipe()
  local bytes, seconds = transfer(function() return harness.peer(nil, "files", "read") end,
    function(port) return harness.peer(nil, "files", "write", port, tostring(BYTES)) end)
  return bytes / seconds
end

local function large_row(folder)
  sh([[head -c "$2" /dev/urandom >"$1/large"]], folder, tostring(BYTES))
  local function by_file()
    local bytes, seconds = by_files(folder, folder .. "/large")
    assert(bytes == BYTES, "the file is not complete")
    return bytes / seconds
  end
  local found = harness.alternate(ROUNDS, { by_file, by_pipe })
  return {
    what = "a file of 1 GiB with its checksum, against as many bytes over a pipe (TLS; not pinned)",
    ours = ("%.0f MB/s"):format(found.medians[1] / 1e6),
    theirs = ("%.0f MB/s"):format(found.medians[2] / 1e6),
    ratio = found.ratios[2], goal = ">= 0.9", met = found.ratios[2] >= GOAL,
  }
end

local MAKE = [[mkdir "$1/small" && cd "$1/small" && for i in $(seq "$2"); do
  mkdir $i && head -c "$(($3 * $4))" /dev/urandom | split -a 4 -b "$4" - "$i/f"; done]]

-- Both sides in a network namespace of their own, whose loopback is a line of 1 Gbit/s.
local LINE = [[ip link set lo up && tc qdisc add dev lo root tbf rate 1gbit burst 1mb latency 20ms || exit 1
lua=$1 pipe=$2/line; shift 2
mkfifo "$pipe" && { "$lua" spec/bench/peers/files.lua $1 >"$pipe" & } && exec 3<"$pipe" && rm "$pipe" &&
read -r port <&3 && "$lua" spec/bench/peers/files.lua ${2%%:*} "$port" "${2#*:}" && cat <&3]]

local function by_line(folder, reader, writer)
  sh([[rm -rf "$1/to" && mkdir "$1/to"]], folder)
  local child <close> = harness.start { "unshare", "-n", "sh", "-c", LINE, "sh", arg[-1], folder, reader,
    writer }
  local bytes, seconds = child:numbers()
  assert(bytes == LINE_BYTES, "not all came")
  return bytes / seconds
end

local function line_row(folder)
  sh([[head -c "$2" /dev/urandom >"$1/line-file"]], folder, tostring(LINE_BYTES))
  local found = harness.alternate(LINE_ROUNDS, {
    function() return by_line(folder, "receive " .. folder .. "/to", "send:" .. folder .. "/line-file") end,
    function() return by_line(folder, "read", "write:" .. LINE_BYTES) end,
  })
  return {
    what = "a file of 256 MiB with its checksum, against a pipe, on a line of 1 Gbit/s",
    ours = ("%.0f MB/s"):format(found.medians[1] / 1e6),
    theirs = ("%.0f MB/s"):format(found.medians[2] / 1e6),
    ratio = found.ratios[2], goal = ">= 0.9", met = found.ratios[2] >= GOAL,
  }
end

-- Everything said at a code's number, by one who only listens.
local function listen(broker, number)
  local tap = assert(core.mqtt.open { host = broker.host, port = broker.port })
  tap:subscribe("p2pd/code/1/" .. number)
  assert(tap:wait_online(10))
  return tap
end

-- How long a code's exchange takes, and how many messages wait for each other in it.
local function redeem(settings, broker)
  local node_options = { settings = settings, interfaces = { "lo" }, port_mapping = false }
  local near <close> = assert(p2pd.node(node_options))
  local far <close> = assert(p2pd.node(node_options))
  local offer <close> = assert(p2pd.code.offer(near))
  local tap = listen(broker, offer.text:match "^%d+")
  local began = harness.now()
  assert(p2pd.code.redeem(far, offer.text))
  local seconds, messages = harness.now() - began, 0
  repeat
    local _, bytes = assert(tap:receive(10))
    messages = messages + 1
  until message.decode(bytes).kind == "TAKEN"
  tap:close()
  return seconds, messages
end

local function code_row()
  local broker = servers.mosquitto {}
  local _, settings = servers.settings { brokers = { broker } }
  local times, most = {}, 0
  for i = 1, CODES do
    local messages
    times[i], messages = redeem(settings, broker)
    most = math.max(most, messages)
  end
  return {
    what = "a code: round trips of signalling (beside the dial); time with a broker on loopback",
    ours = ("%d, %.0f ms"):format(most // 2, harness.median(times) * 1e3),
    goal = "<= 3", met = most // 2 <= TRIPS_GOAL,
  }
end

local function small_row(folder)
  sh(MAKE, folder, tostring(FOLDERS), tostring(FILES), tostring(SMALL))
  local rates = {}
  for i = 1, SMALL_ROUNDS do
    local _, seconds, files = by_files(folder, folder .. "/small")
    assert(files == FOLDERS * FILES, "not all are there")
    rates[i] = files / seconds
  end
  local rate = harness.median(rates)
  return {
    what = ("%d files of %d bytes received (not pinned)"):format(FOLDERS * FILES, SMALL),
    ours = ("%.0f/s"):format(rate), goal = (">= %d/s"):format(SMALL_GOAL), met = rate >= SMALL_GOAL,
  }
end

return function()
  local folder = ("/dev/shm/p2pd-bench-%d"):format(core.clock.monotonic() * 1e6 // 1)
  sh([[mkdir "$1"]], folder)
  local _ <close> = setmetatable({}, { __close = function() os.execute(("rm -rf '%s'"):format(folder)) end })
  return { large_row(folder), line_row(folder), small_row(folder), code_row() }
end
