/***
Node keys, the files they live in, and what is sealed with them.
@module p2pd.core.keys
*/
#include "bindings/keys.h"

#include <errno.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

#include "bindings/bind.h"
#include "host/keys/envelope.h"
#include "host/keys/keyfile.h"

#define KEY_CLASS "p2pd.key"

struct key {
    struct keys *keys; /* NULL once closed */
};

/***
Forgets the key. It can be called twice.
@function key:close
*/
static int m_close(lua_State *L) {
    struct key *self = luaL_checkudata(L, 1, KEY_CLASS);
    keys_free(self->keys);
    self->keys = NULL;
    return 0;
}

struct keys *check_keys(lua_State *L, int arg) {
    struct key *self = luaL_checkudata(L, arg, KEY_CLASS);
    luaL_argcheck(L, self->keys, arg, "the key is closed");
    return self->keys;
}

static struct key *new_key(lua_State *L) {
    return bind_new(L, KEY_CLASS, sizeof(struct key));
}

static struct hpke_text check_text(lua_State *L, int arg) {
    struct hpke_text text;
    text.data = luaL_checklstring(L, arg, &text.len);
    return text;
}

static const uint8_t *check_bytes(lua_State *L, int arg, size_t size, const char *what) {
    struct hpke_text text = check_text(L, arg);
    luaL_argcheck(L, text.len == size, arg, what);
    return text.data;
}

/* A path is text without NUL, or the file would be another one. */
static const char *check_path(lua_State *L, int arg) {
    struct hpke_text text = check_text(L, arg);
    luaL_argcheck(L, text.len > 0 && !memchr(text.data, 0, text.len), arg, "a path expected");
    return text.data;
}

/* -- making and keeping -------------------------------------------------------------------- */

/***
A new key.
@function generate
@treturn p2pd.key the key; or nil, message, code
*/
static int l_generate(lua_State *L) {
    struct key *self = new_key(L);
    self->keys = keys_generate();
    return self->keys ? 1 : push_failure(L, "EIO", "no key could be made: OpenSSL failed");
}

/***
The key of a seed (RFC 8032).
@function from_seed
@tparam string seed 32 bytes
@treturn p2pd.key the key; or nil, message, code
*/
static int l_from_seed(lua_State *L) {
    const uint8_t *seed = check_bytes(L, 1, KEYS_SEED, "a seed of 32 bytes expected");
    struct key *self = new_key(L);
    self->keys = keys_from_seed(seed);
    return self->keys ? 1 : push_failure(L, "EIO", "no key could be made: OpenSSL failed");
}

static int push_file_error(lua_State *L, int error, const char *path, const char *reason) {
    if (reason)
        return push_failure(L, strerrorname_np(-error), "key file %s: %s", path, reason);
    return push_error(L, error, "key file %s", path);
}

/***
Reads a key file.
@function load
@tparam string path
@treturn p2pd.key the key; or nil, message, code
*/
static int l_load(lua_State *L) {
    const char *path = check_path(L, 1), *reason;
    struct key *self = new_key(L);
    int error = keyfile_load(path, &self->keys, &reason);
    return error ? push_file_error(L, error, path, reason) : 1;
}

/***
Writes a key file that only its owner can read.
@function key:save
@tparam string path
@return true; or nil, message, code: EEXIST: there is a file, which stays as it is; EACCES, EPERM:
for the folder as @{load} has it
*/
static int m_save(lua_State *L) {
    const struct keys *keys = check_keys(L, 1);
    const char *path = check_path(L, 2), *reason;
    int error = keyfile_save(path, keys, &reason);
    if (error)
        return push_file_error(L, error, path, reason);
    lua_pushboolean(L, 1);
    return 1;
}

/***
Makes the folders that lead to a file, with mode 0700.
@function make_folders
@tparam string path of the file
@return true; or nil, message, code
*/
static int l_make_folders(lua_State *L) {
    const char *path = check_path(L, 1);
    int error = keyfile_make_folders(path);
    if (error)
        return push_error(L, error, "make the folders of %s", path);
    lua_pushboolean(L, 1);
    return 1;
}

/* -- ids ----------------------------------------------------------------------------------- */

/***
Whether a text is the id of a key.
@function is_id
@tparam string text
@treturn boolean
*/
static int l_is_id(lua_State *L) {
    uint8_t public[KEYS_PUBLIC];
    size_t len;
    const char *id = lua_type(L, 1) == LUA_TSTRING ? lua_tolstring(L, 1, &len) : NULL;
    lua_pushboolean(L, id && keys_parse_id(id, len, public) == 0);
    return 1;
}

/***
The node id: the base58 text of the public key.
@function key:id
@treturn string
*/
static int m_id(lua_State *L) {
    char id[KEYS_ID_MAX];
    lua_pushstring(L, keys_id(keys_public(check_keys(L, 1)), id));
    return 1;
}

/***
The public key.
@function key:public
@treturn string 32 bytes
*/
static int m_public(lua_State *L) {
    lua_pushlstring(L, (const char *)keys_public(check_keys(L, 1)), KEYS_PUBLIC);
    return 1;
}

