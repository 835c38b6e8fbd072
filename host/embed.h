/* The Lua sources inside the executable, and what they are compiled to: that starts faster, while
 * people and help() read the source. embed.lua writes the table at build time. */
#ifndef P2PD_HOST_EMBED_H
#define P2PD_HOST_EMBED_H

#include <stddef.h>

struct embedded {
    const char *name;  /* of the module: "p2pd.node", "p2pd.scripts.chat" */
    const char *chunk; /* for error messages: "@[p2pd]/lua/p2pd/node.lua" */
    const char *data;
    size_t len;
    const char *code; /* compiled by the build's Lua; NULL: it is no Lua */
    size_t code_len;
};

extern const struct embedded EMBEDDED[]; /* sorted; ends with a NULL name */

#endif
