--- busted's output for `make test`: failures in full as they come, the slowest specs, and as the last line
-- `N passed, N failed, N skipped`. The process fails when a spec did, or when none ran. The same goes as JSON
-- to the file that P2PD_SPEC_RESULT names: spec/suite.lua reads it.
local busted = require "busted"
local json = require "dkjson"
local pretty = require "pl.pretty"

local SLOWEST = 5
local INTERRUPTED = 130 -- the shell's status for SIGINT
local MARKS = { success = ".", failure = "F", error = "E", pending = "s" }

local function text_of(message)
  if type(message) == "string" then return message end
  return message == nil and "(no message)" or pretty.write(message)
end

local function place_of(entry)
  local trace = entry.element.trace or entry.trace
  return trace and trace.short_src and ("%s:%s"):format(trace.short_src, trace.currentline) or "?"
end

local function indent(text)
  return (text:gsub("[^\n]+", "  %0")) .. "\n"
end

local function add_entries(lines, title, entries)
  for _, entry in ipairs(entries) do
    lines[#lines + 1] = ("\n%s: %s\n  at %s\n"):format(title, entry.name, place_of(entry))
    lines[#lines + 1] = indent(text_of(entry.message))
    local trace = entry.isError and type(entry.trace) == "table" and entry.trace.traceback
    if trace then lines[#lines + 1] = indent(trace) end
  end
end

local function slowest(durations)
  table.sort(durations, function(a, b) return a.seconds > b.seconds end)
  return { table.unpack(durations, 1, math.min(SLOWEST, #durations)) }
end

local function print_slowest(durations)
  io.write "\nslowest:\n"
  for _, one in ipairs(durations) do io.write(("  %6.3f s  %s\n"):format(one.seconds, one.name)) end
end

local function write_result(result)
  local path = os.getenv "P2PD_SPEC_RESULT"
  if not path then return end
  local file <close> = assert(io.open(path, "wb"))
  assert(file:write(json.encode(result), "\n"))
end

-- Under a sanitizer: what nobody points to any more. The check is no lua_CFunction, but its int fits:
-- 0 results when all is well, else 1, which is our own argument.
local function find_leaks()
  if not (os.getenv "P2PD_SAN" or ""):find "address" then return false end
  local check = package.loadlib("libasan.so.8", "__lsan_do_recoverable_leak_check")
  collectgarbage()
  return check ~= nil and check(true) == true
end

return function(options)
  local handler = require "busted.outputHandlers.base"()
  local durations = {}

  -- Whoever presses Ctrl-C has seen enough. The servers and folders of the specs go with the process.
  local function on_failure(_, _, message)
    if type(message) ~= "string" then message = type(message) == "table" and message.message end
    if type(message) == "string" and message:find "interrupted!" then
      io.write "\ninterrupted\n"
      os.exit(INTERRUPTED, true)
    end
    return nil, true
  end

  local function on_test_end(element, _, status)
    io.write(MARKS[status] or "?")
    io.flush()
    local seconds = element.duration or 0
    durations[#durations + 1] = { seconds = seconds, name = handler.getFullName(element) }
    return nil, true
  end

  local function result_of(lines)
    local failed, leaks = handler.failuresCount + handler.errorsCount, find_leaks()
    if leaks then lines[#lines + 1] = "\nFAILED: memory was leaked\n" end
    return {
      passed = handler.successesCount, failed = failed + (leaks and 1 or 0), skipped = handler.pendingsCount,
      details = table.concat(lines), slowest = slowest(durations),
    }
  end

  local function on_exit()
    local lines = {}
    add_entries(lines, "skipped", handler.pendings)
    add_entries(lines, "FAILED", handler.failures)
    add_entries(lines, "ERROR", handler.errors)
    local result = result_of(lines)
    io.write(result.details)
    print_slowest(result.slowest)
    io.write(("\n%d passed, %d failed, %d skipped\n"):format(result.passed, result.failed, result.skipped))
    io.flush()
    write_result(result)
    if result.failed > 0 or result.passed == 0 then os.exit(1, true) end
    return nil, true
  end

  busted.subscribe({ "test", "end" }, on_test_end, { predicate = handler.cancelOnPending })
  busted.subscribe({ "failure" }, on_failure)
  busted.subscribe({ "error" }, on_failure)
  busted.subscribe({ "exit" }, on_exit)
  handler.options = options
  return handler
end
