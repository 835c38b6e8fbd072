--- Strategies: what turns a candidate pair into a stream. A strategy is a module that says all there is to
-- say about it; docs/strategies.md tells how to write one.
--
-- Its fields: `name`; `dial(dial, pair)`, which returns a verified stream or nil, message, code. And, when it
-- needs them: `cost` (the cheaper one is preferred; what relays costs 5 and more; 4), `budget` (seconds that
-- a call of `dial` may take; 20), `head_start` (seconds that cheaper ones, of which something is expected,
-- have before it begins; 0), `once_per_dial` (one call serves every pair, and `pair` is nil),
-- `any_family` (where the two sides have no address family in common it is asked about pairs of different
-- ones), `enabled(settings)` (whether it is in a dial that names no strategies), `feasible(node, pair)`
-- (true; or nil, reason, and "EAGAIN" for a code when that is not known yet), `expected(node, pair)`
-- (whether it is likely to connect, from what is known of both NATs), `prepare(dial)` (begins with what
-- takes long; what it returns is closed with the dial), and `messages`: by type, `fields` (a check for each,
-- see @{p2pd.signal.field}), `reply` (the type of its answer), `answer(node, message)` (of a request for a
-- pipe: returns a verified stream, or nil, message, code), `timeout` (seconds for `answer`; 4), or
-- `receive(node, message)` (of one that asks for nothing; it must not wait).
-- @module p2pd.strategy
local field = require "p2pd.signal.field"
local message = require "p2pd.signal.message"

local strategy = {}

--- The strategies of a node that names none.
strategy.DEFAULT = { "direct", "reverse", "punch", "relay" }

strategy.COST, strategy.BUDGET, strategy.ANSWER_TIMEOUT = 4, 20, 4

local FUNCTIONS = { "enabled", "feasible", "expected", "prepare" }
local NUMBERS = { "cost", "budget", "head_start" }

-- -- one strategy

local function find_message_fault(name, entry)
  if not message.is_type(name) then return "is no type: capitals, digits and underscores" end
  if message.TYPES[name] then return "is one of signalling's own" end
  if type(entry) ~= "table" then return "is not a table" end
  for key, check in pairs(entry.fields or {}) do
    if type(check) ~= "function" then return ("the check of %s is not a function"):format(tostring(key)) end
  end
  for _, what in ipairs { "answer", "receive" } do
    if entry[what] ~= nil and type(entry[what]) ~= "function" then return what .. " is not a function" end
  end
  if entry.reply ~= nil and not message.is_type(entry.reply) then return "reply is no type" end
end

-- What is wrong with a strategy, or nil.
local function find_fault(module)
  if type(module.name) ~= "string" or not module.name:find "^[%w_.-]+$" then
    return "its name has to be of letters, digits and . _ -"
  end
  for _, name in ipairs(NUMBERS) do
    local value = module[name]
    if value ~= nil and not (type(value) == "number" and value >= 0) then
      return name .. " is not a number from 0 on"
    end
  end
  for _, name in ipairs(FUNCTIONS) do
    if module[name] ~= nil and type(module[name]) ~= "function" then return name .. " is not a function" end
  end
  if module.messages ~= nil and type(module.messages) ~= "table" then return "messages is not a table" end
  for name, entry in pairs(module.messages or {}) do
    local fault = find_message_fault(name, entry)
    if fault then return ("message %s: %s"):format(tostring(name), fault) end
  end
end

local function is_module(value)
  return type(value) == "table" and type(value.dial) == "function"
end

local function is_default(name)
  for _, known in ipairs(strategy.DEFAULT) do
    if known == name then return true end
  end
  return false
end

local function load_module(name)
  local ok, loaded = pcall(require, (is_default(name) and "p2pd.strategy." or "") .. name)
  if ok and is_module(loaded) then return loaded end
  local is_missing = ok or tostring(loaded):find("module '" .. name .. "' not found", 1, true)
  error(('no strategy "%s"%s'):format(name, is_missing and "" or ": " .. tostring(loaded)), 0)
end

--- A strategy by its name (one of ours, else a module's that `require` finds), or the module itself.
-- @tparam string|table value
-- @treturn table the module
-- @raise when there is none, or when it is none
function strategy.find(value)
  if type(value) ~= "string" and not is_module(value) then
    error("a strategy is a name, or a module with a function dial", 0)
  end
  local module = type(value) == "string" and load_module(value) or value
  local fault = find_fault(module)
  if fault then error(("strategy %s: %s"):format(tostring(module.name), fault), 0) end
  return module
end

--- Whether there is a strategy of that name.
function strategy.exists(name)
  return (pcall(strategy.find, name))
end

-- -- several

--- The strategies of a list.
-- @tparam {string|table,...} list names or modules
-- @treturn {table,...} the modules, in the same order
-- @raise when one is none, when two have one name, or when the list is none
function strategy.load(list)
  if type(list) ~= "table" or #list == 0 then error("strategies is not a list of one or more", 0) end
  local modules, by_name = {}, {}
  for i, value in ipairs(list) do
    local module = strategy.find(value)
    if by_name[module.name] and by_name[module.name] ~= module then
      error(('two strategies are called "%s"'):format(module.name), 0)
    end
    modules[i], by_name[module.name] = module, module
  end
  return modules
end

--- The messages of several strategies.
-- @tparam {table,...} modules
-- @treturn table by type: `strategy` (the module), `fields` (`pipe` among them), `reply`, `answer`,
-- `receive`, `timeout`
-- @raise when two have a message of one type
function strategy.messages(modules)
  local all = {}
  for _, module in ipairs(modules) do
    for name, entry in pairs(module.messages or {}) do
      local other = all[name]
      if other and other.strategy ~= module then
        error(("strategies %s and %s both have a message %s")
          :format(other.strategy.name, module.name, name), 0)
      end
      local fields = { pipe = field.id }
      for key, check in pairs(entry.fields or {}) do fields[key] = check end
      all[name] = { strategy = module, fields = fields, reply = entry.reply, answer = entry.answer,
        receive = entry.receive, timeout = entry.timeout }
    end
  end
  return all
end

--- Those that a dial runs unless it is told which, the cheapest first.
-- @tparam {table,...} modules
-- @tparam table settings of the node
-- @treturn {table,...}
function strategy.enabled(modules, settings)
  local list = {}
  for i, module in ipairs(modules) do
    if not module.enabled or module.enabled(settings) then list[#list + 1] = { module, i } end
  end
  table.sort(list, function(a, b)
    local x, y = a[1].cost or strategy.COST, b[1].cost or strategy.COST
    if x ~= y then return x < y end
    return a[2] < b[2]
  end)
  for i, entry in ipairs(list) do list[i] = entry[1] end
  return list
end

return strategy
