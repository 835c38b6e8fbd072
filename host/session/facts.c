#include "host/session/facts.h"

#define COUNT(name, number)                                                                        \
    {                                                                                              \
        "session", name, FACT_COUNT, {                                                             \
            .count = (number)                                                                      \
        }                                                                                          \
    }

void session_tell_facts(const struct session_info *info, const char *reason, transport_tell tell,
                        void *arg) {
    static const char *const STATES[] = {"open", "closing", "ended", "failed"};
    const struct transport_fact facts[] = {
        {"session", "state", FACT_TEXT, {.text = STATES[info->state]}},
        {"session", "reason", FACT_TEXT, {.text = reason}},
        COUNT("path", info->path),
        COUNT("paths", info->paths),
        COUNT("paths_so_far", info->paths_so_far),
        COUNT("moves", info->moves),
        COUNT("resumed", info->resumed),
        COUNT("sent", info->sent),
        COUNT("received", info->received),
        COUNT("again", info->again),
        COUNT("unacked", info->unacked),
        COUNT("kept", info->kept),
        COUNT("keep", info->keep),
        COUNT("unread", info->unread),
    };
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++)
        tell(arg, &facts[i]);
    if (info->rtt >= 0)
        tell(arg, &(struct transport_fact){"session", "rtt", FACT_NUMBER, {.number = info->rtt}});
}
