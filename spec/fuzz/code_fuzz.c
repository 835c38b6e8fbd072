/* libFuzzer on codes: what is said at their topic, by both sides' machines, and what
 * people type. */
#include "spec/fuzz/lua_fuzz.h"

static const char CHUNK[] =
    "local attempt = require 'p2pd.code.attempt'\n"
    "local message = require 'p2pd.code.message'\n"
    "local offer = require 'p2pd.code.offer'\n"
    "local text = require 'p2pd.code.text'\n"
    "local CODE, ID = '4-amber-canoe-violin', ('o'):rep(8)\n"
    "local function address() return '0-0-0-x' end\n"
    "local function check_message(bytes)\n"
    "  local m, reason = message.decode(bytes)\n"
    "  assert(m or type(reason) == 'string', 'no reason')\n"
    "  assert(not m or message.encode(m) == bytes, 'not as it was')\n"
    "end\n"
    "local function check_offer(bytes)\n"
    "  local side = assert(offer.new { code = CODE, id = ID, address = address, settings = {} })\n"
    "  local answer = side:take(bytes, 0)\n"
    "  assert(not answer or message.decode(answer), 'no message')\n"
    "  assert(not select(2, side:result()), 'taken without the code')\n"
    "end\n"
    "local function check_attempt(bytes)\n"
    "  local side = attempt.new { code = CODE, address = address, settings = {} }\n"
    "  side.id = ('t'):rep(8)\n"
    "  for _ = 1, 2 do\n"
    "    side:take(bytes)\n"
    "    local sent = side:try()\n"
    "    assert(not sent or message.decode(sent), 'no message')\n"
    "  end\n"
    "  assert(not select(2, side:result()), 'taken without the code')\n"
    "end\n"
    "local function check_text(given)\n"
    "  local code, number, errcode = text.parse(given)\n"
    "  if not code then return assert(errcode == 'EINVAL' and not number:find '%c') end\n"
    "  assert(text.parse(code) == code and text.is_code(code), 'not read again')\n"
    "end\n"
    "return function(bytes)\n"
    "  check_message(bytes)\n"
    "  check_offer(bytes)\n"
    "  check_attempt(bytes)\n"
    "  check_text(bytes)\n"
    "end\n";

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    lua_fuzz(CHUNK, data, size);
    return 0;
}
