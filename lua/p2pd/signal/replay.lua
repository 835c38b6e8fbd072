--- Replay filter: which sealed messages have come already, and how old one may be. Of each message eight
-- bytes are remembered, for as long as it could come again; what has to be forgotten earlier moves the
-- floor, the time of sending from which on messages are taken at all. Pure: the caller brings the time.
-- @classmod p2pd.signal.replay
local replay = {}

local COUNT = 128 * 1024 -- remembered in a generation
local ANSWERS = 2048     -- who replays an answer gains nothing: these are remembered for a while only

local Replay = { __name = "p2pd.signal.replay" }
Replay.__index = Replay

local function new_generation(since)
  return { since = since, count = 0, latest = -math.huge, keys = {} }
end

--- The messages that have come, so that none is taken twice.
-- @tparam number life seconds for which a message can come again
-- @tparam[opt] integer count that are remembered in a generation
function replay.new(life, count)
  return setmetatable({ life = life, most = count or COUNT, floor = -math.huge,
    requests = {}, answers = {} }, Replay)
end

--- A network time that never goes back: who sets our clock back would have us take old messages again.
-- @tparam number now seconds on a scale that never jumps
-- @tparam number time network time
-- @tparam boolean is_known whether that has been measured; else it is the system's, and may be set right yet
function Replay:steady(now, time, is_known)
  if not is_known then return self.offset and now + self.offset or time end
  self.offset = math.max(self.offset or -math.huge, time - now)
  return now + self.offset
end

--- Whether a message has come.
function Replay:has(key)
  for _, list in ipairs { self.requests, self.answers } do
    if list.young and list.young.keys[key] or list.old and list.old.keys[key] then return true end
  end
  return false
end

--- Whether a message was sent too early to be told from one that has come.
-- @tparam number sent network time
function Replay:is_old(sent)
  return sent <= self.floor
end

local function turn(self, list, now)
  if list.old and list == self.requests then self.floor = math.max(self.floor, list.old.latest) end
  list.old, list.young = list.young, new_generation(now)
end

--- Remembers a message.
-- @tparam integer key
-- @tparam number sent network time
-- @tparam number now
-- @tparam ?boolean is_answer
function Replay:add(key, sent, now, is_answer)
  local list, most = is_answer and self.answers or self.requests, is_answer and ANSWERS or self.most
  list.young = list.young or new_generation(now)
  if list.young.count >= most or now - list.young.since >= self.life then turn(self, list, now) end
  local young = list.young
  young.keys[key], young.count = true, young.count + 1
  young.latest = math.max(young.latest, sent)
end

return replay
