--- Which external port does a NAT give out next? The rule, from mappings whose local ports and order are
-- known. What is measured is never clean: probes get lost, other programs take ports in between, a range of
-- ports ends and begins again. So each rule is held against all pairs of neighbours, and most of them decide.
-- @module p2pd.delta
local nat = require "p2pd.nat"

local delta = {}

local MOST = 2 / 3        -- of the pairs that a rule must explain
local ALL_BUT_A_FEW = 0.8 -- of the runs, where a smaller share might lie in one range of ports by chance
local LEAST = 3           -- pairs of a kind, fewer prove nothing
local FOREIGN_MAX = 16    -- steps from one of our mappings to the next: ours, and what others took in between

delta.RUNS = 6            -- of neighbouring local ports in a burst
delta.RUN_LENGTH = 2
local PORT_MIN, PORT_MAX = 33000, 58000 -- where clients' ports usually are

local function gcd(a, b)
  while b ~= 0 do a, b = b, a % b end
  return a
end

local function is_enough(count, of, share)
  return of >= LEAST and count >= (share or MOST) * of
end

-- How often each value occurs; the most frequent one, its count, and the count of all.
local function most_frequent(values)
  local counts, best = {}, nil
  for _, value in ipairs(values) do
    counts[value] = (counts[value] or 0) + 1
    if not best or counts[value] > counts[best] then best = value end
  end
  return best, counts[best] or 0, #values
end

-- The probes that were answered, from the external address that most of them have; false in the place of
-- the others.
local function clean(burst, ip)
  local kept = {}
  for i, probe in ipairs(burst) do kept[i] = probe.external and probe.ip == ip and probe or false end
  return kept
end

local function main_address(bursts)
  local ips = {}
  for _, burst in ipairs(bursts) do
    for _, probe in ipairs(burst) do
      if probe.external then ips[#ips + 1] = probe.ip end
    end
  end
  return most_frequent(ips)
end

-- What the rules look at: each mapping's offset from its local port; each run's first offset; and the steps
-- from one mapping to the next, `near` for neighbouring local ports, `far` from one run to another.
local function observe(bursts, ip)
  local seen = { offsets = {}, runs = {}, near = {}, far = {} }
  for _, burst in ipairs(bursts) do
    local probes = clean(burst, ip)
    for i, probe in ipairs(probes) do
      local last = i > 1 and probes[i - 1]
      local is_near = i > 1 and burst[i].port == burst[i - 1].port + 1
      if probe then
        table.insert(seen.offsets, probe.external - probe.port)
        if not (is_near and last) then table.insert(seen.runs, probe.external - probe.port) end
      end
      if probe and last then
        table.insert(is_near and seen.near or seen.far, probe.external - last.external)
      end
    end
  end
  return seen
end

-- -- the rules: each a delta and its value, or nil

local function equal(seen)
  local offset, count, of = most_frequent(seen.offsets)
  if offset == 0 and is_enough(count, of) then return nat.DELTA_EQUAL, 0 end
end

local function preserving(seen)
  local _, count, of = most_frequent(seen.runs)
  if is_enough(count, of, ALL_BUT_A_FEW) then return nat.DELTA_PRESERVING, 0 end
end

local function count_multiples(steps, unit)
  local count = 0
  for _, step in ipairs(steps) do
    local times = step / unit
    if times >= 1 and times <= FOREIGN_MAX and times % 1 == 0 then count = count + 1 end
  end
  return count
end

-- The unit of a counter that goes up (direction 1) or down (-1): what divides all steps that are no leap.
local function find_unit(seen, direction)
  local steps, least = {}, math.huge
  for _, list in ipairs { seen.near, seen.far } do
    for _, step in ipairs(list) do
      step = step * direction
      if step > 0 then steps[#steps + 1], least = step, math.min(least, step) end
    end
  end
  local unit = 0
  for _, step in ipairs(steps) do
    if step <= least * FOREIGN_MAX then unit = gcd(unit, step) end
  end
  return unit > 0 and unit * direction or nil
end

local function independent(seen)
  for _, direction in ipairs { 1, -1 } do
    local unit = find_unit(seen, direction)
    if unit then
      local near, far = count_multiples(seen.near, unit), count_multiples(seen.far, unit)
      if is_enough(near, #seen.near) and is_enough(far, #seen.far) then return nat.DELTA_INDEPENDENT, unit end
    end
  end
end

local function dependent(seen)
  local step, count, of = most_frequent(seen.near)
  if step ~= 0 and is_enough(count, of) then return nat.DELTA_DEPENDENT, step end
end

local RULES = { equal, preserving, independent, dependent }

--- Local ports for a burst: runs of neighbours, spread over the whole range and opened in no order, so that a
-- rule about neighbours can be told from one about all ports.
-- @tparam[opt] function random as math.random
-- @treturn {integer,...} in the order in which to open them
function delta.plan(random)
  random = random or math.random
  local starts, ports = {}, {}
  local width = (PORT_MAX - PORT_MIN) // delta.RUNS
  for i = 1, delta.RUNS do
    local lowest = PORT_MIN + (i - 1) * width
    local start = random(lowest, lowest + width - 2 * delta.RUN_LENGTH)
    table.insert(starts, random(#starts + 1), start)
  end
  for _, start in ipairs(starts) do
    for i = 0, delta.RUN_LENGTH - 1 do ports[#ports + 1] = start + i end
  end
  return ports
end

--- Infers the rule. A lost probe is one without `external`.
-- @tparam {table,...} bursts each a list of probes `{ port = local port, external = port, ip = external
-- address }`, in the order in which they were opened
-- @treturn[1] integer a number of `nat.DELTAS`, 2 to 6
-- @treturn[1] integer its value: for independent and dependent the step (negative: downwards), else 0
-- @treturn[2] nil
-- @treturn[2] string why these probes prove nothing
function delta.infer(bursts)
  local ip, count, of = main_address(bursts)
  if of < 2 * LEAST then return nil, ("only %d mappings are known"):format(of) end
  if not is_enough(count, of) then return nat.DELTA_RANDOM, 0 end -- nobody knows which address is next
  local seen = observe(bursts, ip)
  for _, rule in ipairs(RULES) do
    local kind, value = rule(seen)
    if kind then return kind, value end
  end
  if #seen.near < LEAST or #seen.far < LEAST then return nil, "too many mappings are unknown" end
  return nat.DELTA_RANDOM, 0
end

return delta