static int m_tostring(lua_State *L) {
    const struct key *self = luaL_checkudata(L, 1, KEY_CLASS);
    char id[KEYS_ID_MAX];
    lua_pushfstring(L, KEY_CLASS " (%s)",
                    self->keys ? keys_id(keys_public(self->keys), id) : "closed");
    return 1;
}

/* -- sealing ------------------------------------------------------------------------------- */

static int push_unsealed(lua_State *L, int error) {
    if (error == -EBADMSG)
        return push_failure(L, "EBADMSG", "not sealed by that node for this one, or altered");
    return push_error(L, error, "open");
}

static int parse_peer(lua_State *L, int arg, uint8_t public[KEYS_PUBLIC]) {
    struct hpke_text id = check_text(L, arg);
    return keys_parse_id(id.data, id.len, public);
}

static int push_bad_id(lua_State *L) {
    return push_failure(L, "EINVAL", "not the id of a node key");
}

static struct hpke_text check_info(lua_State *L, int arg) {
    struct hpke_text info = check_text(L, arg);
    luaL_argcheck(L, info.len <= ENVELOPE_INFO_MAX, arg, "longer than 256 bytes");
    return info;
}

static struct hpke_text check_plain(lua_State *L, int arg) {
    struct hpke_text plain = check_text(L, arg);
    luaL_argcheck(L, plain.len <= HPKE_PLAIN_MAX, arg, "longer than 1 MiB");
    return plain;
}

typedef int seal_function(const struct keys *from, const uint8_t to[KEYS_PUBLIC],
                          struct hpke_text info, struct hpke_text aad, struct hpke_text plain,
                          uint8_t *sealed);

/* seal(key, to, info, aad, plaintext) by that function, which adds so many bytes. */
static int seal(lua_State *L, seal_function *function, size_t overhead) {
    const struct keys *keys = check_keys(L, 1);
    uint8_t to[KEYS_PUBLIC];
    int error = parse_peer(L, 2, to);
    struct hpke_text info = check_info(L, 3), aad = check_plain(L, 4), plain = check_plain(L, 5);
    luaL_Buffer buffer;
    if (error)
        return push_bad_id(L);
    size_t len = plain.len + overhead;
    uint8_t *sealed = (uint8_t *)luaL_buffinitsize(L, &buffer, len);
    error = function(keys, to, info, aad, plain, sealed);
    luaL_pushresultsize(&buffer, error ? 0 : len);
    return error ? push_error(L, error, "seal") : 1;
}

/***
Seals a text for one node; it shows who has sealed it (HPKE, mode_auth).
@function key:seal
@tparam string to the id of the node that can open it
@tparam string info at most 256 bytes: what it is for
@tparam string aad what goes with it in the clear
@tparam string plaintext at most 1 MiB
@treturn string enc and ciphertext; or nil, message, code
*/
static int m_seal(lua_State *L) {
    return seal(L, envelope_seal, HPKE_OVERHEAD);
}

/***
Opens what @{key:seal} has made.
@function key:open
@tparam string from the id of the node that has sealed it
@tparam string info
@tparam string aad
@tparam string sealed
@treturn string the plaintext; or nil, message, code: EBADMSG: forged or altered
*/
static int m_open(lua_State *L) {
    const struct keys *keys = check_keys(L, 1);
    uint8_t from[KEYS_PUBLIC];
    int error = parse_peer(L, 2, from);
    struct hpke_text info = check_info(L, 3), aad = check_text(L, 4), sealed = check_text(L, 5);
    luaL_Buffer buffer;
    if (error)
        return push_bad_id(L);
    if (sealed.len < HPKE_OVERHEAD)
        return push_unsealed(L, -EBADMSG);
    uint8_t *plain = (uint8_t *)luaL_buffinitsize(L, &buffer, sealed.len - HPKE_OVERHEAD);
    error = envelope_open(keys, from, info, aad, sealed, plain);
    luaL_pushresultsize(&buffer, error ? 0 : sealed.len - HPKE_OVERHEAD);
    return error ? push_unsealed(L, error) : 1;
}

/***
Seals a text so that only the receiver learns by whom.
@function key:seal_hidden
@tparam string to the id of the node that can open it
@tparam string info at most 256 bytes
@tparam string aad
@tparam string plaintext at most 1 MiB
@treturn string sealed; or nil, message, code
*/
static int m_seal_hidden(lua_State *L) {
    return seal(L, envelope_seal_hidden, ENVELOPE_HIDDEN_OVERHEAD);
}

/***
Opens what @{key:seal_hidden} has made.
@function key:open_hidden
@tparam string info
@tparam string aad
@tparam string sealed
@treturn string the plaintext; or nil, message, code: EBADMSG: forged or altered
@treturn string the id of the node that has sealed it
*/
static int m_open_hidden(lua_State *L) {
    const struct keys *keys = check_keys(L, 1);
    struct hpke_text info = check_info(L, 2), aad = check_text(L, 3), sealed = check_text(L, 4);
    uint8_t from[KEYS_PUBLIC];
    char id[KEYS_ID_MAX];
    luaL_Buffer buffer;
    if (sealed.len < ENVELOPE_HIDDEN_OVERHEAD)
        return push_unsealed(L, -EBADMSG);
    size_t len = sealed.len - ENVELOPE_HIDDEN_OVERHEAD;
    uint8_t *plain = (uint8_t *)luaL_buffinitsize(L, &buffer, len);
    int error = envelope_open_hidden(keys, info, aad, sealed, plain, from);
    luaL_pushresultsize(&buffer, error ? 0 : len);
    if (error)
        return push_unsealed(L, error);
    lua_pushstring(L, keys_id(from, id));
    return 2;
}

