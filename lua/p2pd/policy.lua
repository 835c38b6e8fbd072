--- Policies: which strategies of a dial run when. A policy is a function of the dial. It calls
-- @{p2pd.dial:race}, or @{p2pd.dial:attempt} for a strategy alone, and returns the stream that it chose, or
-- nil.
-- @module p2pd.policy
local policy = {}

--- One race of all, with head starts: the first verified stream wins, unless a cheaper one of which something
-- is expected lands within a short grace. It takes little longer than the best strategy alone would.
-- @tparam dial dial
-- @treturn ?stream stream and the strategy's name
function policy.race(dial)
  return dial:race()
end

--- The classic order: one strategy after the other, each for as long as its budget.
-- @tparam dial dial
-- @treturn ?stream stream and the strategy's name
function policy.sequence(dial)
  for _, name in ipairs(dial.strategies) do
    local stream = dial:attempt(name)
    if stream then return stream, name end
  end
end

return policy
