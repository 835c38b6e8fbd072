--- A chat that outlives its paths: without an address it waits to be called and tells its own; what somebody
-- says goes to everybody else. The end of standard input is goodbye. When the path to somebody changes it
-- says so; who talks notices no more than a pause. STRATEGY... are those to be tried, one after the other.
--
--   p2pd examples/chat.lua NAME              p2pd examples/chat.lua NAME ADDRESS [STRATEGY...]
local p2pd = require "p2pd"

local PROTOCOL = "example-chat/1"
local name, address = arg[1], arg[2]
local members = {} -- who is there: names by pipe

local function show(line)
  io.write(line:gsub("%c", "?"), "\n")
  io.flush()
end

local function say(line, from)
  local others = {}
  for pipe in pairs(members) do others[#others + 1] = pipe ~= from and pipe or nil end
  for _, pipe in ipairs(others) do pipe:write(line, "\n") end
end

local function attend(accepted)
  local pipe <close> = accepted
  pipe:write(name, "\n")
  members[pipe] = pipe:read "l"
  if not members[pipe] then return end
  show(("* %s is here, by %s"):format(members[pipe], pipe.strategy or "no path"))
  local line, why = pipe:read "l"
  while line do
    show(line)
    say(line, pipe)
    line, why = pipe:read "l"
  end
  show(("* %s has left%s"):format(members[pipe], why and ": " .. why or ""))
  members[pipe] = nil
end

local function watch_paths(node)
  for event in node:events() do
    for pipe, who in pairs(event.type == "path" and event.from and members or {}) do
      local change = ("* %s: by %s instead of %s (%s)"):format(who, event.to, event.from, event.why)
      if pipe.peer == event.peer then show(change) end
    end
  end
end

p2pd.run(function()
  local node <close> = assert(p2pd.node {})
  p2pd.spawn(watch_paths, node)
  local order = #arg > 2 and table.move(arg, 3, #arg, 1, {}) or nil
  local about = { protocol = PROTOCOL, strategies = order, policy = order and "sequence" }
  if address then p2pd.spawn(attend, assert(node:connect(address, about))) else show(node.address) end
  p2pd.spawn(function() for pipe in node:pipes(PROTOCOL) do p2pd.spawn(attend, pipe) end end)
  for line in p2pd.stdin:lines() do say(name .. ": " .. line) end
  for pipe in pairs(members) do pipe:close() end
end)
