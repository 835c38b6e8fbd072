--- One of two nodes on loopback with pipes between them.
--   node_pipes.lua serve SETTINGS            prints its address; of each pipe with protocol "bulk" it prints
--                                            "BYTES SECONDS CPU" at its end, the others it holds, those of
--                                            "read" with a task that waits in read; a line of standard
--                                            input: prints "RESIDENT HEAP PIPES"
--   node_pipes.lua connect SETTINGS ADDRESS  for each line of standard input:
--     bulk BYTES exclusive|session           sends so much by a pipe of its own, in writes of 64 KiB; "CPU"
--     hold N hold|read                       opens so many pipes of that protocol, and says so
-- CPU is the process's time in seconds.
local core = require "p2pd.core"
local harness = require "spec.bench.harness"
local p2pd = require "p2pd"

local BLOCK = ("\0"):rep(64 * 1024)

-- More pipes than a peer may have.
local LIMITS = { streams = 20000, streams_of_peer = 20000 }

local input = core.stream.fd(0)

local function say(...)
  print(...)
  io.stdout:flush()
end

local function start(path)
  return assert(p2pd.node { settings = path, interfaces = { "lo" }, limits = LIMITS })
end

local function swallow(pipe)
  local started, total, cpu = harness.now(), 0, os.clock()
  for data in function() return pipe:recv() end do total = total + #data end
  say(("%d %.9f %.6f"):format(total, harness.now() - started, os.clock() - cpu))
  pipe:close()
end

local held = {}

local function answer(pipe)
  held[#held + 1] = pipe
  pipe:write(pipe:read "L")
end

local function answer_and_read(pipe)
  held[#held + 1] = pipe
  pipe:write(pipe:read "L")
  pipe:read "l"
end

local take = {
  bulk = function(pipe) p2pd.spawn(swallow, pipe) end,
  hold = answer,
  read = function(pipe) p2pd.spawn(answer_and_read, pipe) end,
}

local function report()
  collectgarbage()
  collectgarbage()
  say(harness.proc("self", "status", "RssAnon") * 1024, collectgarbage "count" * 1024 // 1 | 0, #held)
end

local roles = {}

function roles.serve(path)
  local node <close> = start(path)
  say(node.address)
  for protocol, fn in pairs(take) do
    p2pd.spawn(function()
      for pipe in node:pipes(protocol) do fn(pipe) end
    end)
  end
  while input:read "l" do report() end
end

local orders = {}

function orders.bulk(node, address, bytes, kind)
  local pipe <close> = assert(node:connect(address, { strategies = { "direct" }, protocol = "bulk",
    exclusive = kind == "exclusive" }))
  local cpu = os.clock()
  for _ = 1, tonumber(bytes) // #BLOCK do assert(pipe:write(BLOCK)) end
  assert(pipe:shutdown())
  assert(pipe:read "a" == "")
  say(("%.6f"):format(os.clock() - cpu))
end

function orders.hold(node, address, count, protocol)
  for _ = 1, tonumber(count) do
    local pipe = assert(node:connect(address, { strategies = { "direct" }, protocol = protocol }))
    held[#held + 1] = pipe
    assert(pipe:write "ping\n")
    assert(pipe:read "l" == "ping")
  end
  report()
end

function roles.connect(path, address)
  local node <close> = start(path)
  for line in function() return (input:read "l") end do
    local words = {}
    for word in line:gmatch "%S+" do words[#words + 1] = word end
    orders[words[1]](node, address, table.unpack(words, 2))
  end
end

p2pd.run(roles[arg[1]], arg[2], arg[3])
