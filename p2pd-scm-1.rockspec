rockspec_format = "3.0"
package = "p2pd"
version = "scm-1"
source = { url = "git+file://." }
description = {
  summary = "A scriptable peer-to-peer host: nodes, signalling, NAT traversal and pipes for Lua",
  detailed = [[
    Two programs that know each other's address string connect to each other, whatever routers lie
    between them. `require "p2pd"` gives the API to plain Lua; `p2pd` is the command.]],
  license = "MIT",
}
supported_platforms = { "linux" }
-- Lua alone: argparse and dkjson come as Debian packages, like the C libraries; the build names what is missing.
dependencies = { "lua >= 5.4, < 5.5" }
build = {
  type = "make",
  build_target = "all",
  build_variables = { CFLAGS = "$(CFLAGS)", LUA_INCDIR = "$(LUA_INCDIR)", DEPS = "check" },
  install_variables = {
    CFLAGS = "$(CFLAGS)",
    LUA_INCDIR = "$(LUA_INCDIR)",
    DEPS = "check",
    PREFIX = "$(PREFIX)",
    BINDIR = "$(BINDIR)",
    LIBDIR = "$(LIBDIR)",
    LUADIR = "$(LUADIR)",
  },
}
deploy = { wrap_bin_scripts = false }
