-- p2pd serve: a node for programs in any language, over HTTP.
local p2pd = require "p2pd"
local cli = require "p2pd.cli"
local files = require "p2pd.http.files"
local footprint = require "p2pd.cli.footprint"
local http = require "p2pd.http"
local token = require "p2pd.http.token"

local function endpoint(text)
  local ip, port = text:match "^%[([%x:.]+)%]:(%d+)$"
  if not ip then ip, port = text:match "^([%d.]+):(%d+)$" end
  port = port and cli.port(port)
  if ip and port then return { ip = ip, port = port } end
  return nil, text .. " is no IP:PORT"
end

local parser = cli.add_node_options(cli.parser("serve",
  "Run a node that programs use over HTTP: JSON at /v1, and the paths of P2PD's REST API; and a page for "
    .. "browsers. The first line printed is its URL: behind its # is the token that /v1 asks for. "
    .. "docs/http.md tells the rest."))
parser:option("--http", "Where to listen (127.0.0.1:12333; port 0: any free one)."):argname "IP:PORT"
  :convert(endpoint)
parser:option("--http-socket", "Listen on this unix socket, too (mode 0600)."):argname "PATH"
parser:option("--token-file",
  "Use the token in this file, which nobody else may read (without it: a new one, "
  .. "written to $XDG_RUNTIME_DIR/p2pd). An address that is not loopback needs it."):argname "FILE"
parser:flag("--allow-null-origin",
  "Let pages that are files use P2PD's paths, as P2PD does. Any web page can "
  .. "have such an origin for a part of itself: it could then use your connections.")
parser:option("--files",
  "The folder for files that peers send ($XDG_DATA_HOME/p2pd/files, else ~/.local/share/p2pd/files).")
  :argname "DIR"
parser:option("--take-files",
  "Whose files are taken without asking: nobody's (the default: each is offered to the programs that use the "
  .. "API), those of contacts, or anyone's."):argname "WHOSE":choices { "nobody", "contacts", "anyone" }
parser:option("--name", "A name for the node, under which its key is kept."):argname "N"
parser:flag("--force", "Run even if a node of that name runs on this machine.")
parser:option("--port", "The port that peers connect to (0: any free one)."):argname "P":convert(cli.port)
parser:flag("--no-port-mapping", "Do not ask routers to let peers in.")

local function fail(reason, hint)
  cli.say("%s%s", reason, hint or "")
  return cli.FAILED
end

-- What is wrong with the arguments together, or nil.
local function find_fault(args)
  local ip = args.http and args.http.ip
  if ip and not (ip == "::1" or ip:find "^127%.") and not args.token_file then
    return ("others can reach %s: --token-file is needed"):format(ip)
  end
end

local function options_of(args, own_token)
  local where = args.http or not args.http_socket and { ip = "127.0.0.1", port = http.PORT } or {}
  return { ip = where.ip, port = where.port, path = args.http_socket, token = own_token,
    allow_null_origin = args.allow_null_origin, files = args.files or files.default_path(),
    take_files = args.take_files }
end

-- Where the token can be read; nothing when it is the user's own file.
local function write_token(args, server)
  if args.token_file then return setmetatable({}, { __close = function() end }) end
  local path, reason, code = token.path(server.port or "socket")
  if not path then return nil, reason, code end
  return token.write(path, server.token)
end

local function main(args)
  local own_token, reason
  if args.token_file then
    own_token, reason = token.read(args.token_file)
    if not own_token then return fail(reason) end
  end
  local found = cli.node_options(args, { port_mapping = not args.no_port_mapping, background = true })
  local node <close>, why, node_code = p2pd.node(found)
  if not node then return fail(why, node_code == "EBUSY" and " (--force runs another)") end
  local server <close>, fault = http.serve(node, options_of(args, own_token))
  if not server then return fail(fault) end
  local file <close>, no_file = write_token(args, server)
  if not file then return fail(no_file) end
  cli.print(server.url and server.url .. (own_token and "" or "#" .. server.token) or args.http_socket)
  if file.path then cli.print("token: " .. file.path) end
  p2pd.spawn(footprint.keep_small, node)
  node:ready()
  cli.print("address: " .. node.address)
  p2pd.condition():wait()
end

local args, status = cli.parse(parser, ...)
if not args then return status end
local fault = find_fault(args)
if fault then
  cli.say("%s", fault)
  return cli.USAGE
end
return cli.run(main, args)
