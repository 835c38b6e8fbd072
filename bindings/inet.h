/* Addresses as arguments: what is none raises. */
#ifndef P2PD_BINDINGS_INET_H
#define P2PD_BINDINGS_INET_H

#include <lua.h>

#include "host/inet.h"

/* The IP address at arg. */
void check_ip(lua_State *L, int arg, struct inet_addr *addr);

/* The IP address at arg, and the port after it: 1 to 65535. */
void check_endpoint(lua_State *L, int arg, struct inet_addr *addr);

#endif
