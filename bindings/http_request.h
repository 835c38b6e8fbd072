/* The userdata of an HTTP request (host/http/request.h). */
#ifndef P2PD_BINDINGS_HTTP_REQUEST_H
#define P2PD_BINDINGS_HTTP_REQUEST_H

#include <lua.h>

#include "host/http/request.h"

void http_request_class(lua_State *L); /* once, before the first one is pushed */
int push_http_request(lua_State *L, struct http_request *r);

#endif
