-- http_pipe.lua sink SETTINGS: a node that reads pipes to their end, and then says "ok".
-- http_pipe.lua source SETTINGS ADDRESS BYTES: a node that writes a pipe, and prints the seconds until the
-- "ok".
local core = require "p2pd.core"
local p2pd = require "p2pd"

local mode, settings, address, bytes = table.unpack(arg)

local function swallow(accepted)
  local pipe <close> = accepted
  while pipe:recv() do end -- luacheck: ignore
  pipe:write "ok\n"
end

local function pour(node)
  local pipe <close> = assert(node:connect(address))
  local piece, left = ("x"):rep(65536), tonumber(bytes)
  local started = core.clock.monotonic()
  while left > 0 do
    assert(pipe:write(piece))
    left = left - #piece
  end
  assert(pipe:shutdown())
  assert(pipe:read() == "ok")
  print(core.clock.monotonic() - started)
end

p2pd.run(function()
  local node <close> = assert(p2pd.node { settings = settings, interfaces = { "lo" } })
  if mode == "source" then return pour(node) end
  print(node.address)
  io.stdout:flush()
  for pipe in node:pipes() do p2pd.spawn(swallow, pipe) end
end)
