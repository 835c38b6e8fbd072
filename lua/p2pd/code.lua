--- A code to read out: two people who have talked to each other find each other's nodes by a number and three
-- words, `4-amber-canoe-violin`, without an address.
-- They meet at the settings' brokers, at a topic made of the number alone. The words are the password of a
-- SPAKE2 exchange (RFC 9382), under whose key both tell each other their addresses: what brokers and others
-- at that topic see helps nobody to try words offline. A code is good for one try, right or wrong, and for
-- ten minutes. Afterwards both trust each other's ids, and everything is as always: the one connects to the
-- other.
--
-- For a command's `--code`: `offer = code.offer(node)`, print `offer.text`, `address, id = offer:wait()`,
-- accept from that id alone; with a code given: `address, id = code.redeem(node, text)`, and connect to the
-- address.
-- @module p2pd.code
-- @usage
-- -- here                                            -- there
-- local offer <close> = assert(code.offer(node))     local address, id = assert(code.redeem(node, text))
-- print(offer.text)                                  local pipe <close> = assert(node:connect(address))
-- local address, id = assert(offer:wait())
-- local pipe <close> = assert(node:accept())
local attempt = require "p2pd.code.attempt"
local board = require "p2pd.code.board"
local claim = require "p2pd.code.claim"
local core = require "p2pd.core"
local deadline = require "p2pd.deadline"
local message = require "p2pd.code.message"
local offers = require "p2pd.code.offer"
local options = require "p2pd.options"
local task = require "p2pd.task"
local text = require "p2pd.code.text"

local code = {}

local LIFETIME_S, TIMEOUT_S = 600, 30
local READY_S = 3                 -- for our address to be complete
local BROKER_S = 5
local FIND_S = 10                 -- who offers is connected, and answers at once
local REPEAT_S, REPEAT_MAX_S = 0.5, 4
local OTHERS_MAX_S = 0.3          -- for the offer of somebody else at this number

local OFFER = { lifetime = options.SECONDS }
local REDEEM = { timeout = options.SECONDS }

--- Whether a text is meant to be a code: a number and a word.
-- @function is_code
-- @tparam string given
-- @treturn boolean
code.is_code = text.is_code

--- Reads a code as people type it: upper case, blanks, beginnings of words.
-- @function parse
-- @tparam string given
-- @treturn string the code; or nil, message, "EINVAL": which word is none, and which may have been meant
-- @treturn integer its number
code.parse = text.parse

-- -- the side that gives it out

local Offer = { __name = "p2pd.code" }
Offer.__index = Offer

-- A message at our number; the claim of it came first.
local function answer(self, place, bytes, broker)
  if not self.side then return end
  local reply = self.side:take(bytes, core.clock.monotonic())
  if reply then place:say(reply, broker) end
  if self.side:result() then self.changed:broadcast() end
end

local function expire(self, seconds)
  task.sleep(seconds)
  self.side:expire()
  self.changed:broadcast()
end

local function trust(node, peer)
  node.limits.trust:add(peer.id)
  return peer.address, peer.id
end

--- Gives out a code. The offer is to be closed: not before the peer's pipe is there, since messages get lost
-- and the peer may ask again.
-- @tparam node node that the peer is to find
-- @tparam[opt] table given lifetime (seconds, 600)
-- @treturn offer with the field `text`, the code, and the methods @{wait} and `close`; or nil, message, code
-- (ENOTCONN: no broker answers)
-- @raise for an option that is not known or of a wrong kind
function code.offer(node, given)
  given = given or {}
  options.check(given, OFFER, "code.offer")
  if node.closed then return nil, "the node is closed", "EBADF" end
  local self = setmetatable({ node = node, changed = task.condition(), tasks = task.group() }, Offer)
  local id = core.random.bytes(message.ID)
  local getting_ready <close> = task.spawn(node.ready, node, READY_S)
  local place, number, reason = claim.take(node.settings, id, text.new_number,
    function(...) answer(self, ...) end)
  if not place then return nil, number, reason end
  local held <close> = task.hold(place)
  self.text, self.board = text.new(number), place
  getting_ready:join()
  self.side, reason, number = offers.new { code = self.text, id = id, settings = node.settings,
    address = function() return node.address end }
  if not self.side then return nil, reason, number end
  self.tasks:spawn(expire, self, given.lifetime or LIFETIME_S)
  held:release()
  return self
