--- Lists: what several modules do with them.
-- @module p2pd.list
local list = {}

--- The values that `keep` says yes to, in their order.
-- @tparam table values
-- @tparam function keep function(value): boolean
-- @treturn table a new list
function list.filter(values, keep)
  local result = {}
  for _, value in ipairs(values) do
    if keep(value) then result[#result + 1] = value end
  end
  return result
end

--- What `fn` makes of each value; a nil leaves a hole.
-- @tparam table values
-- @tparam function fn function(value)
-- @treturn table a new list
-- @treturn integer its length, holes included
function list.map(values, fn)
  local result = {}
  for i, value in ipairs(values) do result[i] = fn(value) end
  return result, #values
end

--- Appends the values of one list to another.
-- @tparam table to is changed
-- @tparam table from
-- @treturn table `to`
function list.append(to, from)
  return table.move(from, 1, #from, #to + 1, to)
end

return list
