/***
Locks on key files: a key is for one node at a time.
@module p2pd.core.keylock
*/
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "bindings/bind.h"
#include "host/keys/keylock.h"

#define LOCK_CLASS "p2pd.keylock"

struct lock {
    int fd; /* -1 once closed */
};

/***
Unlocks. It can be called twice.
@function lock:close
*/
static int m_close(lua_State *L) {
    struct lock *self = luaL_checkudata(L, 1, LOCK_CLASS);
    if (self->fd >= 0)
        close(self->fd);
    self->fd = -1;
    return 0;
}

static int push_busy(lua_State *L, const char *path, pid_t holder) {
    if (holder == getpid())
        return push_failure(L, "EBUSY", "%s is locked by this process", path);
    if (holder)
        return push_failure(L, "EBUSY", "%s is locked by process %d", path, (int)holder);
    return push_failure(L, "EBUSY", "%s is locked by another process", path);
}

/***
Locks a file until the lock is closed, or the process ends.
@function take
@tparam string path
@treturn p2pd.keylock; or nil, message, code: EBUSY: another node has it, and the message tells
which process that is, when it can be told; EOPNOTSUPP: the file system has no locks
*/
static int l_take(lua_State *L) {
    size_t len;
    const char *path = luaL_checklstring(L, 1, &len);
    luaL_argcheck(L, len > 0 && !memchr(path, 0, len), 1, "a path expected");
    struct lock *self = bind_new(L, LOCK_CLASS, sizeof *self);
    self->fd = -1;
    pid_t holder;
    int fd = keylock_take(path, &holder);
    if (fd == -EBUSY)
        return push_busy(L, path, holder);
    if (fd < 0)
        return push_error(L, fd, "lock %s", path);
    self->fd = fd;
    return 1;
}

static const luaL_Reg METHODS[] = {{"close", m_close}, {NULL, NULL}};
static const luaL_Reg META[] = {{"__gc", m_close}, {"__close", m_close}, {NULL, NULL}};
static const luaL_Reg FUNCTIONS[] = {{"take", l_take}, {NULL, NULL}};

int bind_keylock(lua_State *L) {
    bind_class(L, LOCK_CLASS, METHODS, META);
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
