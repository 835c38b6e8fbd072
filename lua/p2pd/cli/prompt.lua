--- Lines that a person types while other things are shown: on a terminal above the line that is typed.
-- @module p2pd.cli.prompt
local cli = require "p2pd.cli"
local core = require "p2pd.core"
local standard = require "p2pd.standard"

local prompt = {}

local Prompt = { __name = "p2pd.cli.prompt" }
Prompt.__index = Prompt

--- Opens it.
-- @tparam string text what stands before a line
-- @treturn prompt to be closed (`<close>`)
function prompt.open(text)
  local editor = core.editline.is_terminal(0) and core.editline.is_terminal(1) and core.editline.open() or nil
  return setmetatable({ text = text, editor = editor }, Prompt)
end

--- Waits for a line.
-- @treturn ?string nil at the end of input, and when it is interrupted
function Prompt:read()
  if not self.editor then return (standard.input():read "l") end
  self.editor:start(self.text)
  local what, line = self.editor:wait()
  while what == "complete" do
    self.editor:resume ""
    what, line = self.editor:wait()
  end
  self.editor:stop()
  if what ~= "line" then return nil end
  if line:find "%S" then self.editor:add_history(line) end
  return line
end

--- Shows a line, above the one that is being typed.
-- @tparam string line
function Prompt:show(line)
  if self.editor then
    self.editor:print(line .. "\n")
  else
    cli.print(line)
  end
end

--- Gives the terminal back.
function Prompt:close()
  if self.editor then self.editor:close() end
end

Prompt.__close = Prompt.close

return prompt
