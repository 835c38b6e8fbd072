--- Token buckets: so many at once, so many a second. Pure: the caller brings the time.
-- @classmod p2pd.limit.bucket
local bucket = {}

local Bucket = { __name = "p2pd.limit.bucket" }
Bucket.__index = Bucket

--- Makes a full bucket.
-- @tparam number rate tokens a second
-- @tparam number burst tokens that it holds
function bucket.new(rate, burst)
  return setmetatable({ rate = rate, burst = burst, tokens = burst, time = -math.huge }, Bucket)
end

--- Takes a token.
-- @tparam number now seconds on a scale that never jumps
-- @treturn boolean false when there is none
function Bucket:take(now)
  local tokens = math.min(self.burst, self.tokens + (now - self.time) * self.rate)
  self.time = now
  self.tokens = tokens >= 1 and tokens - 1 or tokens
  return tokens >= 1
end

return bucket
