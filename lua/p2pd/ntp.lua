--- How far is a clock from the true time? Several NTP servers, asked side by side (RFC 5905).
-- A survey remembers what each server has said so far. Servers that disagree with the majority are
-- outvoted, those that do not answer delay nobody, and one that says that it is asked too much is left in
-- peace. Every burst uses sockets of its own, so nobody can foresee their ports (RFC 9109).
-- @module p2pd.ntp
local core = require "p2pd.core"
local families = require "p2pd.families"
local task = require "p2pd.task"

local ntp = {}

local MAX_ADDRESSES = 2 -- of one server's name that are tried
local LOOKUP_S = 5
local GRACE_S = 0.05 -- and a round trip more: for which a first answer waits for a majority

local boottime = core.clock.boottime

--- What a survey has found.
-- @table result
-- @tfield number offset seconds to be added to `core.clock.boottime()` to get seconds since 1970
-- @tfield number bound seconds by which that may be wrong, when most servers are right
-- @tfield number at when it was found, by `core.clock.boottime()`
-- @tfield integer servers how many agree
-- @tfield integer asked how many there are

local Survey = { __name = "p2pd.ntp.survey" }
Survey.__index = Survey

--- Makes a survey; nobody is asked yet.
-- @tparam {table,...} servers each `{ host = string, port = integer }`; of more than 16 the first ones count
-- @treturn survey
function ntp.survey(servers)
  local self = setmetatable({ entries = {} }, Survey)
  for i = 1, math.min(#servers, core.ntp.SERVERS_MAX) do
    self.entries[i] = { server = servers[i], client = core.ntp.client() }
  end
  return self
end

function Survey:__tostring()
  return ("ntp survey of %d servers"):format(#self.entries)
end

-- -- one server

-- RFC 5905 section 7.4.
local KISSES = { DENY = "EACCES", RSTR = "EACCES", RATE = "EBUSY" }

local function note(entry, reason, code)
  entry.reason, entry.code = reason, code
end

local function note_kiss(entry, kiss, until_when)
  entry.barred_until = until_when
  note(entry, ("%s (%s)"):format(entry.client:reason(), kiss), KISSES[kiss])
  core.log.write("info", ("NTP server %s: %s"):format(entry.server.host, entry.reason))
end

-- A datagram or the time until the next thing to do. Returns whether the address is worth going on with, and
-- whether there is a new sample.
local function listen(entry, socket, target)
  local data, ip, port = socket:recvfrom(math.max(0, entry.client:due() - boottime()))
  local now = boottime()
  if not data then
    local message, code = ip, port
    if code ~= "ETIMEDOUT" then note(entry, message, code) end
    return code == "ETIMEDOUT"
  end
  if ip ~= target.ip or port ~= target.port then return true end
  local event, detail, extra = entry.client:feed(data, now)
  if event == "sample" then return true, true end
  if event == "kiss" then
    note_kiss(entry, detail, extra)
  elseif extra ~= "ENOMSG" then
    note(entry, detail, "EPROTO")
  end
  return true
end

-- Both spellings of an address are the kernel's, so that they can be compared.
local function send(entry, socket, packet, target)
  local ip, port, code = socket:sendto(packet, target.ip, target.port)
  if ip then
    target.ip, target.port = ip, port
    return true
  end
  note(entry, port, code)
  return code == "EAGAIN" or code == "ENOBUFS"
end

-- A burst of requests to one address. True when it brought a sample.
local function ask(entry, target, options, on_sample)
  local socket <close>, reason, code = core.udp.bind { ip = families.ANY[families.of(target.ip)] }
  if not socket then
    note(entry, reason, code)
    return false
  end
  local heard = false
  entry.client:begin(boottime(), options)
  while true do
    local action, packet = entry.client:poll(boottime())
    if action == "done" then break end
    if action == "send" and not send(entry, socket, packet, target) then break end
    local alive, sample = listen(entry, socket, target)
    if not alive then break end
    if sample then
      heard, entry.heard_at = true, boottime()
      on_sample()
    end
  end
  if not heard then entry.reason = entry.reason or entry.client:reason() end
  return heard
end

local function addresses_of(entry)
  if entry.ip then return { entry.ip } end
  local ips, reason, code = core.inet.resolve(entry.server.host, "any", LOOKUP_S)
  if not ips then note(entry, reason, code) end
  return ips or {}
end

local function is_barred(entry)
  return entry.barred_until ~= nil and boottime() < entry.barred_until
end

-- The address that answered last is asked first; when it has gone, the name is looked up again.
local function interrogate(entry, options, on_sample)
  if is_barred(entry) then return end
  note(entry, nil, nil)
  local ips = addresses_of(entry)
  for i = 1, math.min(#ips, MAX_ADDRESSES) do
    entry.ip = ask(entry, { ip = ips[i], port = entry.server.port }, options, on_sample) and ips[i]
    if entry.ip or is_barred(entry) then return end
  end
end

-- -- all of them

local function estimates(self, now)
  local list = {}
  for _, entry in ipairs(self.entries) do list[#list + 1] = entry.client:estimate(now) end
  return list
end

local function failure_code(self)
  local first
  for _, entry in ipairs(self.entries) do
    if not entry.code then return "ETIMEDOUT" end
    first = first or entry.code
  end
  return first or "ETIMEDOUT"
end

--- What the answers so far amount to.
-- @treturn[1] result
-- @treturn[2] nil
-- @treturn[2] string message
-- @treturn[2] string "ENOMSG" when no majority agrees; "ETIMEDOUT" when one of them has not answered at all;
-- else the first one's code: "ECONNREFUSED", "EACCES" and "EBUSY" (it does not want to be asked, or not so
-- often: kiss codes DENY, RSTR and RATE), "EPROTO" for an answer that is no use, ...
function Survey:result()
  local now = boottime()
  local list = estimates(self, now)
  if not list[1] then return nil, "no NTP server answered" .. self:reasons(), failure_code(self) end
  local combined, message, code = core.ntp.select(list)
  if not combined then return nil, message .. self:reasons(), code end
  return { offset = combined.offset, bound = combined.bound, at = now, servers = combined.servers,
    asked = #self.entries }
end

--- Why servers did not answer, for people: "" or " (HOST: REASON; ...)".
function Survey:reasons()
  local reasons = {}
  for _, entry in ipairs(self.entries) do
    if entry.reason then
      reasons[#reasons + 1] = ("%s port %d: %s"):format(entry.server.host, entry.server.port, entry.reason)
    end
  end
  return reasons[1] and (" (%s)"):format(table.concat(reasons, "; ")) or ""
end

--- Whether any server has answered since an instant of `core.clock.boottime()`.
function Survey:heard_since(instant)
  for _, entry in ipairs(self.entries) do
    if entry.heard_at and entry.heard_at >= instant then return true end
  end
  return false
end

-- One answer of several could be the wrong one, so it waits for a majority; but not for long.
local function new_publisher(self, children, grace, on_update)
  local trusted, waiting = false, false
  local function publish()
    local result = trusted and self:result()
    if result then on_update(result) end
  end
  local function trust_after(seconds)
    task.sleep(seconds)
    trusted = true
    publish()
  end
  return function()
    local list = estimates(self, boottime())
    trusted = trusted or 2 * #list > #self.entries
    if not trusted and not waiting then
      waiting = true
      children:spawn(trust_after, list[1].delay + grace)
    end
    publish()
  end
end

--- Asks every server that may be asked, all at once, in a short burst. Waits until each has answered as
-- often as wanted, or is given up. Call it in a task.
-- @tparam[opt] table options `count`: samples of each server (8); `spacing`: seconds between the first two
-- requests (0.1), doubled each time up to `spacing_max` (2); `timeout`: seconds for each answer (1);
-- `on_update`: called with each better @{result} on the way, first when most of the servers have answered, or
-- a round trip and `grace` (0.05 s) after the first one has
-- @return as @{Survey:result}
function Survey:measure(options)
  options = options or {}
  local children <close> = task.group()
  local updated = new_publisher(self, children, options.grace or GRACE_S,
    options.on_update or function() end)
  local searches = {}
  for i, entry in ipairs(self.entries) do
    searches[i] = function()
      interrogate(entry, options, updated)
      return true
    end
  end
  task.all(searches)
  return self:result()
end

return ntp
