/*
 * STUN messages as tables and back.
 *
 * FIELDS is the whole translation: a name in the table, the attribute it stands for, and how its
 * value looks in Lua. Attributes without a name here are still seen in `attributes`.
 */
/***
@submodule p2pd.core.stun
*/
#include "bindings/stun_message.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "bindings/bind.h"
#include "host/bytes.h"

#define LIST_MAX 64

static const char *const CLASSES[] = {"request", "indication", "success", "error", NULL};

enum kind {
    ADDRESS,
    TEXT,
    ERROR,
    CHANGE,
    PORT,
    NUMBER,
    BYTE,
    LENGTH,
    TYPES,
    ALGORITHM,
    ALGORITHMS
};

static const struct field {
    const char *name;
    uint16_t type, classic; /* the attribute, and what RFC 3489 had instead (0: nothing) */
    enum kind kind;
} FIELDS[] = {
    {"software", STUN_SOFTWARE, 0, TEXT},
    {"error", STUN_ERROR_CODE, 0, ERROR},
    {"unknown_attributes", STUN_UNKNOWN_ATTRIBUTES, 0, TYPES},
    {"mapped", STUN_XOR_MAPPED_ADDRESS, STUN_MAPPED_ADDRESS, ADDRESS},
    {"plain_mapped", STUN_MAPPED_ADDRESS, 0, ADDRESS},
    {"origin", STUN_RESPONSE_ORIGIN, STUN_SOURCE_ADDRESS, ADDRESS},
    {"other", STUN_OTHER_ADDRESS, STUN_CHANGED_ADDRESS, ADDRESS},
    {"alternate_server", STUN_ALTERNATE_SERVER, 0, ADDRESS},
    {"change", STUN_CHANGE_REQUEST, 0, CHANGE},
    {"response_port", STUN_RESPONSE_PORT, 0, PORT},
    {"padding", STUN_PADDING, 0, LENGTH},
    {"channel", STUN_CHANNEL_NUMBER, 0, PORT},
    {"lifetime", STUN_LIFETIME, 0, NUMBER},
    {"peer", STUN_XOR_PEER_ADDRESS, 0, ADDRESS},
    {"relayed", STUN_XOR_RELAYED_ADDRESS, 0, ADDRESS},
    {"data", STUN_DATA, 0, TEXT},
    {"requested_family", STUN_REQUESTED_ADDRESS_FAMILY, 0, BYTE},
    {"additional_family", STUN_ADDITIONAL_ADDRESS_FAMILY, 0, BYTE},
    {"requested_transport", STUN_REQUESTED_TRANSPORT, 0, BYTE},
    {"connection", STUN_CONNECTION_ID, 0, NUMBER},
    {"username", STUN_USERNAME, 0, TEXT},
    {"userhash", STUN_USERHASH, 0, TEXT},
    {"nonce", STUN_NONCE, 0, TEXT},
    {"realm", STUN_REALM, 0, TEXT},
    {"password_algorithms", STUN_PASSWORD_ALGORITHMS, 0, ALGORITHMS},
    {"password_algorithm", STUN_PASSWORD_ALGORITHM, 0, ALGORITHM},
};

#define FIELD_COUNT (sizeof FIELDS / sizeof *FIELDS)

static uint8_t scratch[STUN_MESSAGE_MAX]; /* what is being encoded */

/* -- Lua to bytes -------------------------------------------------------------------------- */

static int bad_field(lua_State *L, const char *name, const char *expected) {
    return luaL_error(L, "field '%s': %s expected, got %s", name, expected, luaL_typename(L, -1));
}

static void check_table(lua_State *L, const char *name) {
    if (!lua_istable(L, -1))
        bad_field(L, name, "table");
}

static lua_Integer check_range(lua_State *L, const char *name, lua_Integer min, lua_Integer max) {
    int ok;
    lua_Integer value = lua_tointegerx(L, -1, &ok);
    if (!ok || value < min || value > max)
        luaL_error(L, "field '%s': an integer from %I to %I expected, got %s", name,
                   (LUAI_UACINT)min, (LUAI_UACINT)max, luaL_tolstring(L, -1, NULL));
    return value;
}

static void put_address(lua_State *L, struct stun_writer *w, const char *name, uint16_t type) {
    check_table(L, name);
    struct inet_addr addr;
    const char *ip = opt_string(L, lua_gettop(L), "ip", "");
    int port = opt_port(L, lua_gettop(L), "port", 0);
    if (inet_parse(&addr, ip, port) < 0)
        luaL_error(L, "field '%s': '%s' is not an IP address", name, ip);
    stun_put_address(w, type, &addr);
}

