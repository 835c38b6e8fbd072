/* Which broker a client belongs to, and how it is spoken to. */
#ifndef P2PD_HOST_MQTT_OPTIONS_H
#define P2PD_HOST_MQTT_OPTIONS_H

#include <stdbool.h>

#define MQTT_WEBSOCKET_PATH_MAX 1024

struct mqtt_options {
    const char *host;
    int port;
    bool tls;
    const char *ca;         /* PEM file; NULL: the system's store */
    const char *cert, *key; /* PEM files of a certificate of ours; NULL: none */
    const char *websocket;  /* its path, "/mqtt"; NULL: MQTT as it is */
    struct {
        const char *host; /* NULL: none */
        int port;
        const char *user, *pass;
    } proxy;                 /* that is asked by CONNECT */
    const char *user, *pass; /* NULL: none */
    const char *client_id;   /* NULL: random */
    int keepalive_s;
    double connect_timeout_s; /* for the name, TCP and TLS, and again for CONNECT's answer */
};

#endif
