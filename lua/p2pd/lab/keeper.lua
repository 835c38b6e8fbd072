--- A shell that keeps namespaces alive, and builds and changes what is in them.
--
-- It has a network, a mount and, for an ordinary user, a user namespace of its own, so the names under its
-- /run/netns are nobody else's. It reads commands from us; at the end of its input, and so also when we are
-- killed, it kills whatever runs in its namespaces and removes the lab's folder, and the kernel removes the
-- namespaces with it.
-- @module p2pd.lab.keeper
local core = require "p2pd.core"

local keeper = {}

local RUN_S, CLOSE_S = 30, 10
local TOOLS = {
  ip = "iproute2", nft = "nftables", unshare = "util-linux", nsenter = "util-linux", mount = "mount",
}
local ENVIRONMENT = { LD_PRELOAD = "", PATH = (os.getenv "PATH" or "/usr/bin:/bin") .. ":/usr/sbin:/sbin" }

-- Sends no child of its own after the others: they would be among those to kill.
local BOOT = [=[
trap '' TERM INT HUP
kill_all() {
  found=
  for process in /proc/[0-9]*; do
    pid=${process#/proc/}
    [ "$pid" != $$ ] && [ "$pid" != $PPID ] || continue
    for name in /run/netns/*; do
      [ "$process/ns/net" -ef "$name" ] && kill -KILL "$pid" && found=1
    done
  done 2>/dev/null
  [ -n "$found" ]
}
clean_up() {
  rounds=0
  while kill_all && [ $rounds -lt 200 ]; do
    rounds=$((rounds + 1))
    [ $rounds -lt 3 ] || sleep 0.01
  done
  rm -rf "$folder"
}
folder=$1
mount -t tmpfs lab /run && mkdir /run/netns || exit 1
trap clean_up EXIT
echo "pid $$"
]=]

local PROBE = [=[
set -e
mount -t tmpfs lab /run
mkdir /run/netns
ip netns add probe
nsenter --net=/run/netns/probe nft -f - <<'END'
table ip nat {
  chain after {
    type nat hook postrouting priority 100;
    meta l4proto tcp snat to 11.0.0.1 : th sport ^ 1024
  }
}
END
]=]

local Keeper = {}
Keeper.__index = Keeper
Keeper.__name = "p2pd.lab.keeper"

local function unshare(rootless, ...)
  local command = { "unshare", "--fork", "-n", "-m", ... }
  if rootless then
    table.insert(command, 3, "-U")
    table.insert(command, 4, "-r")
  end
  command.env = ENVIRONMENT
  return command
end

local function run_to_end(command)
  command.env, command.stdout, command.stderr = ENVIRONMENT, "pipe", "stdout"
  local child <close>, reason = core.process.spawn(command)
  if not child then return false, reason end
  child:stdout():settimeout(RUN_S)
  local text = child:stdout():read "a" or ""
  local how, status = child:wait(RUN_S)
  return how == "exit" and status == 0, text
end

local function missing_tools()
  local missing = {}
  for name, package in pairs(TOOLS) do
    if not run_to_end { "sh", "-c", 'command -v "$1"', "sh", name } then
      missing[#missing + 1] = ("%s (package %s)"):format(name, package)
    end
  end
  table.sort(missing)
  return missing[1] and "missing: " .. table.concat(missing, ", ")
end

local function try(rootless)
  local ok, text = run_to_end(unshare(rootless, "sh", "-c", PROBE))
  return ok, (text:gsub("%s+$", ""):gsub("\n", "; "))
end

local function find_way(rootless)
  local missing = missing_tools()
  if missing then return { reason = missing, code = "ENOENT" } end
  local ok, reason = false, "not tried"
  if not rootless then ok, reason = try(false) end
  if ok then return { rootless = false } end
  local reason_rootless
  ok, reason_rootless = try(true)
  if ok then return { rootless = true } end
  return { reason = ("no namespaces, neither as we are (%s) nor as an ordinary user (%s)"):format(reason,
    reason_rootless), code = "EPERM" }
end

local ways = {} -- found once

--- Can there be namespaces here, and how? It is tried once, and remembered.
-- @tparam[opt=false] boolean rootless with a user namespace, even for root
-- @treturn[1] table `rootless`
-- @treturn[2] nil
-- @treturn[2] string why not
-- @treturn[2] string "ENOENT" for a missing tool, "EPERM"
function keeper.way(rootless)
  rootless = rootless or false
  ways[rootless] = ways[rootless] or core.task.run(find_way, rootless)
  local way = ways[rootless]
  if way.reason then return nil, way.reason, way.code end
  return way
end

-- -- commands

local function lock(self)
  while self.busy do self.freed:wait() end
  self.busy = true
  return setmetatable({}, { __close = function()
    self.busy = false
    self.freed:signal()
  end })
end

local function read_answer(self, number)
  local said = {}
  for line in function() return (self.child:stdout():read "l") end do
    local answered, status = line:match "^done (%d+) (%d+)$"
    if tonumber(answered) == number then return tonumber(status), table.concat(said, "\n") end
    if answered then said = {} else said[#said + 1] = line end
  end
  return nil, "the lab's shell has ended: " .. table.concat(said, "\n")
end

--- Runs a script; it stops at the first command that fails. Waits.
-- @tparam string text
-- @treturn[1] string what it printed
-- @treturn[2] nil
-- @treturn[2] string what it printed
-- @treturn[2] string "EIO"
function Keeper:run(text)
  local _ <close> = lock(self)
  self.number = self.number + 1
  local commands = ("(\nset -e\n%s\n)\necho \"done %d $?\"\n"):format(text, self.number)
  local ok, reason = self.child:stdin():write(commands)
  if not ok then return nil, "the lab's shell has ended: " .. reason, "EIO" end
  local status, said = read_answer(self, self.number)
  if status == 0 then return said end
  return nil, said, "EIO"
end

--- The command that enters a namespace and becomes what follows it there.
-- @tparam string name
-- @treturn {string,...}
function Keeper:prefix(name)
  local command = { "nsenter", ("--net=/proc/%d/root/run/netns/%s"):format(self.pid, name) }
  if self.rootless then
    table.move({ "-t", tostring(self.pid), "-U", "--preserve-credentials" }, 1, 4, #command + 1, command)
  end
  command[#command + 1] = "--"
  return command
end

--- Ends all that runs in the namespaces, and the keeper. Waits for it, unless the task is being cancelled:
-- then it ends by itself.
function Keeper:close()
  local child = self.child
  if not child then return end
  self.child = nil
  if coroutine.isyieldable() then
    child:stdin():close()
    child:wait(CLOSE_S)
  end
  child:close()
end

Keeper.__close = Keeper.close

--- Makes one. Waits.
-- @tparam string folder is removed when it ends
-- @tparam[opt=false] boolean rootless with a user namespace, even for root
-- @treturn[1] keeper
-- @treturn[2] nil
-- @treturn[2] string why not
-- @treturn[2] string code
function keeper.new(folder, rootless)
  local found, reason, code = keeper.way(rootless)
  if not found then return nil, reason, code end
  local command = unshare(found.rootless, "sh", "-s", folder)
  command.stdin, command.stdout, command.stderr = "pipe", "pipe", "stdout"
  local child
  child, reason, code = core.process.spawn(command)
  if not child then return nil, reason, code end
  local self = setmetatable({
    child = child, rootless = found.rootless, number = 0, freed = core.task.condition(),
  }, Keeper)
  child:stdout():settimeout(RUN_S)
  local line = child:stdin():write(BOOT) and child:stdout():read "l"
  self.pid = line and tonumber(line:match "^pid (%d+)$")
  if self.pid then return self end
  self:close()
  return nil, "cannot make a namespace: " .. (line or "no answer"), "EIO"
end

return keeper
