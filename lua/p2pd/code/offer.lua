--- The side that has given a code out: takes messages, gives answers. It ends with the first try, right or
-- wrong. Pure but for its random bytes: the caller brings messages and time.
-- @classmod p2pd.code.offer
local core = require "p2pd.core"
local message = require "p2pd.code.message"
local rate = require "p2pd.limit.rate"
local seal = require "p2pd.code.seal"

local offer = {}

local ANSWERS, ANSWERS_BURST = 10, 40 -- a second, to each kind: an answer costs others a message

local Offer = { __name = "p2pd.code.offer" }
Offer.__index = Offer

--- One side's offer of a code that it has made.
-- @tparam table options `code` (text), `id` (8 bytes), `address` (function: ours), `settings`
-- @treturn offer; or nil, message, code
function offer.new(options)
  local exchange, reason, code = core.spake2.new("a", options.code, options.id, "")
  if not exchange then return nil, reason, code end
  return setmetatable({
    id = options.id,
    address = options.address,
    settings = options.settings,
    exchange = exchange,
    budget = rate.new(ANSWERS, 1, ANSWERS_BURST),
  }, Offer)
end

-- The one try. Whatever becomes of it, the offer is over.
local function judge(self, m)
  self.tried = m.try
  local exchange = self.exchange
  local ok = exchange:receive(m.share) and exchange:verify(m.confirmation)
  local peer, reason, code
  if ok then
    peer, reason, code = seal.open(exchange, m.sealed, self.settings)
  else
    reason, code = "somebody tried a wrong code: this one is good for nothing any more", "EACCES"
  end
  self.peer, self.reason, self.code = peer, reason, code
  if not ok then return { kind = "WRONG" } end
  if not peer then return { kind = "OVER" } end
  return { kind = "TAKEN", confirmation = exchange:confirmation(),
    sealed = assert(seal.close(exchange, self.address())) }
end

local ANSWERS_TO = {}

function ANSWERS_TO.FIND(self)
  if self.tried or self.ended then return { kind = "OVER" } end
  return { kind = "OFFER", share = self.exchange:share() }
end

-- A try that is repeated gets the same answer; every other one learns that it is too late.
function ANSWERS_TO.TRY(self, m)
  if m.offer ~= self.id then return nil end
  if self.ended or self.tried and self.tried ~= m.try then return { kind = "OVER" } end
  self.answer = self.answer or judge(self, m)
  return self.answer
end

--- Another offer asks whether the number is taken.
function ANSWERS_TO.CLAIM(self, m)
  if m.offer == self.id or self.tried or self.ended then return nil end
  return { kind = "HELD", offer = m.offer }
end

--- Takes a message.
-- @tparam string bytes
-- @tparam number now monotonic seconds
-- @treturn ?string the answer
function Offer:take(bytes, now)
  local m = message.decode(bytes)
  local handler = m and ANSWERS_TO[m.kind]
  if not handler or not self.budget:take(m.kind, now) then return nil end
  local answer = handler(self, m)
  if not answer then return nil end
  answer.try, answer.offer = m.try, answer.offer or self.id
  return message.encode(answer)
end

--- Ends it before it was tried.
function Offer:expire()
  self.ended = true
  if not self.tried then
    self.reason, self.code = "nobody has used the code in time: it is good for nothing any more", "ETIMEDOUT"
  end
end

--- What has become of it.
-- @treturn boolean whether it is over
-- @treturn ?table the peer's `address` and `id`; or nil, message, code
function Offer:result()
  return self.peer ~= nil or self.reason ~= nil, self.peer, self.reason, self.code
end

return offer
