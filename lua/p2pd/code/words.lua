--- The words of codes: 256, so that a word is 8 bits. Chosen for p2pd: common English words that are spelt as
-- they sound, of which any two differ in three letters at least, and in the first three.
-- @module p2pd.code.words
local words = {}

local LIST = [[
  abacus acorn agate album almond alpine amber anchor ankle apron arcade aspen atlas autumn badger
  balcony bamboo banjo barley basil beacon bedrock beetle bicycle birch biscuit blanket blizzard
  blossom bobsled bonfire bramble brisket bronze bucket buffalo bundle butter cabin cactus camel
  canoe cargo castle cedar cello cherry chimney cinema circus clover cobalt coconut compass copper
  cosmos cotton cougar cradle crystal cuckoo cupboard curtain cymbal daisy delta denim desert
  diamond dinner dolphin domino donkey dragon drizzle duckling dynamo eagle echo eclipse elbow
  elephant emerald engine envelope equator evening fabric feather fennel festival fiddle filter
  flamingo flute forest fossil fountain foxglove freckle frozen galaxy garden gazelle geyser giraffe
  glacier goblet gondola gorilla granite guitar hamster harbor hedgehog helmet hickory horizon
  hummus husky iceberg igloo indigo island ivory jaguar jasmine jigsaw jukebox juniper kangaroo
  kayak keyboard kingdom kitten koala lagoon lantern lavender lemon leopard lettuce lilac lobster
  lotus lyric magnet mammoth marble meadow mercury meteor midnight mirror monsoon mosaic muffin
  mushroom napkin narwhal nebula necklace nickel noodle notebook nugget nutmeg oatmeal ocean octopus
  olive onion opal orbit orchard oregano palace panda paper parrot peanut pebble pelican pendulum
  piano pickle pigeon pilot pony poplar potato prairie pretzel pumpkin puzzle pyramid python quartz
  quilt rabbit raccoon radish rainbow raven ribbon ripple ruby rudder saffron sapphire saturn
  sausage scarlet seagull sequoia sketch sleigh spinach squirrel summit sunset syrup tadpole teapot
  temple thimble thunder tiger tornado treasure trumpet tulip tundra turtle tuxedo typhoon ukulele
  umbrella unicorn urchin vanilla viking vineyard violin volcano voyage waffle walnut whistle willow
  wizard wombat yogurt zebra zephyr zigzag
]]

local numbers = {} -- by word
for word in LIST:gmatch "%l+" do
  words[#words + 1] = word
  numbers[word] = #words
end

--- The number of a word, from 1, or nil.
-- @tparam string word
-- @treturn ?integer
function words.find(word)
  return numbers[word]
end

local function distance(a, b)
  local row = {}
  for j = 0, #b do row[j] = j end
  for i = 1, #a do
    local diagonal, left = row[0], i
    row[0] = i
    for j = 1, #b do
      local swap = diagonal + (a:byte(i) == b:byte(j) and 0 or 1)
      diagonal, left = row[j], math.min(swap, row[j] + 1, left + 1)
      row[j] = left
    end
  end
  return row[#b]
end

local SLIPS = 2 -- letters that may be wrong, missing or too many

--- The word that was probably meant: the one that begins so, or the nearest, when there is one alone.
-- @tparam string text lower-case letters
-- @treturn ?string
function words.guess(text)
  local found, nearest = nil, SLIPS + 1
  for _, word in ipairs(words) do
    local begins = #text >= 3 and word:sub(1, #text) == text
    local far = begins and 0 or distance(text, word)
    if far < nearest then
      found, nearest = word, far
    elseif far == nearest and found then
      found = nil
    end
  end
  return found
end

return words
