/* Bracketed paste: the terminal marks what is pasted, so that its line ends and tabs are text and
 * not keys. A pure machine: bytes in, text out. */
#ifndef P2PD_HOST_EDITLINE_PASTE_H
#define P2PD_HOST_EDITLINE_PASTE_H

#include <stdbool.h>
#include <stddef.h>

/* xterm's control sequences: mode 2004. */
#define PASTE_ON "\033[?2004h"
#define PASTE_OFF "\033[?2004l"
#define PASTE_BEGIN "\033[200~"
#define PASTE_END "\033[201~"

struct editline_paste { /* all zero: empty */
    char *bytes;
    size_t len, size;
    bool whole;
};

/* A byte behind PASTE_BEGIN. Those beyond 1 MiB are dropped. */
void editline_paste_add(struct editline_paste *p, char byte);

/* PASTE_END has come. */
bool editline_paste_is_whole(const struct editline_paste *p);

/* What was pasted: "\n" ends lines, the last ends are left out, so are control characters. Lives
 * until clear. */
const char *editline_paste_text(struct editline_paste *p);

void editline_paste_clear(struct editline_paste *p);

#endif
