--- What `p2pd serve` is told about HTTP: where, for whom, and what becomes of files.
-- @classmod p2pd.http.command
local cli = require "p2pd.cli"
local files = require "p2pd.http.files"
local guard = require "p2pd.http.guard"
local http = require "p2pd.http"
local task = require "p2pd.task"
local token = require "p2pd.http.token"

local command = {}

local Served = { __name = "p2pd.http.command" }
Served.__index = Served

local function host_name(text)
  local name = guard.host_name(text)
  if name then return name end
  return nil, text .. " is no host's name"
end

--- The options.
-- @param parser an argparse parser
-- @return the parser
function command.add_options(parser)
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
  parser:option("--take-files", "Whose files are taken without asking: nobody's (the default: each is "
    .. "offered to the programs that use the API), those of contacts, or anyone's."):argname "WHOSE"
    :choices { "nobody", "contacts", "anyone" }
  return parser
end

--- Whether the options go together.
-- @tparam table args
-- @treturn boolean true; or nil and what is wrong
function command.check(args)
  if not args.http or guard.is_loopback(args.http.ip) or args.token_file then return true end
  return nil, ("others can reach %s: --token-file is needed"):format(args.http.ip)
end

--- The user's token.
-- @tparam table args
-- @treturn ?string nil when he has none; nil, message when its file can't be used
function command.token(args)
  if args.token_file then return token.read(args.token_file) end
end

local function options_of(args, own_token)
  local where = args.http or not args.http_socket and { ip = "127.0.0.1", port = http.PORT } or {}
  return { ip = where.ip, port = where.port, path = args.http_socket, token = own_token,
    allow_null_origin = args.allow_null_origin, hosts = args.http_host,
    files = args.files or files.default_path(), take_files = args.take_files }
end

--- Serves a node. A token that is new is in a file for as long as that lasts.
-- @tparam node node
-- @tparam table args
-- @tparam ?string own_token the user's
-- @treturn served to be closed (`<close>`); or nil and the reason
function command.open(node, args, own_token)
  local server, reason = http.serve(node, options_of(args, own_token))
  if not server then return nil, reason end
  local held <close> = task.hold(server)
  local file, no_file
  if not own_token then file, no_file = token.publish(server.port or "socket", server.token) end
  if no_file then return nil, no_file end
  held:release()
  return setmetatable({ server = server, file = file, path = args.http_socket }, Served)
end

--- How it is reached: the page's URL, with a token that is new, and that token's file.
-- @treturn {string,...} lines
function Served:lines()
  local url = self.server.url
  if url and self.file then url = ("%s#%s"):format(url, self.server.token) end
  return { url or self.path, self.file and "token: " .. self.file.path }
end

--- Ends it, and takes the token's file away.
function Served:close()
  if self.file then self.file:close() end
  self.server:close()
end

Served.__close = Served.close

return command
