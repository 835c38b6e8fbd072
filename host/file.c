/* What the worker touches while a job runs is in struct job_state; it outlives a file that is
 * closed meanwhile. */
#include "host/file.h"

#include <errno.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "host/errand.h"

#define NS 1000000000
#define ROOM_MIN 256 /* bytes of a buffer, should the file be longer than was expected */

enum job { JOB_READ, JOB_WRITE, JOB_SKIP };

struct state {
    int fd;
    int refs; /* the file's, and that of the errand under way */
    EVP_MD_CTX *hash;
    enum job job;
    uint8_t *block; /* with room for a frame's header before its bytes, see body() */
    size_t len;     /* of the block: to be written; was read */
    size_t room;    /* of the block */
    int64_t count;  /* still to be skipped */
    int error;      /* -errno of the first failure: nothing is done after it */
    atomic_bool given_up;
};

struct file {
    struct state *state;
    struct errand *errand;
    struct file_events events;
    bool writes;
    bool starts;    /* a job is to be started once the present one has ended */
    uint8_t *front; /* being given out, or being filled */
    size_t at, len, room;
    int64_t left; /* of a reader: not yet asked for */
    int64_t position;
};

static struct {
    pthread_once_t once;
    EVP_MD *sha256;
} algorithms = {.once = PTHREAD_ONCE_INIT};

/* Kept as long as the process: to fetch costs more than to hash a small file. */
static void fetch(void) {
    algorithms.sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
}

/* -- on the worker, or at once ------------------------------------------------------------- */

static uint8_t *body(uint8_t *block) {
    return block + FILE_FRAME_HEADER;
}

static void hash(struct state *s, const uint8_t *data, size_t len) {
    if (!EVP_DigestUpdate(s->hash, data, len))
        s->error = -EIO;
}

/* Reads until the room is full or the file ends. */
static void read_block(struct state *s, size_t room) {
    ssize_t n = 1;
    s->len = 0;
    while (n > 0 && s->len < room) {
        n = read(s->fd, body(s->block) + s->len, room - s->len);
        if (n < 0 && errno == EINTR)
            n = 1;
        else if (n < 0)
            s->error = -errno;
        else
            s->len += (size_t)n;
    }
    hash(s, body(s->block), s->len);
}

static void write_block(struct state *s) {
    for (size_t done = 0; done < s->len;) {
        ssize_t n = write(s->fd, body(s->block) + done, s->len - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            s->error = n < 0 ? -errno : -EIO;
            return;
        }
        done += (size_t)n;
    }
    hash(s, body(s->block), s->len);
}

/* A file that has become shorter ends it; s->count tells. */
static void skip(struct state *s) {
    while (s->count > 0 && !s->error && !s->given_up) {
        read_block(s, s->count < (int64_t)s->room ? (size_t)s->count : s->room);
        s->count -= (int64_t)s->len;
        if (s->len == 0)
            return;
    }
}

static void work(void *data) {
    struct state *s = data;
    if (s->job == JOB_READ)
        read_block(s, s->room);
    else if (s->job == JOB_WRITE)
        write_block(s);
    else
        skip(s);
}

/* -- lives --------------------------------------------------------------------------------- */

static void unref(void *data) {
    struct state *s = data;
    if (--s->refs > 0)
        return;
    EVP_MD_CTX_free(s->hash);
    free(s->block);
    if (s->fd >= 0)
        close(s->fd);
    free(s);
}

static void on_done(void *owner) {
    struct file *f = owner;
    f->events.on_ready(f->events.owner);
}

static bool start(struct file *f, enum job job) {
    struct state *s = f->state;
    const struct errand_options options = {work, unref, s, on_done, f};
    s->job = job;
    s->refs++;
    f->errand = errand_start(&options);
    if (!f->errand)
        s->error = -errno;
    return f->errand != NULL;
}

static struct state *new_state(int fd, size_t room) {
    struct state *s = calloc(1, sizeof *s);
    if (!s) {
        close(fd);
        return NULL;
    }
    pthread_once(&algorithms.once, fetch);
    s->fd = fd;
    s->refs = 1;
    s->room = room;
    s->block = malloc(FILE_FRAME_HEADER + room);
    s->hash = EVP_MD_CTX_new();
    if (s->block && s->hash && EVP_DigestInit_ex2(s->hash, algorithms.sha256, NULL))
        return s;
    unref(s);
    return NULL;
}

struct file *file_new(int fd, bool writes, int64_t size, struct file_events events) {
    size_t room = size > FILE_SMALL ? FILE_BLOCK : size > ROOM_MIN ? (size_t)size : ROOM_MIN;
    struct file *f = calloc(1, sizeof *f);
    struct state *s = f ? new_state(fd, room) : (close(fd), NULL);
    uint8_t *front = s ? malloc(FILE_FRAME_HEADER + room) : NULL;
    if (!front) {
        if (s)
            unref(s);
        free(f);
        errno = ENOMEM;
        return NULL;
    }
    *f = (struct file){.state = s,
                       .events = events,
                       .writes = writes,
                       .front = front,
                       .room = room,
                       .left = writes ? 0 : size};
    return f;
}

