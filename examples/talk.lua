--- Two nodes that talk by a strategy of one's own: without an address it echoes what peers say; with one it
-- sends them each line of standard input and prints what comes back.
--
--   p2pd examples/talk.lua STRATEGY [ADDRESS]          lua5.4 examples/talk.lua STRATEGY [ADDRESS]
package.path = (arg[0]:match "^(.*/)" or "./") .. "?.lua;" .. package.path
local p2pd = require "p2pd"
local stream = require "p2pd.stream"

local own = require(arg[1])

local function echo(node)
  print("address: " .. node.address)
  io.stdout:flush()
  for pipe in node:pipes() do
    p2pd.spawn(function()
      local accepted <close> = pipe
      for line in accepted:lines() do accepted:write(line, "\n") end
    end)
  end
end

local function talk(node, address)
  local pipe <close> = assert(node:connect(address, { strategies = { own } }))
  io.stderr:write("connected by ", pipe.strategy, "\n")
  local input <close> = stream.fd(0)
  local line = input:read "l"
  while line do
    pipe:write(line, "\n")
    print(assert(pipe:read "l"))
    line = input:read "l"
  end
end

p2pd.run(function()
  local node <close> = assert(p2pd.node { strategies = { "direct", "reverse", own } })
  if arg[2] then talk(node, arg[2]) else echo(node) end
end)
