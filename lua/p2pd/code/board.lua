--- Where the two sides of a code meet: a topic at the settings' brokers that is made of the code's number
-- alone. Everybody at a number reads all that is said there. It has connections of its own, so that a broker
-- that refuses the topic stays good for the node's signalling.
-- @classmod p2pd.code.board
local brokers = require "p2pd.signal.brokers"
local deadline = require "p2pd.deadline"

local board = {}

local TOPIC = "p2pd/code/1/%d"
local EXPIRY_S = 10 -- a message that a broker could not deliver by then is of no use

local Board = { __name = "p2pd.code.board" }
Board.__index = Board

--- Begins to connect.
-- @tparam table settings
-- @tparam integer number
-- @tparam function on_message called with each message's bytes and the broker by which it came
-- @treturn board to be closed
function board.open(settings, number, on_message)
  local topic = TOPIC:format(number)
  local self = setmetatable({ topic = topic }, Board)
  self.brokers = brokers.new(settings.mqtt, topic, on_message)
  self.brokers:start()
  return self
end

--- Waits until a broker answers.
-- @tparam number timeout seconds
-- @treturn boolean true; or nil, message, "ENOTCONN"
function Board:ready(timeout)
  local limit = deadline.after(timeout)
  local ok, reason = self.brokers:wait()
  while not ok and not self.brokers:is_online() do
    if limit:has_passed() then
      return nil, ("no broker answers, and a code needs one (%s)"):format(reason), "ENOTCONN"
    end
    self.brokers.changed:wait(limit:left())
  end
  return true
end

--- Says something at one broker, or at all that are connected.
-- @tparam string bytes
-- @tparam[opt] table broker
function Board:say(bytes, broker)
  for _, one in ipairs(broker and { broker } or self.brokers:online()) do
    one.client:publish(self.topic, bytes, EXPIRY_S)
  end
end

--- Leaves.
function Board:close()
  self.brokers:close()
end

Board.__close = Board.close

return board
