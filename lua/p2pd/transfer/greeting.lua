--- How a side that receives greets the one that sends: at once, or when somebody has said that what is sent
-- is wanted. The sender, who waits for it meanwhile, may go.
-- @module p2pd.transfer.greeting
local format = require "p2pd.transfer.format"
local task = require "p2pd.task"

local greeting = {}

local UNWANTED = "it is not wanted"

local function put_hello(wire)
  return wire:put("H", format.hello(format.RECEIVER))
end

local function get_hello(wire)
  local kind, body, code = wire:get()
  if not kind then return nil, body, code end
  return format.check_hello(kind, body, format.SENDER)
end

-- What somebody has decided; or that the sender has gone, or says something that is not its turn.
local function ask(wire, admit, total)
  return task.race {
    function() return { verdict = table.pack(admit(total)) } end,
    function()
      local kind, reason, code = wire:get()
      return { gone = kind and { "not what p2pd sends", "EPROTO" } or { reason, code } }
    end,
  }
end

local function run_at_once(wire)
  local ok, reason, code = put_hello(wire)
  if not ok then return nil, reason, code end
  return get_hello(wire)
end

-- Another receiver is greeted, too: it learns so what is wrong.
local function run_asking(wire, admit)
  local total, reason, code = get_hello(wire)
  if not total then
    if code == "EPROTO" then put_hello(wire) end
    return nil, reason, code
  end
  local answer = assert(ask(wire, admit, total))
  if answer.gone then return nil, table.unpack(answer.gone) end
  local is_wanted, why = table.unpack(answer.verdict)
  local ok
  ok, reason, code = put_hello(wire)
  if not ok then return nil, reason, code end
  return total, not is_wanted and (why or UNWANTED) or nil
end

--- Greets. Waits.
-- @tparam wire wire
-- @tparam[opt] function admit is asked first: of a table, `files` and `bytes`; true when they are wanted,
-- else nil and the reason
-- @treturn table `files`, `bytes`; or nil, message, code
-- @treturn ?string why nothing of it is wanted
function greeting.run(wire, admit)
  if admit then return run_asking(wire, admit) end
  return run_at_once(wire)
end

return greeting
