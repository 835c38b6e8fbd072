/* A file that is read or written from its beginning to its end, with the SHA-256 of its bytes.
 * Blocks of a large one are read, written and hashed by a worker thread while the loop deals with
 * the block before; a small one is done with at once. Loop thread only. */
#ifndef P2PD_HOST_FILE_H
#define P2PD_HOST_FILE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define FILE_DIGEST 32
#define FILE_SMALL (64 * 1024)  /* bytes: up to here no thread is asked */
#define FILE_FRAME_HEADER 5     /* bytes before a block that its reader may overwrite */
#define FILE_BLOCK (512 * 1024) /* bytes that a worker reads or writes in one piece */

struct file;

struct file_events {
    void (*on_ready)(void *owner); /* what answered -EAGAIN is to be asked again */
    void *owner;
};

/* Takes the descriptor over; `size` is how many bytes will be read, or are expected to be written.
 * NULL and errno, the descriptor being closed. */
struct file *file_new(int fd, bool writes, int64_t size, struct file_events events);

/* Closes it, in the middle of its work too. */
void file_free(struct file *f);

/* All that follow: -EAGAIN while the worker is at it, -errno when it has failed, now or before. */

/* The next bytes, FILE_SMALL of them at most, valid until the next call. 0 at the end, which comes
 * early when the file has become shorter. *block: how many come in all until the next block, when
 * these are the first of one; else 0. */
ssize_t file_read(struct file *f, uint8_t **data, size_t *block);

/* Whether what comes next is the first of a block. */
bool file_is_between(const struct file *f);

/* Takes bytes: how many. Or they are put to where there is room for them, which says how many, and
 * counted. */
ssize_t file_write(struct file *f, const uint8_t *data, size_t len);
ssize_t file_room(struct file *f, uint8_t **to);
void file_filled(struct file *f, size_t len);

/* Hashes the next `count` bytes of the descriptor without giving them out: 0 when that is done.
 * Only before anything was read or written. */
int file_skip(struct file *f, int64_t count);

/* Drops all that was written and hashed, and begins anew. Only after file_skip(). */
int file_restart(struct file *f);

/* Waits for all that was written. */
int file_flush(struct file *f);

/* Permissions and time, once flushed. */
int file_set(struct file *f, mode_t mode, int64_t mtime_ns);

/* SHA-256 of what was read, written and skipped so far. A reader has hashed ahead: ask it after the
 * end, or after file_skip(). */
int file_digest(const struct file *f, uint8_t digest[FILE_DIGEST]);

/* Its descriptor, which stays its own. */
int file_descriptor(const struct file *f);

/* Bytes read, written or skipped. */
int64_t file_position(const struct file *f);

#endif
