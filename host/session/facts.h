/* What there is to know of a session, as facts of a transport. */
#ifndef P2PD_HOST_SESSION_FACTS_H
#define P2PD_HOST_SESSION_FACTS_H

#include "host/session/options.h"
#include "host/transport.h"

/* reason: why it has failed, or NULL. */
void session_tell_facts(const struct session_info *info, const char *reason, transport_tell tell,
                        void *arg);

#endif