end

--- Waits for the peer.
-- @tparam[opt] number timeout seconds
-- @treturn string its address; or nil, message, code: EACCES: somebody has tried a wrong code, and this one
-- is good for nothing any more; ETIMEDOUT: it has expired, or the timeout has passed
-- @treturn string its id
function Offer:wait(timeout)
  local limit = deadline.after(timeout)
  while true do
    local is_over, peer, reason, errcode = self.side:result()
    if peer then return trust(self.node, peer) end
    if is_over then return nil, reason, errcode end
    if self.closed then return nil, "the code was taken back", "ECANCELED" end
    if limit:has_passed() then return nil, "timed out", "ETIMEDOUT" end
    self.changed:wait(limit:left())
  end
end

--- Takes the code back. May be called twice.
function Offer:close()
  self.closed = true
  self.tasks:cancel()
  self.board:close()
  self.changed:broadcast()
end

Offer.__close = Offer.close

function Offer:__tostring()
  return ("code %s"):format(self.text)
end

-- -- the side that was told it

-- Says the same again until `is_over` or the deadline. Whether it was over.
local function insist(heard, limit, say, is_over)
  local pause = REPEAT_S
  while not is_over() do
    if limit:has_passed() then return false end
    say()
    local again = deadline.after(limit:left(pause))
    while not is_over() and not again:has_passed() do heard:wait(again:left()) end
    pause = math.min(pause * 2, REPEAT_MAX_S)
  end
  return true
end

-- Others at this number answer at about the same time.
local function wait_for_others(began)
  local took = core.clock.monotonic() - began
  task.sleep(math.min(took / 2, OTHERS_MAX_S))
end

local function find_offer(side, place, heard, limit)
  local began = core.clock.monotonic()
  local found = insist(heard, limit, function()
    began = core.clock.monotonic()
    place:say(side:find())
  end, function() return side:is_answered() end)
  if not found then
    return nil, "nobody offers this code: it may have been used, or have expired", "ENOENT"
  end
  wait_for_others(began)
  return true
end

local function try(side, place, heard, limit)
  local bytes, broker, errcode = side:try()
  if not bytes then return nil, broker, errcode end
  local is_over = insist(heard, limit, function() place:say(bytes, broker) end,
    function() return (side:result()) end)
  if not is_over then return nil, "the other side has fallen silent", "ETIMEDOUT" end
  return true
end

--- Finds the peer that has given out a code.
-- @tparam node node
-- @tparam string given the code, as somebody types it
-- @tparam[opt] table more timeout (seconds, 30)
-- @treturn string the peer's address; or nil, message, code: EINVAL: not a code, said before anything is
-- sent; EACCES: it is wrong, and the right one is used up; ENOENT: nobody offers it; ESTALE: it has been
-- used; EEXIST: two are offered at this number; ENOTCONN: no broker answers; ETIMEDOUT
-- @treturn string its id
-- @raise for an option that is not known or of a wrong kind
function code.redeem(node, given, more)
  more = more or {}
  options.check(more, REDEEM, "code.redeem")
  local parsed, number, reason = text.parse(given)
  if not parsed then return nil, number, reason end
  if node.closed then return nil, "the node is closed", "EBADF" end
  local limit, heard = deadline.after(more.timeout or TIMEOUT_S), task.condition()
  local side = attempt.new { code = parsed, settings = node.settings,
    address = function() return node.address end }
  local place <close> = board.open(node.settings, number, function(bytes, broker)
    side:take(bytes, broker)
    heard:broadcast()
  end)
  local getting_ready <close> = task.spawn(node.ready, node, limit:left(READY_S))
  local ok, why, errcode = place:ready(limit:left(BROKER_S))
  if not ok then return nil, why, errcode end
  ok, why, errcode = find_offer(side, place, heard, deadline.after(limit:left(FIND_S)))
  getting_ready:join()
  if ok then ok, why, errcode = try(side, place, heard, limit) end
  if not ok then return nil, why, errcode end
  local _, peer, failure, failed = side:result()
  if not peer then return nil, failure, failed end
  return trust(node, peer)
end

return code
