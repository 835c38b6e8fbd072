--- A path with latency to an NTP server on loopback: `delay.lua PORT MS JITTER_MS` prints the port at which
-- it takes datagrams for PORT. Each is held back for MS, give or take up to JITTER_MS, both ways, and leaves
-- within microseconds of its time: the last of the wait is spun away.
local core = require "p2pd.core"
local p2pd = require "p2pd"

local SPIN_S = 0.0025 -- timers of the loop are a millisecond late, and more on a busy machine

local server_port, latency, jitter = tonumber(arg[1]), arg[2] / 1000, arg[3] / 1000
local now = core.clock.monotonic
local front, back = assert(core.udp.bind { ip = "127.0.0.1" }), assert(core.udp.bind { ip = "127.0.0.1" })
local queue, filled = {}, core.task.condition()
local clients = {} -- by what a request has as its transmit timestamp, and the answer as its origin

local function hold_back(socket, data, ip, port)
  local packet = { due = now() + latency + jitter * (2 * math.random() - 1), socket = socket, data = data,
    ip = ip, port = port }
  local at = #queue
  while at > 0 and queue[at].due > packet.due do at = at - 1 end
  table.insert(queue, at + 1, packet)
  filled:signal()
end

local function take_requests()
  while true do
    local data, ip, port = front:recvfrom()
    if data then
      clients[data:sub(41, 48)] = { ip = ip, port = port }
      hold_back(back, data, "127.0.0.1", server_port)
    end
  end
end

local function take_answers()
  while true do
    local data = back:recvfrom()
    local client = data and clients[data:sub(25, 32)]
    if client then
      clients[data:sub(25, 32)] = nil
      hold_back(front, data, client.ip, client.port)
    end
  end
end

local function release()
  while true do
    local first = queue[1]
    local left = first and first.due - now()
    if not first then
      filled:wait()
    elseif left > SPIN_S then
      filled:wait(left - SPIN_S)
    else
      while now() < first.due do end
      table.remove(queue, 1)
      first.socket:sendto(first.data, first.ip, first.port)
    end
  end
end

p2pd.run(function()
  local _, port = front:getsockname()
  print(port)
  io.stdout:flush()
  p2pd.race {
    function() return core.stream.fd(0):read "l" end, -- until the one who started us has had enough
    take_requests, take_answers, release,
  }
end)
