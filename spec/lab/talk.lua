--- A pipe between nodes in hosts of the lab that never rests: numbered lines go to the peer, which echoes
-- them, and each is compared with what was sent. So both directions are checked byte by byte, whatever
-- happens to the path meanwhile.
local talk = {}
talk.__index = talk

local START = [[
  local address, options, length, pace = ...
  local node = state.node
  state.events = node:events()
  state.path_events = {}
  task.spawn(function()
    for event in function() return state.events:next() end do
      if event.type == "path" then table.insert(state.path_events, event) end
    end
  end)
  local pipe, err = node:connect(address, options)
  if not pipe then return tostring(err) end
  local pad = ("x"):rep(length)
  local self = { sent = 0, got = 0, longest = 0 }
  state.pipe, state.talk = pipe, self
  local function line_of(i) return ("%d %s\n"):format(i, pad) end
  task.spawn(function()
    while not self.is_finishing do
      local ok, reason, code = pipe:write(line_of(self.sent + 1))
      if not ok then
        self.write_failure = { reason, code }
        return
      end
      self.sent = self.sent + 1
      if pace > 0 then task.sleep(pace) end
    end
    pipe:shutdown()
  end)
  task.spawn(function()
    local last = core.clock.monotonic()
    while true do
      local line, reason, code = pipe:read "L"
      local now = core.clock.monotonic()
      self.longest, last = math.max(self.longest, now - last), now
      if not line then
        self.ended = { reason or "end", code }
        return
      end
      if line ~= line_of(self.got + 1) then
        self.ended = { ("line %d is another one: %q"):format(self.got + 1, line:sub(1, 20)) }
        return
      end
      self.got = self.got + 1
    end
  end)
]]

local AWAIT = [[
  local expression, seconds = ...
  local check = load("local talk, pipe, node, info, path_events = ... return " .. expression)
  local limit = core.clock.monotonic() + seconds
  repeat
    local info = state.pipe:info() or {}
    if check(state.talk, state.pipe, state.node, info, state.path_events) then return true end
    task.sleep(0.01)
  until core.clock.monotonic() > limit
  return ("%s: sent %d, got %d, %s"):format(state.pipe.strategy, state.talk.sent, state.talk.got,
    state.talk.ended and state.talk.ended[1] or "no end")
]]

local LOOK = [[
  local talk, info = state.talk, state.pipe:info() or {}
  local story = {}
  for i, one in ipairs(info.session and info.session.story or {}) do
    story[i] = { strategy = one.strategy, why = one.why, ["local"] = one["local"], remote = one.remote }
  end
  return { sent = talk.sent, got = talk.got, longest = talk.longest, ended = talk.ended,
    write_failure = talk.write_failure, strategy = state.pipe.strategy, story = story,
    resumed = info.session and info.session.resumed, events = state.path_events }
]]

--- Connects and begins.
-- @tparam peers from
-- @tparam string address
-- @tparam[opt] table options of connect; and `length` (bytes a line, 1000), `pace` (seconds between lines,
-- 0.005; 0: as fast as it goes)
-- @treturn talk
function talk.start(from, address, options)
  local given = {}
  for key, value in pairs(options or {}) do given[key] = value end
  local length, pace = given.length or 1000, given.pace or 0.005
  given.length, given.pace = nil, nil
  local failure = from:call(START, address, given, length, pace)
  if failure then error(failure, 2) end
  return setmetatable({ node = from }, talk)
end

--- Waits until an expression of `talk` (sent, got, ended), `pipe`, `node`, `info` and `path_events` is true.
-- @tparam string expression
-- @tparam[opt=15] number seconds
function talk:await(expression, seconds)
  local result = self.node:call(AWAIT, expression, seconds or 15)
  if result ~= true then error(("%s did not come true (%s)"):format(expression, result), 2) end
end

--- Waits until so many more lines have come back.
-- @tparam[opt=20] integer count
-- @tparam[opt] number seconds
function talk:go_on(count, seconds)
  self:await(("talk.got >= %d"):format(self:look().got + (count or 20)), seconds)
end

--- Where it stands.
-- @treturn table sent and got (lines), longest (seconds without one), ended (reason, code), write_failure,
-- strategy, story, resumed, events
function talk:look() return self.node:call(LOOK) end

--- Ends it.
-- @treturn table as @{look}: at the end each line that was sent has come back
function talk:finish()
  self.node:call "state.talk.is_finishing = true"
  self:await "talk.ended"
  return self:look()
end

return talk