static void put_error(lua_State *L, struct stun_writer *w) {
    check_table(L, "error");
    const char *reason = opt_string(L, lua_gettop(L), "reason", "");
    lua_getfield(L, -1, "code");
    stun_put_error(w, (int)check_range(L, "error.code", 300, 699), reason, strlen(reason));
    lua_pop(L, 1);
}

static void put_change(lua_State *L, struct stun_writer *w) {
    check_table(L, "change");
    int t = lua_gettop(L);
    stun_put_u32(w, STUN_CHANGE_REQUEST,
                 (opt_boolean(L, t, "ip", false) ? STUN_CHANGE_IP : 0u) |
                     (opt_boolean(L, t, "port", false) ? STUN_CHANGE_PORT : 0u));
}

static void put_text(lua_State *L, struct stun_writer *w, const struct field *field) {
    size_t len;
    if (lua_type(L, -1) != LUA_TSTRING)
        bad_field(L, field->name, "string");
    const char *text = lua_tolstring(L, -1, &len);
    stun_put(w, field->type, text, len);
}

static void put_padding(lua_State *L, struct stun_writer *w) {
    static const uint8_t ZEROS[UINT16_MAX];
    stun_put(w, STUN_PADDING, ZEROS, (size_t)check_range(L, "padding", 0, UINT16_MAX));
}

/* A list of 16-bit numbers, each in a slot of `step` bytes. */
static void put_list(lua_State *L, struct stun_writer *w, const struct field *field, size_t step) {
    uint8_t value[LIST_MAX * 4] = {0};
    check_table(L, field->name);
    lua_Integer count = luaL_len(L, -1);
    if (count > LIST_MAX)
        luaL_error(L, "field '%s': %I entries, not 0 to %d", field->name, (LUAI_UACINT)count,
                   LIST_MAX);
    for (lua_Integer i = 0; i < count; i++) {
        lua_geti(L, -1, i + 1);
        lua_Integer entry = check_range(L, field->name, 0, UINT16_MAX);
        bytes_put16(value + (size_t)i * step, (unsigned)entry);
        lua_pop(L, 1);
    }
    stun_put(w, field->type, value, (size_t)count * step);
}

/* The value is on the top of the stack. */
static void put_field(lua_State *L, struct stun_writer *w, const struct field *field,
                      bool classic) {
    uint16_t type = classic && field->classic ? field->classic : field->type;
    switch (field->kind) {
    case ADDRESS:
        return put_address(L, w, field->name, type);
    case TEXT:
        return put_text(L, w, field);
    case ERROR:
        return put_error(L, w);
    case CHANGE:
        return put_change(L, w);
    case PORT:
        return stun_put_u32(w, type, (uint32_t)check_range(L, field->name, 1, UINT16_MAX) << 16);
    case NUMBER:
        return stun_put_u32(w, type, (uint32_t)check_range(L, field->name, 0, UINT32_MAX));
    case BYTE:
        return stun_put_u32(w, type, (uint32_t)check_range(L, field->name, 0, UINT8_MAX) << 24);
    case LENGTH:
        return put_padding(L, w);
    case TYPES:
        return put_list(L, w, field, 2);
    case ALGORITHM:
        return stun_put_u32(w, type, (uint32_t)check_range(L, field->name, 0, UINT16_MAX) << 16);
    case ALGORITHMS:
        return put_list(L, w, field, 4);
    }
}

static uint16_t check_method(lua_State *L) {
    uint16_t method = STUN_BINDING;
    if (lua_getfield(L, 1, "method") == LUA_TNUMBER)
        method = (uint16_t)check_range(L, "method", 0, 0xfff);
    else if (!lua_isnil(L, -1) && strcmp(luaL_tolstring(L, -1, NULL), "binding") != 0)
        luaL_error(L, "field 'method': \"binding\" or a number expected, got '%s'",
                   lua_tostring(L, -1));
    lua_settop(L, 1);
    return method;
}

static enum stun_class check_class(lua_State *L) {
    const char *name = opt_string(L, 1, "class", CLASSES[STUN_REQUEST]);
    for (int i = 0; CLASSES[i]; i++)
        if (strcmp(CLASSES[i], name) == 0)
            return (enum stun_class)i;
    return (enum stun_class)luaL_error(L, "field 'class': no class is called '%s'", name);
}

int stun_random_bits(uint8_t bits[STUN_ID_BITS]) {
    return getrandom(bits, STUN_ID_BITS, 0) == STUN_ID_BITS ? 0 : -EIO;
}

