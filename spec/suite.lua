--- Runs spec files side by side, each in a process of its own, and sums up what they say:
--
--    lua5.4 spec/suite.lua [-j JOBS] [-o FOLDER] [-e CODE] FILE...
--
-- The files that took longest the last time are the first to start. Each process has its own range of ports
-- and its own XDG data folder. A spec whose name has the tag #alone runs when all others have ended, with
-- nothing beside it. What a process writes is kept in FOLDER/spec; its failures are shown at the end, in the
-- order of the files. CODE is run before each file's specs.
--
-- Processes are started by xargs, not by p2pd: a broken core must not break what reports it.

local json = require "dkjson"

local PORTS_FROM, PORTS = 20000, 12000 -- as in p2pd.lab.scratch
local SECONDS = os.getenv "P2PD_SPEC_SECONDS" or "600" -- that one file may take
local SLOWEST = 8
local JOBS_MAX = 16
local TIMED_OUT, KILLED = 124, 137 -- timeout's exit status
local ALONE = "#alone"
local ONE_FILE = [[
export P2PD_PORTS=$((%d + SLOT * %d))-$((%d + (SLOT + 1) * %d - 1)) XDG_DATA_HOME=$PWD/$1/data/$SLOT
base=$1/spec/$(echo "${4%%_spec.lua}-$3" | tr / .) started=$(date +%%s.%%N)
export P2PD_SPEC_RESULT=$base.json
rm -f "$P2PD_SPEC_RESULT"
timeout --foreground -k 5 "$2" %s spec/run.lua -o spec/report.lua "--$3=alone" "$4" >"$base.log" 2>&1
printf '%%s\t%%s\t%%s\t%%s\t%%s\n' $? "$started" "$(date +%%s.%%N)" "$base" "$4"
]]

local function quote(text)
  return "'" .. text:gsub("'", [['\'']]) .. "'"
end

local function read(path)
  local file <close> = io.open(path, "rb")
  return file and file:read "a" or ""
end

local function write(path, text)
  local file <close> = assert(io.open(path, "wb"))
  assert(file:write(text))
end

local function output_of(command)
  local pipe <close> = assert(io.popen(command))
  return pipe:read "a"
end

-- The one that runs this, unless the environment has another for the specs.
local function interpreter()
  local named = os.getenv "P2PD_SPEC_LUA"
  if named then return named end
  local i = 0
  while arg[i - 1] do i = i - 1 end
  return arg[i]
end

