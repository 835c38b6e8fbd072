--- The strategies: what turns a candidate pair into a stream.
-- A strategy is a module, or a table like one, with `dial(dial, pair)`. One that the peer takes part in also
-- has `request`, the type of the message that asks for it, and `answer(node, message)`, which the peer runs;
-- `answer_timeout` seconds (4) at most. Both functions return a verified stream, or nil, message, code. With
-- `whole` one call serves every pair, and `pair` is nil. `prepare(dial)` begins early with what takes long:
-- it returns something to be closed, which the dial has as `dial.prepared[name]`. `enabled(settings)` says
-- whether a dial runs it unasked.
-- @module p2pd.strategy
local strategy = {}

--- The names of ours, the cheapest first.
strategy.NAMES = { "direct", "reverse", "punch", "relay" }

local BUILT_IN = {}
for _, name in ipairs(strategy.NAMES) do BUILT_IN[name] = require("p2pd.strategy." .. name) end

local function is_module(value)
  return type(value) == "table" and type(value.dial) == "function"
end

--- A strategy by its name (one of ours, else a module's that `require` finds), or the module itself.
-- @raise when there is none
function strategy.find(name)
  local found = BUILT_IN[name] or is_module(name) and name
  if found then return found end
  if type(name) ~= "string" then error("a strategy is a name, or a module with a function dial", 0) end
  local ok, loaded = pcall(require, name)
  if ok and is_module(loaded) then return loaded end
  local broken = not ok and not tostring(loaded):find("^module '.-' not found")
  error(('no strategy "%s"%s'):format(name, broken and ": " .. tostring(loaded) or ""), 0)
end

--- The names of those that a dial runs unless it is told which, the cheapest first.
-- @tparam table settings of the node: a strategy with `enabled(settings)` may not want to be among them
-- @treturn {string,...}
function strategy.usual(settings)
  local names = {}
  for _, name in ipairs(strategy.NAMES) do
    local enabled = BUILT_IN[name].enabled
    if not enabled or enabled(settings) then names[#names + 1] = name end
  end
  return names
end

--- Whether there is a strategy of that name.
function strategy.exists(name)
  return (pcall(strategy.find, name))
end

--- What a strategy is called: its name, or the field `name` of a module.
function strategy.name_of(value)
  return type(value) == "table" and (value.name or "custom") or value
end

return strategy