void file_free(struct file *f) {
    if (!f)
        return;
    f->state->given_up = true;
    errand_free(f->errand);
    free(f->front);
    unref(f->state);
    free(f);
}

/* 0 when no job runs and none has failed. */
static int settle(struct file *f) {
    if (f->errand && !errand_is_done(f->errand))
        return -EAGAIN;
    errand_free(f->errand);
    f->errand = NULL;
    return f->state->error;
}

static void swap(struct file *f) {
    uint8_t *front = f->front;
    f->front = f->state->block;
    f->state->block = front;
}

/* -- reading ------------------------------------------------------------------------------- */

/* Small files at once; else a thread. */
static void fetch_block(struct file *f) {
    struct state *s = f->state;
    s->room = f->left < (int64_t)f->room ? (size_t)f->left : f->room;
    f->left -= (int64_t)s->room;
    f->starts = true;
    if (f->room > FILE_SMALL)
        start(f, JOB_READ);
    else
        read_block(s, s->room);
}

/* The block that was fetched becomes the one that is given out, and the next one is fetched. */
static int turn(struct file *f) {
    if (!f->starts && f->left > 0)
        fetch_block(f);
    int error = settle(f);
    if (error || !f->starts)
        return error;
    swap(f);
    f->starts = false;
    f->at = 0;
    f->len = f->state->len;
    if (f->len < f->state->room)
        f->left = 0; /* the file has become shorter */
    if (f->left > 0)
        fetch_block(f);
    return 0;
}

ssize_t file_read(struct file *f, uint8_t **data, size_t *block) {
    if (f->at == f->len) {
        int error = turn(f);
        if (error)
            return error;
    }
    size_t rest = f->len - f->at, len = rest < FILE_SMALL ? rest : FILE_SMALL;
    *data = body(f->front) + f->at;
    *block = f->at == 0 ? f->len : 0;
    f->at += len;
    f->position += (int64_t)len;
    return (ssize_t)len;
}

bool file_is_between(const struct file *f) {
    return f->at == f->len;
}

/* -- writing ------------------------------------------------------------------------------- */

static int write_front(struct file *f) {
    int error = settle(f);
    if (error || f->len == 0)
        return error;
    swap(f);
    f->state->len = f->len;
    f->len = 0;
    if (f->room > FILE_SMALL)
        return start(f, JOB_WRITE) ? 0 : f->state->error;
    write_block(f->state);
    return f->state->error;
}

ssize_t file_room(struct file *f, uint8_t **to) {
    int error = f->len == f->room ? write_front(f) : 0;
    *to = body(f->front) + f->len;
    return error ? error : (ssize_t)(f->room - f->len);
}

void file_filled(struct file *f, size_t len) {
    f->len += len;
    f->position += (int64_t)len;
}

ssize_t file_write(struct file *f, const uint8_t *data, size_t len) {
    uint8_t *to;
    ssize_t room = file_room(f, &to);
    if (room < 0)
        return room;
    size_t taken = len < (size_t)room ? len : (size_t)room;
    memcpy(to, data, taken);
    file_filled(f, taken);
    return (ssize_t)taken;
}

int file_flush(struct file *f) {
    int error = write_front(f);
    return error ? error : settle(f);
}

int file_set(struct file *f, mode_t mode, int64_t mtime_ns) {
    const struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {mtime_ns / NS, mtime_ns % NS}};
    if (fchmod(f->state->fd, mode) < 0 || futimens(f->state->fd, times) < 0)
        return -errno;
    return 0;
}

/* -- skipping ------------------------------------------------------------------------------ */

int file_skip(struct file *f, int64_t count) {
    struct state *s = f->state;
    if (!f->starts) {
        f->starts = true;
        s->count = count;
        s->room = f->room;
        if (f->room > FILE_SMALL)
            start(f, JOB_SKIP);
        else
            skip(s);
    }
    int error = settle(f);
    if (error == -EAGAIN)
        return error;
    f->starts = false;
    f->position = count - s->count;
    if (!f->writes)
        f->left -= f->position;
    return error ? error : s->count > 0 ? -ENODATA : 0;
}

int file_restart(struct file *f) {
    struct state *s = f->state;
    int error = settle(f);
    if (error)
        return error;
    if (lseek(s->fd, 0, SEEK_SET) < 0 || (f->writes && ftruncate(s->fd, 0) < 0))
        return -errno;
    if (!EVP_DigestInit_ex2(s->hash, algorithms.sha256, NULL))
        return -EIO;
    if (!f->writes)
        f->left += f->position;
    f->position = 0;
    return 0;
}

int file_digest(const struct file *f, uint8_t digest[FILE_DIGEST]) {
    if (f->errand && !errand_is_done(f->errand))
        return -EAGAIN;
    EVP_MD_CTX *copy = EVP_MD_CTX_new();
    bool ok =
        copy && EVP_MD_CTX_copy_ex(copy, f->state->hash) && EVP_DigestFinal_ex(copy, digest, NULL);
    EVP_MD_CTX_free(copy);
    return ok ? 0 : -EIO;
}

int file_descriptor(const struct file *f) {
    return f->state->fd;
}

int64_t file_position(const struct file *f) {
    return f->position;
}
