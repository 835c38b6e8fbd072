-- p2pd serve: a node for programs in any language, over HTTP.
local p2pd = require "p2pd"
local cli = require "p2pd.cli"
local files = require "p2pd.http.files"
local footprint = require "p2pd.cli.footprint"
local guard = require "p2pd.http.guard"
local http = require "p2pd.http"
local token = require "p2pd.http.token"

local function host_name(text)
  local name = guard.host_name(text)
  if name then return name end
  return nil, text .. " is no host's name"
end

local parser = cli.add_acceptor_options(cli.add_node_options(cli.parser("serve",
  "Run a node that programs use over HTTP: JSON at /v1, and the paths of P2PD's REST API; and a page for "
  .. "browsers. The first line printed is its URL: behind its # is the token that /v1 asks for. docs/http.md "
  .. "tells the rest.")))
parser:option("--http", "Where to listen (127.0.0.1:12333; port 0: any free one)."):argname "IP:PORT"
  :convert(cli.place)
parser:option("--http-socket", "Listen on this unix socket, too (mode 0600)."):argname "PATH"
parser:option("--token-file", "Use the token in this file, which nobody else may read (without it: a new "
  .. "one, written to $XDG_RUNTIME_DIR/p2pd). An address that is not loopback needs it."):argname "FILE"
parser:option("--http-host", "Answer to this name, too: a proxy in front passes it on as Host. Every path "
  .. "then asks for the token; may be given again."):argname "NAME":count "*":convert(host_name)
parser:flag("--allow-null-origin", "Let pages that are files use P2PD's paths, as P2PD does. Any web page "
  .. "can have such an origin for a part of itself: it could then use your connections.")
parser:option("--files", "The folder for files that peers send ($XDG_DATA_HOME/p2pd/files, else "
  .. "~/.local/share/p2pd/files)."):argname "DIR"
parser:option("--take-files", "Whose files are taken without asking: nobody's (the default: each is offered "
  .. "to the programs that use the API), those of contacts, or anyone's."):argname "WHOSE"
  :choices { "nobody", "contacts", "anyone" }

local function fail(reason)
  cli.say("%s", reason)
  return cli.FAILED
end

local function options_of(args, own_token)
  local where = args.http or not args.http_socket and { ip = "127.0.0.1", port = http.PORT } or {}
  return { ip = where.ip, port = where.port, path = args.http_socket, token = own_token,
    allow_null_origin = args.allow_null_origin, hosts = args.http_host,
    files = args.files or files.default_path(), take_files = args.take_files }
end

-- The file with a token that is new; nil when the user has one.
local function publish(server, own_token)
  if own_token then return nil end
  return token.publish(server.port or "socket", server.token)
end

local function main(args)
  local own_token, no_token
  if args.token_file then own_token, no_token = token.read(args.token_file) end
  if no_token then return fail(no_token) end
  local node <close> = cli.start_node(args, { background = true })
  if not node then return cli.FAILED end
  local server <close>, reason = http.serve(node, options_of(args, own_token))
  if not server then return fail(reason) end
  local file <close>, no_file = publish(server, own_token)
  if no_file then return fail(no_file) end
  cli.print(server.url and server.url .. (own_token and "" or "#" .. server.token) or args.http_socket)
  if file then cli.print("token: " .. file.path) end
  p2pd.spawn(footprint.keep_small, node)
  node:ready()
  cli.print("address: " .. node.address)
  cli.tell_if_once(node, cli.say)
  p2pd.condition():wait()
end

local args, status = cli.parse(parser, ...)
if not args then return status end
if args.http and not guard.is_loopback(args.http.ip) and not args.token_file then
  cli.say("others can reach %s: --token-file is needed", args.http.ip)
  return cli.USAGE
end
return cli.run(main, args)
