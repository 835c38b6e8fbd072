--- Runs inside a host of the lab: each line of standard input is a chunk with arguments, whose results go
-- back.
local core = require "p2pd.core"
local json = require "dkjson"
local task = require "p2pd.task"

local state = {}
local environment = setmetatable({ core = core, task = task, state = state, stun = require "p2pd.stun" },
  { __index = _G })

local function answer(output, request)
  local chunk, fault = load(request.code, "=agent", "t", environment)
  local results
  if chunk then
    results = table.pack(xpcall(chunk, debug.traceback, table.unpack(request.arguments, 1, request.n)))
  else
    results = { n = 2, false, fault }
  end
  for i = 1, results.n do
    if results[i] == nil then results[i] = json.null end
  end
  output:write(json.encode { id = request.id, results = results }, "\n")
end

task.run(function()
  local input, output = core.stream.fd(0, false), core.stream.fd(1, false)
  for line in function() return (input:read "l") end do
    task.spawn(answer, output, (json.decode(line)))
  end
  os.exit(0)
end)
