/***
The process's memory.
@module p2pd.core.memory
*/
#include "host/memory.h"

#include "bindings/bind.h"

/***
Gives back to the kernel what start alone needed: free heap, and pages of code that has run. Those
that run again are had again from the page cache.
@function trim
*/
static int l_trim(lua_State *L) {
    (void)L;
    memory_trim();
    return 0;
}

int bind_memory(lua_State *L) {
    static const luaL_Reg FUNCTIONS[] = {{"trim", l_trim}, {NULL, NULL}};
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
