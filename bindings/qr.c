/***
QR codes (ISO/IEC 18004).
@module p2pd.core.qr
*/
#include "host/qr.h"

#include <errno.h>

#include "bindings/bind.h"

/***
Encodes a text at level M (a sixth of the symbol may be unreadable).
@function encode
@tparam string text 1 to 2048 bytes
@treturn integer how many modules a side has, without the quiet zone
@treturn string a byte for each module, row by row: "\1" where it is dark; or nil, message, code
(ELIBACC: libqrencode is not there; E2BIG: the text is too long; EINVAL: it is empty)
*/
static int l_encode(lua_State *L) {
    size_t len;
    const char *text = luaL_checklstring(L, 1, &len);
    unsigned char modules[QR_SIZE_MAX * QR_SIZE_MAX];
    int size = qr_encode(text, len, modules);
    if (size == -EINVAL)
        return push_failure(L, "EINVAL", "the text is empty");
    if (size == -E2BIG)
        return push_failure(L, "E2BIG", "the text is too long for a QR code");
    if (size < 0)
        return push_error(L, size, "libqrencode");
    lua_pushinteger(L, size);
    lua_pushlstring(L, (const char *)modules, (size_t)size * (size_t)size);
    return 2;
}

int bind_qr(lua_State *L) {
    static const luaL_Reg FUNCTIONS[] = {{"encode", l_encode}, {NULL, NULL}};
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
