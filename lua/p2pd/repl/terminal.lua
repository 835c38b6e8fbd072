--- Where the REPL reads its lines: an editor on a terminal, plain lines from anything else.
-- All kinds have `read(prompt)`, `interrupt()`, `remember(text)` and `close()`.
-- @module p2pd.repl.terminal
local completion = require "p2pd.repl.completion"
local core = require "p2pd.core"
local history = require "p2pd.repl.history"

local terminal = {}

local INDENT = "    "

-- -- plain lines -----------------------------------------------------------------------------------------

local plain = { __name = "p2pd.repl.terminal.plain" }
plain.__index = plain

--- Reads a line.
-- @tparam string prompt shown on a terminal only
-- @treturn ?string the line; nil at the end of input
-- @treturn ?string "interrupt" when the line was given up instead
function plain:read(prompt) -- luacheck: ignore 212
  return self.stream:read "l"
end

--- Gives up the line being typed.
function plain:interrupt() end -- luacheck: ignore 212

--- Takes note of an input, for an editor's history.
function plain:remember() end -- luacheck: ignore 212

--- Gives the terminal back.
function plain:close()
  self.stream:close()
end
plain.__close = plain.close

-- -- a terminal without an editor: it is dumb, or libedit is not there -----------------------------------

local dumb = setmetatable({ __name = "p2pd.repl.terminal.dumb", __close = plain.close }, plain)
dumb.__index = dumb

-- The line discipline edits; it drops what it has on Ctrl-C, and so a cancelled read has lost nothing.
function dumb:read(prompt)
  io.stdout:write(prompt)
  io.stdout:flush()
  local reading <close> = core.task.spawn(self.stream.read, self.stream, "l")
  self.reading = reading
  local line = reading:join()
  self.reading = nil
  if line == nil then io.stdout:write "\n" end
  return line, reading:status() == "cancelled" and "interrupt" or nil
end

function dumb:interrupt()
  if self.reading then self.reading:cancel() end
end

-- -- an editor -------------------------------------------------------------------------------------------

local edited = { __name = "p2pd.repl.terminal.edited" }
edited.__index = edited

--- Adds an input, however many lines it has, to the history.
-- @tparam string text
function edited:remember(text)
  if text:find "%S" and text ~= self.latest then
    self.latest = text
    self.editor:add_history(text)
    history.save(self.history, text)
  end
end

local function complete(self, text)
  if not text:find "%S" then
    return self.editor:resume(INDENT)
  end
  local more, names = completion.complete(self.env, text)
  if more == "" and #names > 1 then
    self.editor:print(completion.columns(names, core.editline.columns()))
  end
  self.editor:resume(more)
end

-- A line that is not ended yet waits for its end: under it would come the prompt.
local function print_above(self, text)
  text = self.held .. text
  local whole, rest = text:match "^(.*\n)(.*)$"
  self.held = rest or text
  if whole then
    self.editor:print(whole)
  end
end

local function release_held(self)
  local text = self.held
  self.held = ""
  io.stdout:write(text)
end

function edited:read(prompt)
  self.editor:start(prompt)
  self.shown = true
  local what, text = self.editor:wait()
  while what == "complete" do
    complete(self, text)
    what, text = self.editor:wait()
  end
  self.shown = false
  self.editor:stop()
  release_held(self)
  if what == "line" then
    return text
  end
  if what == "end" then
    io.stdout:write "\n"
  end
  return nil, what
end

function edited:interrupt()
  self.editor:interrupt()
end

function edited:close()
  self.shown = false
  self.release_output()
  self.editor:close()
end
edited.__close = edited.close

-- -- output of other tasks, while a prompt is shown: above it ----------------------------------------------

local function concat_printed(...)
  local texts = table.pack(...)
  for i = 1, texts.n do
    texts[i] = tostring(texts[i])
  end
  return table.concat(texts, "\t") .. "\n"
end

-- Replaces print and the files' write by functions that know about the prompt; returns what undoes it.
local function divert_output(self)
  local methods = getmetatable(io.stdout).__index
  local print_before, write_before, io_write_before = print, methods.write, io.write
  local function write(file, ...)
    if self.shown and (file == io.stdout or file == io.stderr) then
      print_above(self, table.concat { ... })
      return file
    end
    return write_before(file, ...)
  end
  methods.write = write
  rawset(io, "write", function(...)
    return write(io.output(), ...)
  end)
  _G.print = function(...)
    if self.shown then
      print_above(self, concat_printed(...))
    else
      print_before(...)
    end
  end
  return function()
    _G.print, methods.write = print_before, write_before
    rawset(io, "write", io_write_before)
  end
end

--- Opens the terminal behind stdin and stdout, or stdin as it is.
-- @tparam table env whose names TAB completes
-- @treturn table a reader: `read(prompt)`, `interrupt()`, `remember(text)`, `close()`, `is_terminal`
function terminal.open(env)
  local editor = core.editline.open()
  if not editor then
    local is_terminal = core.editline.is_terminal(0) and core.editline.is_terminal(1)
    local self = { stream = core.stream.fd(0), is_terminal = is_terminal }
    return setmetatable(self, is_terminal and dumb or plain)
  end
  local self = setmetatable({ editor = editor, env = env, held = "", is_terminal = true }, edited)
  self.history = history.path()
  for _, entry in ipairs(history.load(self.history)) do
    editor:add_history(entry)
    self.latest = entry
  end
  self.release_output = divert_output(self)
  return self
end

return terminal
