--- The text of a code: `4-amber-canoe-violin`. The number is where both meet, the words are the password.
-- Three words are 24 bits: whoever guesses has one try in 16.8 million, since a code is good for one. Pure.
-- @module p2pd.code.text
local core = require "p2pd.core"
local words = require "p2pd.code.words"
local printable = require("p2pd.text").printable

local text = {}

local WORDS = 3
local NUMBER_MAX = 999999
local LENGTH_MAX = 200 -- characters

--- A code of random words.
-- @tparam integer number
-- @treturn string
function text.new(number)
  local parts = { ("%d"):format(number) }
  for byte in core.random.bytes(WORDS):gmatch "." do parts[#parts + 1] = words[byte:byte() + 1] end
  return table.concat(parts, "-")
end

--- A random number of a code.
-- @tparam integer digits at most so many, 1 to 6
-- @treturn integer from 1
function text.new_number(digits)
  return ("I4"):unpack(core.random.bytes(4)) % math.tointeger(10 ^ digits - 1) + 1
end

--- Whether a text is meant to be a code, and not an address or a name: a number and a word.
-- @tparam string given
-- @treturn boolean
function text.is_code(given)
  return given:find "^%s*%d+[%s,_-]+%a" ~= nil
end

local function find_word(given)
  if words.find(given) then return given end
  local guess = words.guess(given)
  if guess and #given >= 3 and guess:sub(1, #given) == given then return guess end
  local shown = printable(given, 40)
  if not guess then return nil, ('no code has the word "%s"'):format(shown) end
  return nil, ('no code has the word "%s": is it "%s"?'):format(shown, guess)
end

local function find_number(given)
  local number = given and given:find "^%d+$" and #given <= #tostring(NUMBER_MAX) and math.tointeger(given)
  if not number then return nil, "a code begins with a number, as in 4-amber-canoe-violin" end
  if number < 1 or number > NUMBER_MAX then return nil, ("no code has the number %d"):format(number) end
  return number
end

local function find_words(parts)
  local found = {}
  for i = 2, #parts do
    local word, reason = find_word(parts[i])
    if not word then return nil, reason end
    found[i - 1] = word
  end
  if #found == WORDS then return found end
  return nil, ("a code has %d words after its number, and this one has %d"):format(WORDS, #found)
end

--- Reads a code as people type it: upper case, blanks instead of dashes, words of which only the beginning is
-- there (three letters tell them apart).
-- @tparam string given
-- @treturn string the code as it was given out; or nil, message, "EINVAL": the message says which word is
-- none, and which may have been meant
-- @treturn integer its number
function text.parse(given)
  if type(given) ~= "string" or #given > LENGTH_MAX then return nil, "not a code", "EINVAL" end
  local parts = {}
  for part in given:lower():gmatch "[^%s,_-]+" do parts[#parts + 1] = part end
  local number, reason = find_number(parts[1])
  if not number then return nil, reason, "EINVAL" end
  local found
  found, reason = find_words(parts)
  if not found then return nil, reason, "EINVAL" end
  return ("%d-%s"):format(number, table.concat(found, "-")), number
end

return text
