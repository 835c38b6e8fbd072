#include "bindings/facts.h"

#include <lauxlib.h>

static void push_value(lua_State *L, const struct transport_fact *fact) {
    switch (fact->kind) {
    case FACT_TEXT:
        lua_pushstring(L, fact->text);
        break;
    case FACT_COUNT:
        lua_pushinteger(L, (lua_Integer)fact->count);
        break;
    case FACT_NUMBER:
        lua_pushnumber(L, fact->number);
        break;
    case FACT_FLAG:
        lua_pushboolean(L, fact->flag);
        break;
    }
}

void set_fact(void *arg, const struct transport_fact *fact) {
    lua_State *L = arg;
    luaL_checkstack(L, 3, "too many facts");
    luaL_getsubtable(L, -1, fact->layer);
    push_value(L, fact);
    lua_setfield(L, -2, fact->name);
    lua_pop(L, 1);
}
