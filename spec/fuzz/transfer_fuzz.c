/* libFuzzer on what the two sides of a transfer tell each other: frames' bodies, and
 * the paths and links in them. */
#include "spec/fuzz/lua_fuzz.h"

static const char CHUNK[] =
    "local format = require 'p2pd.transfer.format'\n"
    "local names = require 'p2pd.transfer.names'\n"
    "local function check_frame(kind, body)\n"
    "  local fields, reason = format.unpack(kind, body)\n"
    "  if not fields then return assert(type(reason) == 'string', 'no reason') end\n"
    "  assert(format.pack(kind, fields) == body, 'not as it was')\n"
    "end\n"
    "local function check_path(path)\n"
    "  local safe, reason = names.make_safe(path)\n"
    "  if not safe then return assert(type(reason) == 'string', 'no reason') end\n"
    "  assert(names.make_safe(safe) == safe, 'not safe when it is looked at again')\n"
    "  for part in (safe .. '/'):gmatch '([^/]*)/' do\n"
    "    assert(part ~= '' and part ~= '.' and part ~= '..' and not part:find '%c', 'not safe')\n"
    "  end\n"
    "  assert(#names.split(names.part_of(safe)) <= 255, 'a name too long')\n"
    "end\n"
    "local function check_link(path, target)\n"
    "  if not names.stays_within(path, target) then return end\n"
    "  local _, folders = path:gsub('/', '')\n"
    "  for part in (target .. '/'):gmatch '([^/]*)/' do\n"
    "    if part == '..' then folders = folders - 1 end\n"
    "    assert(folders >= 1, 'it leads out')\n"
    "  end\n"
    "end\n"
    "return function(bytes)\n"
    "  check_frame(bytes:sub(1, 1), bytes:sub(2))\n"
    "  check_path(bytes)\n"
    "  check_link(bytes:match '^([^\\0]*)%z?(.*)$')\n"
    "end\n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    lua_fuzz(CHUNK, data, size);
    return 0;
}
