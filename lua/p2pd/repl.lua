--- The REPL: a prompt in front of a loop that never stops. Each input is a task of its own, so it can
-- wait, be interrupted and fail, while tasks started earlier run on.
-- @module p2pd.repl
local colour = require "p2pd.cli.colour"
local core = require "p2pd.core"
local show = require "p2pd.repl.show"
local terminal = require "p2pd.repl.terminal"

local repl = {}

local PROMPT, PROMPT_MORE = "> ", ">> "
local CHUNK = "=stdin"

repl.BANNER = [[
What you assign stays, `local` or not; waiting just works: p2pd.sleep(1).
Ctrl-C interrupts, Ctrl-D ends, TAB completes, help() tells more.
]]

local function is_incomplete(message)
  return message:sub(-5) == "<eof>"
end

-- A program typed line by line works: `local a <close>, b = f()` at an input's start sets globals, since a
-- local would be gone, and closed, when its line has run.
local function keep_locals(text)
  local names, rest = text:match "^%s*local%s+([%w_%s,<>]+)(.*)$"
  if not names then return text end
  if names:find "^function%s" then return names .. rest end
  names = names:gsub("<%s*%a+%s*>", "")
  return names .. (rest:find "^=" and rest or " = nil" .. rest)
end

--- Compiles an input as an expression or else as statements.
-- @tparam string text perhaps with a leading `=`
-- @tparam table env the chunk's globals
-- @treturn ?function the chunk
-- @treturn ?string the syntax error
-- @treturn ?bool more lines could mend it
function repl.compile(text, env)
  local expression, wrong = load("return " .. text:gsub("^=", "", 1), CHUNK, "t", env)
  if expression then
    return expression
  end
  local statements, message = load(text, CHUNK, "t", env)
  if statements then
    return load(keep_locals(text), CHUNK, "t", env) or statements
  end
  local is_forced = text:sub(1, 1) == "="
  local more = is_incomplete(wrong) or not is_forced and is_incomplete(message)
  return nil, is_forced and wrong or message, more
end

-- Reads lines until they make a chunk. Returns it; nil and a syntax error; nil at the end of input.
local function read_chunk(self)
  local text
  while true do
    local line, what = self.reader:read(text and PROMPT_MORE or PROMPT)
    if line then
      text = text and text .. "\n" .. line or line
      local chunk, message, more = repl.compile(text, self.env)
      if not more then
        self.reader:remember(text)
        return chunk, message
      end
    elseif what == "interrupt" then
      text = nil
    else
      return nil, text and select(2, repl.compile(text, self.env)), true
    end
  end
end

local function complain(text)
  io.stdout:flush()
  io.stderr:write(colour.paint(text, "red", 2), "\n")
end

-- How values are shown: no wider than the terminal, in its colours.
local function layout()
  local has_colours = colour.has(1)
  return {
    width = core.editline.columns(),
    paint = has_colours and function(text, name) return colour.paint(text, name, 1) end or nil,
  }
end

local function print_values(self, values)
  if values.n == 0 then
    return
  end
  self.env.__, self.env._ = self.env._, values[1]
  local texts, how = {}, layout()
  for i = 1, values.n do
    texts[i] = show.text(values[i], how)
  end
  local ok, message = pcall(self.env.print or print, table.unpack(texts, 1, values.n))
  if not ok then
    message = type(message) == "string" and message or "no text"
    complain(("error calling 'print' (%s)"):format(message))
  end
end

local function is_interruption(message)
  return type(message) == "string" and message:find "interrupted!$" ~= nil
end

local function evaluate(self, chunk)
  local task <close> = core.task.spawn(chunk)
  self.evaluation = task
  local values = table.pack(task:join())
  local status = task:status()
  if status == "done" then
    print_values(self, values)
  elseif status == "cancelled" or is_interruption(values[2]) then
    complain "interrupted!"
    core.task.sleep(0) -- the signal is this input's, not the next prompt's
  else
    complain(task:traceback())
  end
  self.evaluation = nil
end

-- Calls fn over and over until it returns true. Ctrl-C raises its error in whatever code it meets, and that
-- may be the REPL's own: then fn starts anew.
local function keep_calling(fn, self)
  repeat
    local ok, done = pcall(fn, self)
    if not ok and not is_interruption(done) then
      error(done, 0)
    end
  until ok and done
end

-- Ctrl-C belongs to the evaluation, if there is one, or to the line being typed.
local function serve_interrupt(self)
  core.task.wait_interrupt()
  if self.evaluation then
    self.evaluation:cancel()
  else
    self.reader:interrupt()
  end
end

-- True at the end of input.
local function serve_input(self)
  self.evaluation = nil
  local chunk, message, ended = read_chunk(self)
  if chunk then
    evaluate(self, chunk)
  elseif message then
    complain(message)
  end
  return ended
end

--- Tells about a function, an object, a module, or a name as "pipe:read"; without anything what there is.
local function print_help(...)
  local text = require("p2pd.repl.help").text(core.editline.columns(), ...)
  io.stdout:write(text or "nothing is known of that\n")
end

-- It takes time: at a terminal the prompt is shown meanwhile.
local function load_p2pd(env)
  local ok, p2pd = pcall(require, "p2pd")
  if ok then
    env.p2pd = env.p2pd or p2pd
  else
    complain(tostring(p2pd))
  end
end

--- Reads, evaluates and prints until the end of input; in a task. What the inputs have started runs on.
-- @tparam[opt=_G] table env the inputs' globals
function repl.run(env)
  local self = { env = env or _G }
  if self.env.help == nil then
    self.env.help = print_help
  end
  local reader <close> = terminal.open(self.env)
  self.reader = reader
  -- Without a terminal nobody could end the program by Ctrl-D: there an interrupt does.
  -- luacheck: ignore 211 (interrupts)
  local interrupts <close> = reader.is_terminal and core.task.spawn(keep_calling, serve_interrupt, self)
    or nil
  if reader.is_terminal then
    core.task.spawn(load_p2pd, self.env)
    keep_calling(serve_input, self)
  else
    load_p2pd(self.env)
    repeat
    until serve_input(self)
  end
end

return repl
