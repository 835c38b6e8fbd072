/*
 * A session on the loop: one ordered byte stream over successive paths, each of which is a
 * transport. Two may hold it: who manages it (a handle), and who owns its stream (a transport).
 * Loop thread only.
 */
#ifndef P2PD_HOST_SESSION_H
#define P2PD_HOST_SESSION_H

#include "host/session/machine.h"
#include "host/transport.h"

struct session;

/* on_event: session_event() has something. It must not give the session up. Never NULL. */
struct session *session_new(const struct session_options *options,
                            void (*on_event)(struct session *), void *owner);
void *session_owner(const struct session *s);

/* The stream as what carries one; NULL: it was given away before. */
struct transport *session_transport(struct session *s);

/* Takes a path over, with the bytes that were read and not used: its number, or -errno and it stays
 * the caller's. With a greeting the peer says a line that begins so, before the path's frames;
 * another line ends the path with -EACCES, and is the reason. See sm_attach() and the others for
 * what they do. */
int64_t session_attach(struct session *s, struct transport *path, struct buffer early,
                       const char *greeting);
const char *session_greeting(const struct session *s, uint32_t path); /* NULL: none has come */
int session_switch(struct session *s, uint32_t path);
int session_drop(struct session *s, uint32_t path, const char *why, bool at_once);
void session_doubt(struct session *s);
bool session_event(struct session *s, struct session_event *event);
void session_info(const struct session *s, struct session_info *info);
const char *session_reason(const struct session *s); /* why it has failed, or NULL */
int session_error(const struct session *s);          /* -errno, or 0 */
void session_describe(const struct session *s, transport_tell tell, void *arg);

/* The end, in the background, once what was written is delivered; SESSION_OVER tells. The stream is
 * over at once for who has it. */
void session_close(struct session *s);
void session_abort(struct session *s, int code, const char *why);

/* The handle is given up: no path will come any more. A stream that nobody has is aborted. */
void session_abandon(struct session *s);

#endif
