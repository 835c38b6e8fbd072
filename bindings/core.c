/* The module p2pd.core: its parts, one a binding. */
#include <dlfcn.h>
#include <lauxlib.h>
#include <signal.h>

#include "bindings/bind.h"

/* One a line. */
/* clang-format off */
static const struct {
    const char *name;
    lua_CFunction open;
} PARTS[] = {
    {"task", bind_task},
    {"clock", bind_clock},
    {"log", bind_log},
    {"random", bind_random},
    {"stream", bind_stream},
    {"splice", bind_splice},
    {"private_file", bind_private_file},
    {"simplex_pair", bind_simplex_pair},
    {"tcp", bind_tcp},
    {"inet", bind_inet},
    {"nat64", bind_nat64},
    {"keys", bind_keys},
    {"keylock", bind_keylock},
    {"spake2", bind_spake2},
    {"tls", bind_tls},
    {"netif", bind_netif},
    {"udp", bind_udp},
    {"datagrams", bind_datagrams},
    {"stun", bind_stun},
    {"turn", bind_turn},
    {"punch", bind_punch},
    {"ntp", bind_ntp},
    {"pcp", bind_pcp},
    {"gateway", bind_gateway},
    {"reliable", bind_reliable},
    {"session", bind_session},
    {"mux", bind_mux},
    {"http", bind_http},
    {"websocket", bind_websocket},
    {"pattern", bind_pattern},
    {"qr", bind_qr},
    {"mqtt", bind_mqtt},
    {"memory", bind_memory},
    {"folder", bind_folder},
    {"process", bind_process},
    {"editline", bind_editline},
};
/* clang-format on */

__attribute__((visibility("default"))) int luaopen_p2pd_core(lua_State *L);

/* A peer that hangs up is an error of the write that meets it (EPIPE), no end of the process. */
static void ignore_sigpipe(void) {
    struct sigaction now;
    if (sigaction(SIGPIPE, NULL, &now) == 0 && now.sa_handler == SIG_DFL)
        signal(SIGPIPE, SIG_IGN);
}

/* A Lua state that closes unmaps its modules, and threads of this one may still run in it then. */
static void stay_loaded(void) {
    Dl_info here;
    if (dladdr(&PARTS, &here) && here.dli_fname)
        dlopen(here.dli_fname, RTLD_NOW | RTLD_NOLOAD | RTLD_NODELETE);
}

int luaopen_p2pd_core(lua_State *L) {
    ignore_sigpipe();
    stay_loaded();
    lua_newtable(L);
    for (size_t i = 0; i < sizeof PARTS / sizeof *PARTS; i++) {
        PARTS[i].open(L);
        lua_setfield(L, -2, PARTS[i].name);
    }
    lua_pushcfunction(L, bind_live);
    lua_setfield(L, -2, "live");
    return 1;
}
