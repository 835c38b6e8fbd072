/* libedit, loaded when the first editor is made: a node that runs without a prompt does not pay
 * for it, nor for the libraries that it needs itself. */
#ifndef P2PD_HOST_EDITLINE_LIBRARY_H
#define P2PD_HOST_EDITLINE_LIBRARY_H

#include <histedit.h>

struct editline_library {
    __typeof__(&el_init) init;
    __typeof__(&el_end) end;
    __typeof__(&el_set) set;
    __typeof__(&el_wset) wset;
    __typeof__(&el_get) get;
    __typeof__(&el_gets) gets;
    __typeof__(&el_line) line;
    __typeof__(&el_wline) wline;
    __typeof__(&el_cursor) cursor;
    __typeof__(&el_insertstr) insertstr;
    __typeof__(&el_deletestr) deletestr;
    __typeof__(&el_resize) resize;
    __typeof__(&el_source) source;
    __typeof__(&history) history;
    __typeof__(&history_init) history_init;
    __typeof__(&history_end) history_end;
};

/* The library, which stays loaded; or NULL when it is not installed. For the loop's thread. */
const struct editline_library *editline_library(void);

#endif
