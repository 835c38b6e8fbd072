-- p2pd serve: a node for programs in any language, over HTTP.
local p2pd = require "p2pd"
local cli = require "p2pd.cli"
local footprint = require "p2pd.cli.footprint"
local command = require "p2pd.http.command"

local parser = command.add_options(cli.add_acceptor_options(cli.add_node_options(cli.parser("serve",
  "Run a node that programs use over HTTP: JSON at /v1, and the paths of P2PD's REST API; and a page for "
  .. "browsers. The first line printed is its URL: behind its # is the token that /v1 asks for. docs/http.md "
  .. "tells the rest."))))

local function fail(reason)
  cli.say("%s", reason)
  return cli.FAILED
end

local function main(args)
  local token, no_token = command.token(args)
  if no_token then return fail(no_token) end
  local node <close> = cli.start_node(args, { background = true })
  if not node then return cli.FAILED end
  local served <close>, reason = command.open(node, args, token)
  if not served then return fail(reason) end
  for _, line in ipairs(served:lines()) do cli.print(line) end
  p2pd.spawn(footprint.keep_small, node)
  node:ready()
  cli.print("address: " .. node.address)
  cli.tell_if_once(node, cli.say)
  p2pd.condition():wait()
end

local args, status = cli.parse(parser, ...)
if not args then return status end
local ok, fault = command.check(args)
if ok then return cli.run(main, args) end
cli.say("%s", fault)
return cli.USAGE
