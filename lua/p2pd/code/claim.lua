--- Finding a number that nobody else offers at just now: who is there says so, and of two that come at once
-- the lower id stays.
-- @module p2pd.code.claim
local board = require "p2pd.code.board"
local deadline = require "p2pd.deadline"
local message = require "p2pd.code.message"
local task = require "p2pd.task"

local claim = {}

local BROKER_S = 5   -- to find a broker
local ANSWER_S = 0.6 -- for somebody else's answer: our way to the broker and his, there and back
local DIGITS_MIN, DIGITS_MAX = 2, 6 -- of the first number that is tried, and of the last

-- What others say while we ask.
local function new_question(id)
  local question = { id = id, heard = task.condition() }
  function question.listen(bytes)
    local m = message.decode(bytes)
    if not m or m.kind ~= "CLAIM" and m.kind ~= "HELD" then return end
    question.is_taken = question.is_taken or m.kind == "HELD" and m.offer == id
      or m.kind == "CLAIM" and m.offer < id
    question.heard:broadcast()
  end
  return question
end

local function is_free(place, question)
  place:say(message.encode { kind = "CLAIM", offer = question.id })
  local limit = deadline.after(ANSWER_S)
  while not question.is_taken and not limit:has_passed() do question.heard:wait(limit:left()) end
  return not question.is_taken
end

local function ask(settings, number, id, handler)
  local question = new_question(id)
  local listen = question.listen
  local place = board.open(settings, number, function(...) return listen(...) end)
  local held <close> = task.hold(place)
  local ok, reason, code = place:ready(BROKER_S)
  if not ok then return nil, reason, code end
  if not is_free(place, question) then return false end
  listen = function(...) return handler(place, ...) end
  return held:release()
end

--- Takes a number.
-- @tparam table settings
-- @tparam string id the offer's
-- @tparam function draw called with how many digits the number may have; returns one
-- @tparam function handler called with the board, each message's bytes and its broker, once the number is
-- ours
-- @treturn board to be closed; or nil, message, code
-- @treturn integer the number
function claim.take(settings, id, draw, handler)
  for digits = DIGITS_MIN, DIGITS_MAX do
    local number = draw(digits)
    local place, reason, code = ask(settings, number, id, handler)
    if place then return place, number end
    if place == nil then return nil, reason, code end
  end
  return nil, "every number that was tried is taken: somebody may be in the way", "EBUSY"
end

return claim