/* 12 bytes, or 16 for a message of RFC 3489; random when there is none. */
static void check_id(lua_State *L, uint8_t id[STUN_ID_SIZE]) {
    uint8_t bits[STUN_ID_BITS];
    size_t len = 0;
    if (lua_getfield(L, 1, "id") == LUA_TNIL) {
        if (stun_random_bits(bits) < 0)
            luaL_error(L, "getrandom failed");
        stun_make_id(id, bits);
    } else {
        if (lua_type(L, -1) == LUA_TSTRING)
            lua_tolstring(L, -1, &len);
        if (len == STUN_ID_BITS)
            stun_make_id(id, (const uint8_t *)lua_tostring(L, -1));
        else if (len == STUN_ID_SIZE)
            memcpy(id, lua_tostring(L, -1), STUN_ID_SIZE);
        else
            bad_field(L, "id", "string of 12 bytes (or 16, RFC 3489)");
    }
    lua_pop(L, 1);
}

static bool is_classic(const uint8_t id[STUN_ID_SIZE]) {
    uint8_t modern[STUN_ID_SIZE];
    stun_make_id(modern, id + 4);
    return memcmp(modern, id, STUN_ID_SIZE) != 0;
}

static void push_id(lua_State *L, const uint8_t id[STUN_ID_SIZE]) {
    size_t skip = is_classic(id) ? 0 : STUN_ID_SIZE - STUN_ID_BITS;
    lua_pushlstring(L, (const char *)id + skip, STUN_ID_SIZE - skip);
}

static void put_proof(lua_State *L, struct stun_writer *w) {
    size_t len;
    const char *key = NULL;
    if (opt_string(L, 1, "key", NULL)) {
        lua_getfield(L, 1, "key");
        key = lua_tolstring(L, -1, &len);
    }
    if (key && opt_boolean(L, 1, "sha256", false))
        stun_put_integrity_sha256(w, key, len);
    else if (key)
        stun_put_integrity(w, key, len);
    if (opt_boolean(L, 1, "fingerprint", false))
        stun_put_fingerprint(w);
}

/***
Encodes a message. What comes out is decoded again, so that no table makes a bad message.
@function encode
@tparam table message class ("request"), method ("binding" or a number), id, the attributes by name,
key, sha256 and fingerprint
@treturn string the message; or nil, message, code
@treturn string its id
*/
int stun_l_encode(lua_State *L) {
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    struct stun_writer w;
    uint8_t id[STUN_ID_SIZE];
    check_id(L, id);
    enum stun_class class = check_class(L);
    stun_begin(&w, scratch, sizeof scratch, class, check_method(L), id);
    for (size_t i = 0; i < FIELD_COUNT; i++) {
        if (lua_getfield(L, 1, FIELDS[i].name) != LUA_TNIL)
            put_field(L, &w, &FIELDS[i], is_classic(id));
        lua_settop(L, 1);
    }
    put_proof(L, &w);
    ssize_t len = stun_finish(&w);
    if (len == -EIO)
        return push_error(L, (int)len, "encode");
    struct stun_message m;
    if (len < 0)
        return luaL_error(L, "the message does not fit 65552 bytes");
    if (stun_decode(&m, scratch, (size_t)len) < 0)
        return luaL_error(L, "%s", m.reason);
    lua_pushlstring(L, (const char *)scratch, (size_t)len);
    push_id(L, id);
    return 2;
}

/* -- bytes to Lua -------------------------------------------------------------------------- */

static void push_address(lua_State *L, const struct inet_addr *addr) {
    char text[INET_TEXT_MAX];
    lua_createtable(L, 0, 2);
    set_string(L, "ip", inet_ip(addr, text));
    set_integer(L, "port", inet_port(addr));
}

static void push_error_code(lua_State *L, const struct stun_message *m) {
    int code = 0;
    const char *reason = "";
    size_t len = 0;
    stun_get_error(m, &code, &reason, &len);
    lua_createtable(L, 0, 2);
    set_integer(L, "code", code);
    lua_pushlstring(L, reason, len);
    lua_setfield(L, -2, "reason");
}

static void push_change(lua_State *L, unsigned flags) {
    lua_createtable(L, 0, 2);
    set_boolean(L, "ip", flags & STUN_CHANGE_IP);
    set_boolean(L, "port", flags & STUN_CHANGE_PORT);
}

