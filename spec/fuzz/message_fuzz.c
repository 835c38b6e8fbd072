/* libFuzzer on signalling messages: what is taken has all its fields, can be sent on
 * as it is, and is refused to another node and at another time. */
#include "spec/fuzz/lua_fuzz.h"

static const char CHUNK[] =
    "local message = require 'p2pd.signal.message'\n"
    "local NOW = 1700000000\n"
    "return function(text)\n"
    "  local m, reason = message.decode(text, 'bob', NOW)\n"
    "  if not m then return assert(type(reason) == 'string', 'no reason') end\n"
    "  assert(m.to == 'bob' and m.sender.node_id == m.from, 'not what it says')\n"
    "  assert(not message.decode(text, 'eve', NOW), 'taken by another node')\n"
    "  assert(not message.decode(text, 'bob', NOW + 1000), 'taken too late')\n"
    "  m.sender = nil\n"
    "  assert(message.decode(message.encode(m), 'bob', NOW), 'not taken again')\n"
    "end\n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    lua_fuzz(CHUNK, data, size);
    return 0;
}
