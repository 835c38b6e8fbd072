/* libFuzzer on peer addresses: what parses is written as it was read, and what does
 * not is refused with a reason. */
#include "spec/fuzz/lua_fuzz.h"

static const char CHUNK[] =
    "local address = require 'p2pd.address'\n"
    "return function(text)\n"
    "  local parsed, reason = address.parse(text)\n"
    "  if parsed then\n"
    "    assert(address.format(parsed) == text, 'another spelling')\n"
    "    assert(#parsed.ipv4 <= 3 and #parsed.ipv6 <= 3, 'too many records')\n"
    "  else\n"
    "    assert(type(reason) == 'string' and not reason:find '[%c\\x80-\\xff]', 'no printable "
    "reason')\n"
    "  end\n"
    "end\n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    lua_fuzz(CHUNK, data, size);
    return 0;
}
