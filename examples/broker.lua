--- A strategy of two sides: the pipe's bytes travel in messages over the brokers. Fit for a chat where
-- nothing else works; the pipe ends with its node.
--
--   p2pd examples/talk.lua broker            p2pd examples/talk.lua broker ADDRESS
local field = require "p2pd.signal.field"
local message = require "p2pd.signal.message"
local stream = require "p2pd.stream"

local broker = {
  name = "broker",
  cost = 9,
  budget = 15, head_start = 3, -- seconds; whatever else works is better
  once_per_dial = true,
}

local function links_of(node) -- by the pipe's id
  return node:keep(broker, function() return {} end)
end
-- Opens our end of a pipe: each datagram is a message to the peer.
local function open(node, peer, pipe_id, role)
  local links = links_of(node)
  local link = stream.over_datagrams {
    id = pipe_id, role = role, mtu = 2048,
    send = function(datagram)
      return node:send(peer, "BROKER_DATA", { pipe = pipe_id, data = message.to_hex(datagram) })
    end,
    ended = function() links[pipe_id] = nil end,
  }
  links[pipe_id] = { link = link, peer_id = peer.node_id }
  return link:open(broker.budget)
end

function broker.dial(dial)
  local ok, reason, code = dial:request "BROKER_OPEN"
  if not ok then return nil, reason, code end
  local opened
  opened, reason, code = open(dial.node, dial.peer, dial.pipe_id, "dialer")
  if not opened then return nil, reason, code end
  return dial:secure(opened)
end

local function answer(node, m)
  node:reply(m)
  local opened, reason, code = open(node, m.sender, m.pipe, "answerer")
  if not opened then return nil, reason, code end
  return node:admit(opened, m)
end

local function receive(node, m)
  local entry = links_of(node)[m.pipe]
  if entry and entry.peer_id == m.from then entry.link:deliver(message.from_hex(m.data)) end
end

broker.messages = {
  BROKER_OPEN = { reply = "BROKER_OPENED", answer = answer, timeout = broker.budget },
  BROKER_DATA = { fields = { data = field.hex }, receive = receive },
}

return broker
