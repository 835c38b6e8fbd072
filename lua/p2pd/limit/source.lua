--- Where something comes from, as budgets count it. Pure.
-- @module p2pd.limit.source
local core = require "p2pd.core"

local source = {}

-- The first 48 bits in full.
local function prefix_48(ip)
  local head, tail = ip:match "^(.-)::(.*)$"
  local words = {}
  for word in (head or ip):gmatch "%x+" do words[#words + 1] = word end
  if head then
    local after = {}
    for word in tail:gmatch "[%x.]+" do after[#after + 1] = word end
    local missing = 8 - #words - #after - (tail:find(".", 1, true) and 1 or 0)
    for _ = 1, missing do words[#words + 1] = "0" end
    table.move(after, 1, #after, #words + 1, words)
  end
  return ("%s:%s:%s/48"):format(words[1] or 0, words[2] or 0, words[3] or 0)
end

--- An IPv4 address; of IPv6 the /48, which is one customer's; of an embedded IPv4 address that one.
-- @tparam ?string ip
-- @treturn string
function source.of(ip)
  local known = ip and core.inet.parse((ip:gsub("%%.*", "")))
  if not known then return "?" end
  local embedded = known.ip:match "^::ffff:(%d+%.%d+%.%d+%.%d+)$"
  if known.family == "ipv4" or embedded then return embedded or known.ip end
  return prefix_48(known.ip)
end

return source
