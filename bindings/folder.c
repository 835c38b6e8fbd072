/***
Folders, and files by paths that never lead out of them: no part is `..`, no symbolic link on the
way is followed.
@module p2pd.core.folder
@pragma nostrip
*/
#include "host/folder.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "bindings/bind.h"
#include "bindings/file.h"

#define CLASS "p2pd.folder"

struct lua_folder {
    struct folder *folder; /* NULL: closed */
};

static struct folder *check_folder(lua_State *L) {
    struct lua_folder *self = luaL_checkudata(L, 1, CLASS);
    luaL_argcheck(L, self->folder, 1, "the folder is closed");
    return self->folder;
}

/* A path with a NUL would be another one: it becomes none at all. */
static const char *check_path(lua_State *L, int arg) {
    size_t len;
    const char *path = luaL_checklstring(L, arg, &len);
    return strlen(path) == len ? path : "..";
}

static int push_done(lua_State *L, int error, const char *path) {
    if (error)
        return push_error(L, error, "%s", path);
    lua_pushboolean(L, 1);
    return 1;
}

/***
Opens a folder.
@function open
@tparam string path the user's own: links in it are followed
@treturn folder to be closed; or nil, message, code
*/
static int l_open(lua_State *L) {
    const char *path = luaL_checkstring(L, 1);
    struct lua_folder *self = bind_new(L, CLASS, sizeof *self);
    self->folder = folder_open(path);
    return self->folder ? 1 : push_error(L, errno, "%s", path);
}

/***
The absolute path of what a path names, without links and dots.
@function resolve
@tparam string path
@treturn string; or nil, message, code
*/
static int l_resolve(lua_State *L) {
    const char *path = luaL_checkstring(L, 1);
    char *real = realpath(path, NULL);
    if (!real)
        return push_error(L, errno, "%s", path);
    lua_pushstring(L, real);
    free(real);
    return 1;
}

/***
Closes it; it can be called twice.
@function folder:close
*/
static int m_close(lua_State *L) {
    struct lua_folder *self = luaL_checkudata(L, 1, CLASS);
    folder_free(self->folder);
    self->folder = NULL;
    return 0;
}

/***
What is there, should it be a link.
@function folder:stat
@tparam string path "" is the folder itself
@treturn string "file", "folder", "link" or "other"; or nil, message, code
@treturn integer size in bytes
@treturn integer mtime, nanoseconds since 1970
@treturn integer mode, the permission bits
*/
static int m_stat(lua_State *L) {
    static const char *const KINDS[] = {"file", "folder", "link", "other"};
    struct folder *f = check_folder(L);
    const char *path = check_path(L, 2);
    struct folder_entry entry;
    int error = folder_stat(f, path, &entry);
    if (error)
        return push_error(L, error, "%s", path);
    lua_pushstring(L, KINDS[entry.kind]);
    lua_pushinteger(L, entry.size);
    lua_pushinteger(L, entry.mtime_ns);
    lua_pushinteger(L, entry.mode);
    return 4;
}

static bool add_name(void *arg, const char *name) {
    luaL_Buffer *names = arg;
    luaL_addlstring(names, name, strlen(name) + 1);
    return true;
}

/***
The names of what is in a folder, in no order, each followed by a NUL.
@function folder:list
@tparam string path "" is the folder itself
@treturn string; or nil, message, code
*/
static int m_list(lua_State *L) {
    struct folder *f = check_folder(L);
    const char *path = check_path(L, 2);
    luaL_Buffer names;
    luaL_buffinit(L, &names);
    int error = folder_list(f, path, add_name, &names);
    luaL_pushresult(&names);
    return error ? push_error(L, error, "%s", path) : 1;
}

static int push_opened(lua_State *L, int fd, const char *path, bool writes, int64_t size) {
    return fd < 0 ? push_error(L, fd, "%s", path) : push_file(L, fd, writes, size);
}

/***
Opens a file for reading.
@function folder:read
@tparam string path
@tparam integer size bytes that will be read, unless it has become shorter
@tparam[opt] boolean follow whether it may be a link
@treturn file to be closed; or nil, message, code
*/
static int m_read(lua_State *L) {
    struct folder *f = check_folder(L);
    const char *path = check_path(L, 2);
    lua_Integer size = luaL_checkinteger(L, 3);
    int fd = folder_open_file(f, path, O_RDONLY, 0, lua_toboolean(L, 4));
    return push_opened(L, fd, path, false, size);
}

