/* core.stun.transaction. */
#ifndef P2PD_BINDINGS_STUN_TRANSACTION_H
#define P2PD_BINDINGS_STUN_TRANSACTION_H

#include <lua.h>

/* Makes the class of transactions; the function that makes one. */
void stun_transaction_class(lua_State *L);
int stun_l_transaction(lua_State *L);

#endif
