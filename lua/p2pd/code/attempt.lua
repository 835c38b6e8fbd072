--- The side that was told a code: takes messages, gives what is to be sent next. It tries one offer, once.
-- Pure but for its random bytes: the caller brings messages.
-- @classmod p2pd.code.attempt
local core = require "p2pd.core"
local message = require "p2pd.code.message"
local seal = require "p2pd.code.seal"

local attempt = {}

local OVER = "the code has been used, or has expired: ask for another one"

local Attempt = { __name = "p2pd.code.attempt" }
Attempt.__index = Attempt

--- One side's attempt to use a code that the other one has made.
-- @tparam table options `code` (text), `address` (function: ours), `settings`
-- @treturn attempt
function attempt.new(options)
  return setmetatable({
    id = core.random.bytes(message.ID),
    code_text = options.code,
    address = options.address,
    settings = options.settings,
    offers = {}, -- by id
    count = 0,
  }, Attempt)
end

--- The question who offers.
-- @treturn string bytes
function Attempt:find()
  return message.encode { kind = "FIND", try = self.id }
end

local function fail(self, reason, code)
  self.reason, self.code = reason, code
end

local function note_offer(self, m, from)
  if self.offers[m.offer] or self.tried then return end
  self.offers[m.offer] = { id = m.offer, share = m.share, from = from }
  self.count = self.count + 1
end

local function take_taken(self, m)
  local ok = self.exchange:verify(m.confirmation)
  if not ok then return fail(self, "the code is wrong: ask for another one", "EACCES") end
  local peer, reason, code = seal.open(self.exchange, m.sealed, self.settings)
  if not peer then return fail(self, reason, code) end
  self.peer = peer
end

local HANDLERS = {
  TAKEN = take_taken,
  WRONG = function(self) fail(self, "the code is wrong: ask for another one", "EACCES") end,
  OVER = function(self) fail(self, OVER, "ESTALE") end,
}

--- Takes a message.
-- @tparam string bytes
-- @param from where it came from, kept with the offer
function Attempt:take(bytes, from)
  local m = message.decode(bytes)
  if not m or m.try ~= self.id or self:result() then return end
  if m.kind == "OFFER" then return note_offer(self, m, from) end
  if m.kind == "OVER" and not self.tried then self.is_over = true end
  local handler = HANDLERS[m.kind]
  if handler and self.tried and m.offer == self.tried.id then handler(self, m) end
end

--- Whether somebody has answered.
-- @treturn boolean
function Attempt:is_answered()
  return self.count > 0 or self.is_over == true
end

--- The one guess, at the only offer there is.
-- @treturn string bytes, the same each time; or nil, message, code
-- @return where its offer came from
function Attempt:try()
  if self.sent then return self.sent, self.tried.from end
  if self.count == 0 then return nil, OVER, "ESTALE" end
  if self.count > 1 then
    return nil, "two codes with this number are offered at once: ask for another one", "EEXIST"
  end
  local _, found = next(self.offers)
  local exchange, reason, code = core.spake2.new("b", self.code_text, found.id, "")
  if not exchange then return nil, reason, code end
  local ok = exchange:receive(found.share)
  if not ok then return nil, "what is offered at this number is no offer of p2pd's", "EPROTO" end
  local sealed
  sealed, reason, code = seal.close(exchange, self.address())
  if not sealed then return nil, reason, code end
  self.exchange, self.tried = exchange, found
  self.sent = message.encode { kind = "TRY", try = self.id, offer = found.id, share = exchange:share(),
    confirmation = exchange:confirmation(), sealed = sealed }
  return self.sent, found.from
end

--- What has become of it.
-- @treturn boolean whether it is over
-- @treturn ?table the peer's `address` and `id`; or nil, message, code
function Attempt:result()
  return self.peer ~= nil or self.reason ~= nil, self.peer, self.reason, self.code
end

return attempt