/***
Opens a file for writing, which is made when it is not there.
@function folder:write
@tparam string path
@tparam integer size bytes that are expected
@tparam[opt] boolean keep what is in it stays, to be skipped
@treturn file to be closed; or nil, message, code
*/
static int m_write(lua_State *L) {
    struct folder *f = check_folder(L);
    const char *path = check_path(L, 2);
    lua_Integer size = luaL_checkinteger(L, 3);
    int flags = O_RDWR | O_CREAT | (lua_toboolean(L, 4) ? 0 : O_TRUNC);
    return push_opened(L, folder_open_file(f, path, flags, 0600, false), path, true, size);
}

/***
Makes a folder.
@function folder:make
@tparam string path
@tparam integer mode
@treturn boolean true; or nil, message, code
*/
static int m_make(lua_State *L) {
    const char *path = check_path(L, 2);
    mode_t mode = (mode_t)(luaL_checkinteger(L, 3) & 0777);
    return push_done(L, folder_make(check_folder(L), path, mode), path);
}

/***
Makes a symbolic link.
@function folder:link
@tparam string path
@tparam string target
@treturn boolean true; or nil, message, code
*/
static int m_link(lua_State *L) {
    const char *path = check_path(L, 2), *target = luaL_checkstring(L, 3);
    return push_done(L, folder_make_link(check_folder(L), path, target), path);
}

/***
Where a symbolic link leads.
@function folder:target
@tparam string path
@treturn string; or nil, message, code
*/
static int m_target(lua_State *L) {
    char target[FOLDER_PATH_MAX];
    const char *path = check_path(L, 2);
    int error = folder_read_link(check_folder(L), path, target);
    if (error)
        return push_error(L, error, "%s", path);
    lua_pushstring(L, target);
    return 1;
}

/***
Removes a file, a link or an empty folder.
@function folder:remove
@tparam string path
@treturn boolean true; or nil, message, code
*/
static int m_remove(lua_State *L) {
    const char *path = check_path(L, 2);
    return push_done(L, folder_remove(check_folder(L), path), path);
}

/***
Gives a thing another name in its folder.
@function folder:rename
@tparam string path
@tparam string name
@tparam[opt] boolean replace what has that name
@treturn boolean true; or nil, message, code: EEXIST
*/
static int m_rename(lua_State *L) {
    const char *path = check_path(L, 2), *name = check_path(L, 3);
    return push_done(L, folder_rename(check_folder(L), path, name, lua_toboolean(L, 4)), path);
}

/***
Sets permissions and time of a folder, or the time of a link.
@function folder:set
@tparam string path
@tparam integer mode
@tparam integer mtime nanoseconds since 1970
@treturn boolean true; or nil, message, code
*/
static int m_set(lua_State *L) {
    const char *path = check_path(L, 2);
    mode_t mode = (mode_t)(luaL_checkinteger(L, 3) & 0777);
    lua_Integer mtime_ns = luaL_checkinteger(L, 4);
    return push_done(L, folder_set(check_folder(L), path, mode, mtime_ns), path);
}

/***
How much its file system has left for us.
@function folder:room
@treturn integer bytes; or nil, message, code
*/
static int m_room(lua_State *L) {
    int64_t room = folder_room(check_folder(L));
    if (room < 0)
        return push_error(L, (int)room, "statvfs");
    lua_pushinteger(L, room);
    return 1;
}

static int m_tostring(lua_State *L) {
    const struct lua_folder *self = luaL_checkudata(L, 1, CLASS);
    lua_pushfstring(L, "folder (%s)", self->folder ? "open" : "closed");
    return 1;
}

static const luaL_Reg METHODS[] = {{"stat", m_stat},     {"list", m_list},     {"read", m_read},
                                   {"write", m_write},   {"make", m_make},     {"link", m_link},
                                   {"target", m_target}, {"remove", m_remove}, {"rename", m_rename},
                                   {"set", m_set},       {"room", m_room},     {"close", m_close},
                                   {NULL, NULL}};
static const luaL_Reg META[] = {
    {"__gc", m_close}, {"__close", m_close}, {"__tostring", m_tostring}, {NULL, NULL}};
static const luaL_Reg FUNCTIONS[] = {{"open", l_open}, {"resolve", l_resolve}, {NULL, NULL}};

int bind_folder(lua_State *L) {
    bind_class(L, CLASS, METHODS, META);
    bind_file(L);
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
