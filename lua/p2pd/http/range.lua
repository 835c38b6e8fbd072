--- Which part of a file a request asks for, and what tells one version of it from another (RFC 9110 sections
-- 8.8 and 14). Pure.
-- @module p2pd.http.range
local range = {}

local DAYS = { "Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat" }
local MONTHS = { "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec" }

local NS = 1000000000

--- A date as HTTP writes it.
-- @tparam integer seconds since 1970
-- @treturn string
function range.date(seconds)
  local at = os.date("!*t", seconds)
  return ("%s, %02d %s %d %02d:%02d:%02d GMT"):format(DAYS[at.wday], at.day, MONTHS[at.month], at.year,
    at.hour, at.min, at.sec)
end

--- What tells a version of a file, as headers.
-- @tparam integer size
-- @tparam integer mtime nanoseconds since 1970
-- @treturn table ETag and Last-Modified
function range.validators(size, mtime)
  return { ETag = ('"%x-%x"'):format(mtime, size), ["Last-Modified"] = range.date(mtime // NS) }
end

-- Else the client has the beginning of another version.
local function is_current(condition, validators)
  return condition == nil or condition == validators.ETag or condition == validators["Last-Modified"]
end

--- The part that is asked for. What is no range of bytes, or more than one, asks for all.
-- @tparam table headers by name in lower case
-- @tparam integer size
-- @tparam table validators as @{validators} makes them
-- @treturn ?integer offset; nil: all; false: the file has no such part
-- @treturn ?integer length
function range.find(headers, size, validators)
  local first, last = (headers.range or ""):match "^bytes=(%d*)%-(%d*)$"
  if not first or first .. last == "" or not is_current(headers["if-range"], validators) then return nil end
  first, last = math.tointeger(tonumber(first)), math.tointeger(tonumber(last))
  if not first and last then first, last = math.max(0, size - last), last > 0 and size - 1 or -1 end
  if not first or last and last < first and last >= 0 then return nil end
  if first >= size or last == -1 then return false end
  return first, math.min(last or size - 1, size - 1) - first + 1
end

return range
