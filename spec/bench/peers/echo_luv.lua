--- The echo written with luv; see echo.lua.
local echo = require "spec.bench.peers.echo"
local uv = require "luv"

-- Calls on_line for each whole line of what arrives, and closes at the end.
local function read_lines(tcp, on_line)
  local rest = ""
  tcp:read_start(function(err, chunk)
    assert(not err, err)
    if not chunk then return tcp:close() end
    local data, from = rest .. chunk, 1
    while true do
      local stop = data:find("\n", from, true)
      if not stop then break end
      on_line(data:sub(from, stop - 1))
      from = stop + 1
    end
    rest = data:sub(from)
  end)
end

local roles = {}

function roles.serve()
  local server = uv.new_tcp()
  assert(server:bind("127.0.0.1", 0))
  assert(server:listen(1, function()
    local tcp = uv.new_tcp()
    server:accept(tcp)
    server:close()
    tcp:nodelay(true)
    read_lines(tcp, function(line) tcp:write { line, "\n" } end)
  end))
  io.stdout:write(server:getsockname().port, "\n")
  io.stdout:flush()
end

function roles.connect(port)
  local tcp = uv.new_tcp()
  tcp:nodelay(true)
  tcp:connect("127.0.0.1", tonumber(port), function(err)
    assert(not err, err)
    local again = echo.counter()
    read_lines(tcp, function(line)
      assert(line == echo.LINE)
      if not again() then return tcp:close() end
      tcp:write { echo.LINE, "\n" }
    end)
    tcp:write { echo.LINE, "\n" }
  end)
end

roles[arg[1]](arg[2])
uv.run()
