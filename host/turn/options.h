/* What a TURN client is made with. */
#ifndef P2PD_HOST_TURN_OPTIONS_H
#define P2PD_HOST_TURN_OPTIONS_H

#include "host/stun/integrity.h"
#include "host/stun/transaction.h"

struct turn_options {
    struct stun_timer timer; /* .reliable: over TCP or TLS */
    bool tcp;                /* a TCP allocation; needs a reliable transport */
    int family;        /* AF_INET or AF_INET6, of the relayed address; 0: the server's choice */
    bool both;         /* a relayed address of either family, if it has both; without `family` */
    uint32_t lifetime; /* seconds to ask for; 0: the server's choice */
    struct stun_text user, password;
    struct stun_text realm; /* "": whichever the server names; else no other one is answered */
};

#endif
