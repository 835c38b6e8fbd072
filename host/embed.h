/* The Lua sources inside the executable; embed.lua writes the table at build time. */
#ifndef P2PD_HOST_EMBED_H
#define P2PD_HOST_EMBED_H

#include <stddef.h>

struct embedded {
    const char *name;  /* of the module: "p2pd.node", "p2pd.scripts.chat" */
    const char *chunk; /* for error messages: "@[p2pd]/lua/p2pd/node.lua" */
    const char *data;
    size_t len;
};

extern const struct embedded EMBEDDED[]; /* sorted; ends with a NULL name */

#endif