local function parse_arguments()
  local options, files, i = { o = "build", e = "" }, {}, 1
  while arg[i] do
    local letter = arg[i]:match "^%-([joe])$"
    if letter then
      options[letter], i = assert(arg[i + 1], arg[i] .. " needs an argument"), i + 1
    else
      files[#files + 1] = arg[i]
    end
    i = i + 1
  end
  options.j = math.tointeger(tonumber(options.j)) or math.min(JOBS_MAX, 2 * tonumber(output_of "nproc"))
  return options, files
end

-- -- which comes first

local function load_seconds(options)
  local seconds = {}
  for line in read(options.o .. "/spec/seconds"):gmatch "[^\n]+" do
    local file, text = line:match "^(%S+) (%S+)$"
    seconds[file or ""] = tonumber(text)
  end
  return seconds
end

-- A file that has never run is taken to be long when its text is.
local function sort_by_length(files, seconds)
  local length = {}
  for _, file in ipairs(files) do length[file] = seconds[file] or #read(file) / 2000 end
  table.sort(files, function(a, b)
    if length[a] ~= length[b] then return length[a] > length[b] end
    return a < b
  end)
end

local function keep_seconds(options, seconds, results)
  for file, result in pairs(results) do seconds[file] = result.seconds end
  local lines = {}
  for file, number in pairs(seconds) do lines[#lines + 1] = ("%s %.3f\n"):format(file, number) end
  table.sort(lines)
  write(options.o .. "/spec/seconds", table.concat(lines))
end

-- -- running

-- What one process has come to. One that ended otherwise than its result says has failed.
local function judge(status, base)
  local result = json.decode(read(base .. ".json"))
  if result and status == ((result.failed > 0 or result.passed == 0) and 1 or 0) then return result end
  result = result or { passed = 0, failed = 0, skipped = 0, details = "", slowest = {} }
  result.failed = result.failed + 1
  local how = (status == TIMED_OUT or status == KILLED) and "did not end in time"
    or ("ended with status %d"):format(status)
  result.details = ("\nFAILED: the process %s, after:\n%s\n"):format(how, read(base .. ".log"))
  return result
end

local function add(results, file, seconds, found)
  local result = results[file]
    or { passed = 0, failed = 0, skipped = 0, seconds = 0, details = "", slowest = {} }
  for _, kind in ipairs { "passed", "failed", "skipped" } do result[kind] = result[kind] + found[kind] end
  result.seconds, result.details = result.seconds + seconds, result.details .. found.details
  table.move(found.slowest, 1, #found.slowest, #result.slowest + 1, result.slowest)
  results[file] = result
end

local function say(file, seconds, found)
  io.write(("%6.1f s  %4d passed%s%s  %s\n"):format(seconds, found.passed,
    found.failed > 0 and (", %d FAILED"):format(found.failed) or "",
    found.skipped > 0 and (", %d skipped"):format(found.skipped) or "", file)):flush()
end

-- choice: "tags" for the specs that are to be alone, "exclude-tags" for the others
local function run(options, files, jobs, choice, results)
  if not files[1] then return end
  local list = options.o .. "/spec/files"
  write(list, table.concat(files, "\0") .. "\0")
  local share = PORTS // jobs
  local lua = interpreter() .. (options.e ~= "" and " -e " .. quote(options.e) or "")
  local script = ONE_FILE:format(PORTS_FROM, share, PORTS_FROM, share, lua)
  local command = ("xargs -0 -a %s -n 1 -P %d --process-slot-var=SLOT sh -c %s sh %s %s %s")
    :format(quote(list), jobs, quote(script), quote(options.o), SECONDS, choice)
  local started <close> = assert(io.popen(command))
  for line in started:lines() do
    local status, from, to, base, file = line:match "^(%d+)\t(.-)\t(.-)\t(.-)\t(.*)$"
    local found = judge(tonumber(status), base)
    add(results, file, to - from, found)
    say(file, to - from, found)
  end
end

-- -- the report

local function print_slowest(results)
  local all = {}
  for _, result in pairs(results) do table.move(result.slowest, 1, #result.slowest, #all + 1, all) end
  table.sort(all, function(a, b)
    if a.seconds ~= b.seconds then return a.seconds > b.seconds end
    return a.name < b.name
  end)
  io.write "\nslowest:\n"
  for i = 1, math.min(SLOWEST, #all) do
    io.write(("  %6.3f s  %s\n"):format(all[i].seconds, all[i].name))
  end
end

local function print_details(files, results)
  for _, file in ipairs(files) do
    local details = results[file].details
    if details ~= "" then io.write(("\n-- %s\n%s"):format(file, details)) end
  end
end

local function sum_up(files, results)
  local total = { passed = 0, failed = 0, skipped = 0 }
  for _, file in ipairs(files) do
    local result = results[file]
      or { passed = 0, failed = 1, skipped = 0, details = "\nFAILED: it did not run\n", slowest = {} }
    results[file] = result
    if result.passed + result.failed + result.skipped == 0 then
      result.failed, result.details = 1, "\nFAILED: it has no specs\n"
    end
    for kind, count in pairs(total) do total[kind] = count + result[kind] end
  end
  return total
end

local function main()
  local options, files = parse_arguments()
  local results, alone = {}, {}
  os.execute("mkdir -p " .. quote(options.o .. "/spec"))
  local seconds = load_seconds(options)
  sort_by_length(files, seconds)
  for _, file in ipairs(files) do
    if read(file):find(ALONE, 1, true) then alone[#alone + 1] = file end
  end
  run(options, files, options.j, "exclude-tags", results)
  run(options, alone, 1, "tags", results)
  keep_seconds(options, seconds, results)
  table.sort(files)
  local total = sum_up(files, results)
  print_details(files, results)
  print_slowest(results)
  io.write(("\n%d passed, %d failed, %d skipped\n"):format(total.passed, total.failed, total.skipped)):flush()
  return total.failed == 0 and total.passed > 0
end

os.exit(main(), true)
