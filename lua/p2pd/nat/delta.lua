--- Infers a NAT's rule for external ports from mappings whose local ports and order are known.
-- What is measured is never clean: probes get lost, other programs take ports in between, a range of
-- ports ends and begins again. So each rule is held against all pairs of neighbours, and most of them decide.
-- @module p2pd.nat.delta
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

-- The runs of a burst, as far as they are known: what each has first and last, and where.
local function runs_of(burst, probes)
  local runs, run = {}, nil
  for i, probe in ipairs(probes) do
    local is_near = i > 1 and burst[i].port == burst[i - 1].port + 1
    if not is_near then run = nil end
    if probe and run then
      run.last, run.last_at = probe.external, i
    elseif probe then
      run = { port = probe.port, first = probe.external, first_at = i, last = probe.external, last_at = i }
      runs[#runs + 1] = run
    end
  end
  return runs
end

-- What the rules look at: each mapping's offset from its local port; the steps between neighbouring local
-- ports; the runs of each burst; each run's offset.
local function observe(bursts, ip)
  local seen = { offsets = {}, near = {}, bursts = {}, run_offsets = {} }
  for _, burst in ipairs(bursts) do
    local probes = clean(burst, ip)
    for i, probe in ipairs(probes) do
      local last = i > 1 and burst[i].port == burst[i - 1].port + 1 and probes[i - 1]
      if probe then table.insert(seen.offsets, probe.external - probe.port) end
      if probe and last then table.insert(seen.near, probe.external - last.external) end
    end
    local runs = runs_of(burst, probes)
    table.insert(seen.bursts, runs)
    for _, run in ipairs(runs) do table.insert(seen.run_offsets, run.first - run.port) end
  end
  return seen
end

-- -- the rules: each a delta and its value, or nil

local function equal(seen)
  local offset, count, of = most_frequent(seen.offsets)
  if offset == 0 and is_enough(count, of) then return nat.DELTA_EQUAL, 0 end
end

local function preserving(seen)
  local _, count, of = most_frequent(seen.run_offsets)
  if is_enough(count, of, ALL_BUT_A_FEW) then return nat.DELTA_PRESERVING, 0 end
end

-- Can a counter have gone so far while so many mappings were made?
local function is_count(step, unit, mappings)
  local times = step / unit
  return times >= 1 and times <= FOREIGN_MAX * mappings and times % 1 == 0
end

local function count_near(seen, unit)
  local count = 0
  for _, step in ipairs(seen.near) do
    if is_count(step, unit, 1) then count = count + 1 end
  end
  return count
end

-- The most successions of a chain of these runs that a counter may have made, from one to another: those with
-- a mapping of old, which is no news, are passed over.
local function chain(runs, from, to, unit)
  local successions, most = {}, 0
  for i = from, to do
    successions[i] = 0
    for j = from, i - 1 do
      local mappings = runs[i].first_at - runs[j].last_at
      local is_next = is_count(runs[i].first - runs[j].last, unit, mappings)
      if is_next then successions[i] = math.max(successions[i], successions[j] + 1) end
    end
    most = math.max(most, successions[i])
  end
  return most
end

-- A counter may begin again once.
local function count_successions(seen, unit)
  local count, of = 0, 0
  for _, runs in ipairs(seen.bursts) do
    local most = 0
    for split = 1, #runs do
      most = math.max(most, chain(runs, 1, split, unit) + chain(runs, split + 1, #runs, unit))
    end
    count, of = count + most, of + math.max(0, #runs - 1)
  end
  return count, of
end

local function each_step(seen, fn)
  for _, step in ipairs(seen.near) do fn(step) end
  for _, runs in ipairs(seen.bursts) do
    for i = 2, #runs do fn(runs[i].first - runs[i - 1].last) end
  end
end

-- What divides all steps of a counter that goes up (direction 1) or down (-1) and are no leap; and the
-- steps that may be its unit, the largest first.
local function find_units(seen, direction)
  local least, divisor, steps = math.huge, 0, {}
  each_step(seen, function(step)
    if step * direction > 0 then least = math.min(least, step * direction) end
  end)
  each_step(seen, function(step)
    step = step * direction
    if step > 0 and step <= least * FOREIGN_MAX then
      divisor = gcd(divisor, step)
      steps[#steps + 1] = step
    end
  end)
  table.sort(steps, function(a, b) return a > b end)
  return divisor, steps
end

-- How many neighbours and successions a unit leaves unexplained, or nil when too many.
local function count_misses(seen, unit)
  local near, successions, of = count_near(seen, unit), count_successions(seen, unit)
  if not is_enough(near, #seen.near) or not is_enough(successions, of) then return nil end
  return #seen.near - near + of - successions
end

-- A mapping of old between two new ones spoils a divisor, but others' traffic hardly leaves all steps but a
-- few divisible by more than the unit.
local function independent(seen)
  for _, direction in ipairs { 1, -1 } do
    local divisor, steps = find_units(seen, direction)
    local least = divisor > 0 and count_misses(seen, divisor * direction)
    for _, step in ipairs(least and steps or {}) do
      local misses = count_misses(seen, step * direction)
      if misses and misses - least <= math.min(step // divisor - 1, 2) then
        return nat.DELTA_INDEPENDENT, step * direction
      end
    end
    if least then return nat.DELTA_INDEPENDENT, divisor * direction end
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
  local _, successions = count_successions(seen, 1)
  if #seen.near < LEAST or successions < LEAST then return nil, "too many mappings are unknown" end
  return nat.DELTA_RANDOM, 0
end

return delta