/* The 16-bit numbers at every second byte; with parameters, each tells how far the next one is. */
static void push_list(lua_State *L, const struct stun_attribute *a, bool parameters) {
    lua_newtable(L);
    lua_Integer count = 0;
    for (size_t at = 0, step = 2; at + 2 <= a->len; at += step) {
        lua_pushinteger(L, bytes_get16(a->value + at));
        lua_seti(L, -2, ++count);
        if (parameters)
            step = 4 + (((size_t)bytes_get16(a->value + at + 2) + 3) & ~(size_t)3);
    }
}

/* False, and nothing pushed, when the message has no such attribute. */
static bool push_value(lua_State *L, const struct stun_message *m, enum kind kind, uint16_t type) {
    struct stun_attribute a;
    struct inet_addr addr;
    uint32_t number = 0;
    if (!type || !stun_find(m, type, &a))
        return false;
    switch (kind) {
    case ADDRESS:
        stun_get_address(m, type, &addr);
        push_address(L, &addr);
        break;
    case TEXT:
        lua_pushlstring(L, (const char *)a.value, a.len);
        break;
    case ERROR:
        push_error_code(L, m);
        break;
    case CHANGE:
        push_change(L, a.value[3]);
        break;
    case PORT:
    case ALGORITHM:
        lua_pushinteger(L, bytes_get16(a.value));
        break;
    case NUMBER:
        stun_get_u32(m, type, &number);
        lua_pushinteger(L, number);
        break;
    case BYTE:
        lua_pushinteger(L, a.value[0]);
        break;
    case LENGTH:
        lua_pushinteger(L, a.len);
        break;
    case TYPES:
    case ALGORITHMS:
        push_list(L, &a, kind == ALGORITHMS);
        break;
    }
    return true;
}

static void push_attributes(lua_State *L, const struct stun_message *m) {
    struct stun_attribute a = {0};
    lua_newtable(L);
    for (lua_Integer i = 1; stun_next(m, &a); i++) {
        lua_createtable(L, 0, 3);
        set_integer(L, "type", a.type);
        set_string(L, "name", stun_type_name(a.type));
        lua_pushlstring(L, (const char *)a.value, a.len);
        lua_setfield(L, -2, "value");
        lua_seti(L, -2, i);
    }
}

static void push_unknown(lua_State *L, const struct stun_message *m) {
    lua_createtable(L, (int)m->unknown_count, 0);
    for (size_t i = 0; i < m->unknown_count; i++) {
        lua_pushinteger(L, m->unknown[i]);
        lua_seti(L, -2, (lua_Integer)i + 1);
    }
}

/* true, false, or (the message has none, or could not be checked) no field. */
static void set_check(lua_State *L, const char *name, int result) {
    if (result < 0)
        return;
    set_boolean(L, name, result);
}

void push_stun_message(lua_State *L, const struct stun_message *m, struct stun_text key) {
    lua_newtable(L);
    set_string(L, "class", CLASSES[m->class]);
    if (m->method == STUN_BINDING)
        set_string(L, "method", "binding");
    else
        set_integer(L, "method", m->method);
    push_id(L, m->id);
    lua_setfield(L, -2, "id");
    set_boolean(L, "classic", m->classic);
    for (size_t i = 0; i < FIELD_COUNT; i++)
        if (push_value(L, m, FIELDS[i].kind, FIELDS[i].type) ||
            push_value(L, m, FIELDS[i].kind, FIELDS[i].classic))
            lua_setfield(L, -2, FIELDS[i].name);
    push_attributes(L, m);
    lua_setfield(L, -2, "attributes");
    push_unknown(L, m);
    lua_setfield(L, -2, "unknown");
    set_check(L, "integrity", key.data ? stun_check_integrity(m, key.data, key.len) : -1);
    set_check(L, "fingerprint", stun_check_fingerprint(m));
}

int push_stun_refusal(lua_State *L, int err, const struct stun_message *m) {
    return push_failure(L, err == -EMSGSIZE ? "EMSGSIZE" : "EBADMSG", "STUN: %s", m->reason);
}

/***
Decodes a message.
@function decode
@tparam string bytes
@tparam[opt] string key checks the integrity
@treturn table class, method, id, classic, the attributes by name, `attributes` (all, in order),
`unknown`, integrity and fingerprint (whether they are right); or nil, message, code: EMSGSIZE,
EBADMSG
*/
int stun_l_decode(lua_State *L) {
    size_t len;
    const char *data = luaL_checklstring(L, 1, &len);
    struct stun_text key = {0};
    key.data = luaL_optlstring(L, 2, NULL, &key.len);
    struct stun_message m;
    int err = stun_decode(&m, data, len);
    if (err)
        return push_stun_refusal(L, err, &m);
    push_stun_message(L, &m, key);
    return 1;
}
