--- What the lines of a lab do to packets: latency, jitter and loss, by the program p2pd-netdelay.
-- It runs in the internet's namespace, and only from the first time that a line is anything but perfect.
-- @module p2pd.lab.delay
local core = require "p2pd.core"
local topology = require "p2pd.lab.topology"

local delay = {}

local PROGRAM = "p2pd-netdelay"
local ANSWER_S = 10

-- Where nftables can't queue, iptables can.
local QUEUE_RULES = [[
nft add rule inet internet delay queue num 0 2>/dev/null && exit 0
iptables=iptables-legacy
command -v $iptables >/dev/null || iptables=iptables
$iptables -w -A FORWARD -j NFQUEUE --queue-num 0
for type in echo-reply destination-unreachable time-exceeded; do
  $iptables -w -A OUTPUT -p icmp --icmp-type $type -j NFQUEUE --queue-num 0
done
[ "$(cat /proc/sys/net/ipv6/conf/all/disable_ipv6 2>/dev/null)" = 0 ] || exit 0
ip6${iptables#ip} -w -A FORWARD -j NFQUEUE --queue-num 0
for type in echo-reply destination-unreachable packet-too-big time-exceeded; do
  ip6${iptables#ip} -w -A OUTPUT -p icmpv6 --icmpv6-type $type -j NFQUEUE --queue-num 0
done
]]

local function exists(path)
  local file <close> = io.open(path, "rb")
  return file ~= nil
end

local function folder_of_executable()
  local link <close> = io.popen "readlink /proc/$PPID/exe"
  return link and (link:read "l" or ""):match "^(.*)/" or "."
end

-- Beside core.so's folder in a build, beside the executable when installed, below it in a checkout; else in
-- PATH.
local function find_program()
  local module = package.searchpath("p2pd.core", package.cpath)
  local here = folder_of_executable()
  local places = { here .. "/" .. PROGRAM, here .. "/build/" .. PROGRAM }
  local build = module and module:match "^(.*)/p2pd/core%.so$"
  if build then table.insert(places, 1, build .. "/" .. PROGRAM) end
  for _, path in ipairs(places) do
    if exists(path) then return path end
  end
  return PROGRAM
end

local function millionths(value)
  return math.floor(value * 1e6 + 0.5)
end

local function tell(self, lines)
  local text = {}
  for i, line in ipairs(lines) do
    local link = line.link
    text[i] = ("%s %d %d %d %d\n"):format(line.net_side, millionths(link.up), millionths(link.down),
      millionths(link.jitter), millionths(link.loss))
  end
  local ok, reason, code = self.netdelay:stdin():write(table.concat(text))
  if not ok then return nil, PROGRAM .. ": " .. reason, code end
  for _ = 1, #lines do
    local answer
    answer, reason, code = self.netdelay:stdout():read "l"
    if answer ~= "ok" then
      return nil, ("%s: %s"):format(PROGRAM, answer or reason or "has ended"), code or "EIO"
    end
  end
  return true
end

local function run(self)
  local command = self.keeper:prefix(topology.NET)
  table.move({ find_program(), "0" }, 1, 2, #command + 1, command)
  command.stdin, command.stdout, command.stderr = "pipe", "pipe", "stdout"
  command.env = { LD_PRELOAD = "" }
  local child, reason, code = core.process.spawn(command)
  if not child then return nil, reason, code end
  self.netdelay = child
  child:stdin():settimeout(ANSWER_S)
  child:stdout():settimeout(ANSWER_S)
  local line = child:stdout():read "l"
  if line == "ready" then return true end
  return nil, ("latency, jitter and loss need %s, which is built and installed beside p2pd: %s"):format(
    PROGRAM, line or "it does not start"), "ENOENT"
end

local function is_perfect(lines)
  for _, line in ipairs(lines) do
    local link = line.link
    if link.up > 0 or link.down > 0 or link.jitter > 0 or link.loss > 0 then return false end
  end
  return true
end

--- Makes some lines behave as their `link` says. Waits.
-- @tparam table self the lab
-- @tparam {table,...} lines
-- @treturn boolean true; or nil, message, code
function delay.apply(self, lines)
  if self.netdelay then return tell(self, lines) end
  if is_perfect(lines) then return true end
  local ok, reason, code = run(self)
  if ok then ok, reason, code = tell(self, self.plan.links) end
  if ok then ok, reason, code = self.keeper:run(QUEUE_RULES) end
  if ok then return true end
  delay.stop(self)
  return nil, reason, code
end

--- Makes all lines of a new lab behave so.
function delay.start(self)
  return delay.apply(self, self.plan.links)
end

--- Ends the program; does not wait.
function delay.stop(self)
  if self.netdelay then self.netdelay:close() end
  self.netdelay = nil
end

return delay
