/* libmicrohttpd, loaded when it is first used and kept: its functions, by their own names. */
#ifndef P2PD_HOST_HTTP_LIBRARY_H
#define P2PD_HOST_HTTP_LIBRARY_H

#include <microhttpd.h>

#define HTTP_LIBRARY "libmicrohttpd.so.12"

#define HTTP_FUNCTIONS(X)                                                                          \
    X(MHD_start_daemon)                                                                            \
    X(MHD_stop_daemon)                                                                             \
    X(MHD_run)                                                                                     \
    X(MHD_get_timeout)                                                                             \
    X(MHD_get_daemon_info)                                                                         \
    X(MHD_get_connection_info)                                                                     \
    X(MHD_get_connection_values)                                                                   \
    X(MHD_create_response_from_buffer)                                                             \
    X(MHD_create_response_from_fd_at_offset64)                                                     \
    X(MHD_create_response_from_callback)                                                           \
    X(MHD_create_response_for_upgrade)                                                             \
    X(MHD_add_response_header)                                                                     \
    X(MHD_queue_response)                                                                          \
    X(MHD_destroy_response)                                                                        \
    X(MHD_suspend_connection)                                                                      \
    X(MHD_resume_connection)                                                                       \
    X(MHD_upgrade_action)                                                                          \
    X(MHD_get_reason_phrase_for)

struct http_library {
#define X(name) __typeof__(&name) name;
    HTTP_FUNCTIONS(X)
#undef X
};

/* NULL when it is not there. */
const struct http_library *http_library(void);

#endif
