--- Files over a pipe on loopback: one large file, checksum included, against as many bytes over the same kind
-- of pipe; and many small ones. The receiver's clock runs from its pipe to the end. The files are in memory
-- (/dev/shm), so that no disk is measured.
local core = require "p2pd.core"
local harness = require "spec.bench.harness"

local ROUNDS, BYTES, GOAL = 5, 1 << 30, 0.9
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
  return { large_row(folder), small_row(folder) }
end
