--- The echo written with cqueues; see echo.lua.
local echo = require "spec.bench.peers.echo"
local cqueues = require "cqueues"
local socket = require "cqueues.socket"

local roles = {}

function roles.serve()
  local server = assert(socket.listen { host = "127.0.0.1", port = 0, nodelay = true })
  local _, _, port = server:localname()
  io.stdout:write(port, "\n")
  io.stdout:flush()
  local client = assert(server:accept { nodelay = true })
  client:setmode("bl", "bl") -- binary, sent as soon as a line is whole
  for line in client:lines "*l" do client:write(line, "\n") end
end

function roles.connect(port)
  local server = assert(socket.connect { host = "127.0.0.1", port = tonumber(port), nodelay = true })
  server:setmode("bl", "bl")
  local again = echo.counter()
  repeat
    server:write(echo.LINE, "\n")
    assert(server:read "*l" == echo.LINE)
  until not again()
end

local queue = cqueues.new()
queue:wrap(roles[arg[1]], arg[2])
assert(queue:loop())
