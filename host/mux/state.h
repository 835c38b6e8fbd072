/* The state of a mux, shared by the files that make up its machine. */
#ifndef P2PD_HOST_MUX_STATE_H
#define P2PD_HOST_MUX_STATE_H

#include "host/buffer.h"
#include "host/mux/frame.h"
#include "host/mux/options.h"

#define PINGS_MAX 8 /* of ours that are remembered */

struct mux_list {
    struct mux_stream *first, *last;
    int count;
};

/* A place in a list. */
struct mux_link {
    struct mux_stream *prev, *next;
    struct mux_list *list; /* NULL: in none */
};

struct mux_stream {
    struct mux_machine *machine; /* NULL: it is gone */
    struct mux_stream *next;     /* in its bucket */
    uint32_t number;
    void *owner;
    struct mux_link queue; /* in one of the machine's lists but `stirred` */
    struct mux_link stirred;
    struct buffer in;
    uint64_t end;      /* see ms_end() */
    size_t may_send;   /* bytes */
    size_t may_come;   /* that the peer may still send */
    size_t window;     /* unread and may_come, after a grant */
    double granted_at; /* when we have last sent a grant; 0: never */
    int error;
    bool held;        /* somebody has it */
    bool peers;       /* the peer has opened it */
    bool opening;     /* we have, and have not said so yet */
    bool unacked;     /* we have, and the peer has not said that it is taken */
    bool ack_due;     /* the peer has, and nothing of ours has said that it is taken */
    bool shut, ended; /* our half, the peer's */
    bool ends_after;  /* the present frame's bytes are the peer's last */
    bool reset;
    bool ignored; /* nobody reads */
    bool stalled; /* a write waits for the peer's grant */
};

struct mux_machine {
    struct mux_options options;
    int error;
    char reason[160];

    struct mux_stream **buckets;
    size_t bucket_count, stream_count; /* those that nobody has any more included */
    uint32_t next_number, last_peers;  /* the highest number that the peer has opened */
    int unacked;                       /* of ours */
    int peers_open;
    bool gone_away, sent_go_away;

    struct mux_list accepted;  /* nobody has them yet */
    struct mux_list opening;   /* the peer has to take others before */
    struct mux_list writers;   /* in turn */
    struct mux_list lingering; /* nobody has them, and the peer's half goes on */
    struct mux_list stirred;
    struct mux_stream *turn; /* whose turn it is to write */

    struct buffer out;
    uint64_t position; /* of the bytes that have left */
    size_t answers;    /* bytes that the peer has made us queue since answers_from was queued */
    uint64_t answers_from;

    uint8_t header[MUX_HEADER]; /* of a frame that is not there yet */
    size_t header_len;
    struct mux_stream *into; /* where the present frame's bytes go, NULL: nowhere */
    size_t data_left;

    size_t unread;
    size_t grown; /* bytes of windows beyond the first ones */
    struct mux_info counts;
    uint32_t pings;
    struct {
        uint32_t number;
        double sent, rtt;
    } ping[PINGS_MAX];
};

/* -- table.c: streams by number ---------------------------------------------------------------- */

struct mux_stream *table_find(const struct mux_machine *m, uint32_t number);
void table_add(struct mux_machine *m, struct mux_stream *s);
void table_remove(struct mux_machine *m, struct mux_stream *s);

void list_append(struct mux_list *list, struct mux_stream *s, struct mux_link *link);
void list_remove(struct mux_stream *s, struct mux_link *link);

/* -- stream.c ------------------------------------------------------------------------------- */

struct mux_stream *stream_begin(struct mux_machine *m, uint32_t number, bool peers);
void stream_tell_opened(struct mux_machine *m); /* those that the peer may now hear of */
void stream_note_acked(struct mux_stream *s);
void stream_stir(struct mux_stream *s);            /* something of it is different */
void stream_end_by(struct mux_stream *s, int err); /* it has failed */
void stream_forget(struct mux_stream *s); /* when neither side has anything to do with it */
void stream_grant(struct mux_stream *s, double now); /* lets the peer send what was read */
void stream_receive(struct mux_stream *s, const void *data, size_t len);

/* -- machine.c ------------------------------------------------------------------------------ */

void machine_put(struct mux_machine *m, uint8_t type, uint16_t flags, uint32_t stream,
                 uint32_t length);
void machine_break(struct mux_machine *m, const char *why); /* the peer breaks the protocol */

#endif