/* -- HPKE with bare X25519 keys, for the published vectors --------------------------------- */

static EVP_PKEY *private_key(const uint8_t *bytes) {
    return bytes ? EVP_PKEY_new_raw_private_key_ex(NULL, "X25519", NULL, bytes, HPKE_KEY) : NULL;
}

static const uint8_t *opt_key(lua_State *L, int arg) {
    return lua_isnoneornil(L, arg) ? NULL : check_bytes(L, arg, HPKE_KEY, "32 bytes expected");
}

static const uint8_t *check_key(lua_State *L, int arg) {
    return check_bytes(L, arg, HPKE_KEY, "32 bytes expected");
}

/***
HPKE with plain X25519 keys, for the published vectors.
@function hpke_seal
@tparam string ephemeral a private key
@tparam ?string sender a private key; nil: mode_base
@tparam string receiver a public key
@tparam string info
@tparam string aad
@tparam string plaintext
@treturn string sealed; or nil, message, code
*/
static int l_hpke_seal(lua_State *L) {
    const uint8_t *ephemeral = check_key(L, 1), *sender = opt_key(L, 2);
    const uint8_t *receiver = check_key(L, 3);
    struct hpke_text info = check_text(L, 4), aad = check_text(L, 5), plain = check_plain(L, 6);
    luaL_Buffer buffer;
    uint8_t *sealed = (uint8_t *)luaL_buffinitsize(L, &buffer, plain.len + HPKE_OVERHEAD);
    EVP_PKEY *e = private_key(ephemeral), *s = private_key(sender);
    int error =
        e && (s || !sender) ? hpke_seal_with(e, s, receiver, info, aad, plain, sealed) : -EIO;
    EVP_PKEY_free(e);
    EVP_PKEY_free(s);
    luaL_pushresultsize(&buffer, error ? 0 : plain.len + HPKE_OVERHEAD);
    return error ? push_error(L, error, "seal") : 1;
}

/***
The other direction.
@function hpke_open
@tparam string receiver a private key
@tparam ?string sender a public key; nil: mode_base
@tparam string info
@tparam string aad
@tparam string sealed
@treturn string the plaintext; or nil, message, code
*/
static int l_hpke_open(lua_State *L) {
    const uint8_t *receiver = check_key(L, 1), *sender = opt_key(L, 2);
    struct hpke_text info = check_text(L, 3), aad = check_text(L, 4), sealed = check_text(L, 5);
    luaL_Buffer buffer;
    uint8_t *plain = (uint8_t *)luaL_buffinitsize(L, &buffer, sealed.len);
    EVP_PKEY *r = private_key(receiver);
    int error = r ? hpke_open(r, sender, info, aad, sealed, plain) : -EIO;
    EVP_PKEY_free(r);
    luaL_pushresultsize(&buffer, error ? 0 : sealed.len - HPKE_OVERHEAD);
    return error ? push_unsealed(L, error) : 1;
}

/***
HMAC-SHA256 (RFC 2104).
@function mac
@tparam string secret
@tparam string data
@treturn string 32 bytes
*/
static int l_mac(lua_State *L) {
    struct hpke_text secret = check_text(L, 1), data = check_text(L, 2);
    uint8_t mac[EVP_MAX_MD_SIZE];
    unsigned len;
    luaL_argcheck(L, secret.len <= 1024, 1, "longer than 1 KiB");
    if (!HMAC(EVP_sha256(), secret.data, (int)secret.len, data.data, data.len, mac, &len))
        return luaL_error(L, "OpenSSL has no HMAC-SHA256");
    lua_pushlstring(L, (const char *)mac, len);
    return 1;
}

static const luaL_Reg METHODS[] = {
    {"seal_hidden", m_seal_hidden},
    {"open_hidden", m_open_hidden},
    {"id", m_id},
    {"public", m_public},
    {"save", m_save},
    {"seal", m_seal},
    {"open", m_open},
    {"close", m_close},
    {NULL, NULL},
};
static const luaL_Reg META[] = {
    {"__gc", m_close}, {"__close", m_close}, {"__tostring", m_tostring}, {NULL, NULL}};
static const luaL_Reg FUNCTIONS[] = {
    {"generate", l_generate},
    {"from_seed", l_from_seed},
    {"load", l_load},
    {"make_folders", l_make_folders},
    {"is_id", l_is_id},
    {"hpke_seal", l_hpke_seal},
    {"hpke_open", l_hpke_open},
    {"mac", l_mac},
    {NULL, NULL},
};

int bind_keys(lua_State *L) {
    bind_class(L, KEY_CLASS, METHODS, META);
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
