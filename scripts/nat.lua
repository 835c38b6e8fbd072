-- p2pd nat: what this host's network lets peers do.
local cli = require "p2pd.cli"
local colour = require "p2pd.cli.colour"
local config = require "p2pd.config"
local core = require "p2pd.core"
local report = require "p2pd.netcheck.report"
local netcheck = require "p2pd.netcheck"

local parser = cli.add_network_options(cli.parser("nat",
  "Show this host's interfaces, their NATs, the servers of the settings, and which peers can be reached."))
parser:epilog "Exit status: 0 when an address is known to the outside, else 1."
parser:flag("--json", "Print one JSON object.")

local function is_known_outside(found)
  for _, route in ipairs(found.routes) do
    if route.external_known then return true end
  end
  return false
end

local COLOURS = { good = "green", fair = "yellow", poor = "red", bad = "red" }

local function paint(text)
  local verdict, rest = text:match "^([^\n]*)(.*)$"
  return colour.paint(verdict, COLOURS[verdict:match "^%a+"], 1) .. rest
end

local function main(args)
  if not os.getenv "P2PD_LOG" then core.log.level "error" end -- the report has the warnings
  local settings, reason = config.resolve(args.settings)
  local found
  if settings then
    found, reason = netcheck.run(settings, {
      interfaces = cli.node_options(args).interfaces,
      progress = function(ended, of) cli.progress(("looking around: %d of %d"):format(ended, of)) end,
    })
    cli.progress()
  end
  if not found then
    cli.say("%s", reason)
    return cli.FAILED
  end
  if args.json then
    cli.print(report.json(found))
  else
    cli.write(paint(report.text(found)))
  end
  return is_known_outside(found) and cli.OK or cli.FAILED
end

local args, status = cli.parse(parser, ...)
if not args then return status end
return cli.run(main, args)
