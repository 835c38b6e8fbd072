--- busted's output for `make test`: failures in full as they come, the slowest specs, and as the last line
-- `N passed, N failed, N skipped`. The process fails when a spec did, or when none ran.
local busted = require "busted"
local pretty = require "pl.pretty"

local SLOWEST = 5
local MARKS = { success = ".", failure = "F", error = "E", pending = "s" }

local function text_of(message)
  if type(message) == "string" then return message end
  return message == nil and "(no message)" or pretty.write(message)
end

local function place_of(entry)
  local trace = entry.element.trace or entry.trace
  return trace and trace.short_src and ("%s:%s"):format(trace.short_src, trace.currentline) or "?"
end

local function print_entries(title, entries)
  for _, entry in ipairs(entries) do
    io.write(("\n%s: %s\n  at %s\n"):format(title, entry.name, place_of(entry)))
    io.write((text_of(entry.message):gsub("[^\n]+", "  %0")), "\n")
    local trace = entry.isError and type(entry.trace) == "table" and entry.trace.traceback
    if trace then io.write((trace:gsub("[^\n]+", "  %0")), "\n") end
  end
end

local function print_slowest(durations)
  table.sort(durations, function(a, b) return a.seconds > b.seconds end)
  io.write "\nslowest:\n"
  for i = 1, math.min(SLOWEST, #durations) do
    io.write(("  %6.3f s  %s\n"):format(durations[i].seconds, durations[i].name))
  end
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

  local function on_test_end(element, _, status)
    io.write(MARKS[status] or "?")
    io.flush()
    local seconds = element.duration or 0
    durations[#durations + 1] = { seconds = seconds, name = handler.getFullName(element) }
    return nil, true
  end

  local function on_exit()
    print_entries("skipped", handler.pendings)
    print_entries("FAILED", handler.failures)
    print_entries("ERROR", handler.errors)
    print_slowest(durations)
    local passed, failed = handler.successesCount, handler.failuresCount + handler.errorsCount
    if find_leaks() then
      io.write "\nFAILED: memory was leaked\n"
      failed = failed + 1
    end
    local skipped = handler.pendingsCount
    io.write(("\n%d passed, %d failed, %d skipped\n"):format(passed, failed, skipped))
    io.flush()
    if failed > 0 or passed == 0 then os.exit(1, true) end
    return nil, true
  end

  busted.subscribe({ "test", "end" }, on_test_end, { predicate = handler.cancelOnPending })
  busted.subscribe({ "exit" }, on_exit)
  handler.options = options
  return handler
end
