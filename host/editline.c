/*
 * libedit in its unbuffered mode, in which el_gets() serves one key and returns, so that the loop
 * can call it when the terminal has a byte. Two things keep it from blocking or spoiling the rest:
 * it reads through a function of ours that gives an unfinished escape sequence up after KEY_GAP_MS,
 * and it works under the user's character set without setlocale(), which would change Lua's
 * patterns.
 *
 * The terminal is raw only while a prompt is shown; host/editline/terminal.c puts it back. Keys go
 * to libedit, but for those of a paste and of a search, which would make it wait for more of them.
 */
#include "host/editline.h"

#include <errno.h>
#include <locale.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>
#include <wchar.h>

#include "host/editline/library.h"
#include "host/editline/paste.h"
#include "host/editline/screen.h"
#include "host/editline/search.h"
#include "host/editline/terminal.h"
#include "host/log.h"
#include "host/loop.h"

#define KEY_GAP_MS 50 /* between the bytes of one key: a terminal sends them at once */
#define HISTORY_LINES 1000
#define CTRL_D 4

struct editline {
    struct editline_screen screen;
    History *history;
    locale_t locale;
    char *text;
    enum editline_event event;
    bool shown, tabbed, gone, pasting, searching;
    wchar_t unread; /* a key that was read and is libedit's, or 0 */
    struct editline_paste paste;
    struct editline_search search;
    ev_io keys;
    ev_signal resized, stopped;
    void (*on_event)(void *owner);
    void *owner;
};

static const struct editline_library *lib; /* set while there is an editor */
static struct editline *current;
static pthread_t loop_thread;

/* -- what others print ---------------------------------------------------------------------- */

void editline_print(struct editline *e, const char *text, size_t len) {
    if (!e->shown) {
        fwrite(text, 1, len, stdout);
        return;
    }
    locale_t outside = uselocale(e->locale);
    editline_screen_erase(&e->screen);
    fwrite(text, 1, len, stdout);
    if (len && text[len - 1] != '\n')
        putc('\n', stdout);
    editline_screen_draw(&e->screen);
    uselocale(outside);
}

static void print_posted(void *arg) {
    if (current && current->shown)
        editline_print(current, arg, strlen(arg));
    else
        fputs(arg, stderr);
    free(arg);
}

static void on_log(const char *line) {
    if (pthread_equal(pthread_self(), loop_thread) && current) {
        editline_print(current, line, strlen(line));
        return;
    }
    char *copy = strdup(line);
    if (copy)
        loop_post(print_posted, copy);
}

/* -- the keyboard -------------------------------------------------------------------------- */

static char *prompt_of(EditLine *el) {
    struct editline *e;
    lib->get(el, EL_CLIENTDATA, &e);
    return e->screen.prompt;
}

static unsigned char on_tab(EditLine *el, int key) {
    (void)key;
    struct editline *e;
    lib->get(el, EL_CLIENTDATA, &e);
    e->tabbed = true;
    return CC_NORM;
}

static unsigned char on_paste(EditLine *el, int key) {
    (void)key;
    struct editline *e;
    lib->get(el, EL_CLIENTDATA, &e);
    e->pasting = true;
    return CC_NORM;
}

static unsigned char on_search(EditLine *el, int key) {
    (void)key;
    struct editline *e;
    lib->get(el, EL_CLIENTDATA, &e);
    e->searching = true;
    return CC_NORM;
}

static int read_byte(struct editline *e, char *byte) {
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    if (poll(&input, 1, KEY_GAP_MS) <= 0)
        return 0;
    ssize_t n = read(STDIN_FILENO, byte, 1);
    e->gone = n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN);
    return n == 1;
}

/* libedit's source of characters: 1, or 0 when none came in time. */
static int read_character(EditLine *el, wchar_t *out) {
    struct editline *e;
    lib->get(el, EL_CLIENTDATA, &e);
    if (e->unread) {
        *out = e->unread;
        e->unread = 0;
        return 1;
    }
    mbstate_t state = {0};
    for (char byte; read_byte(e, &byte);) {
        size_t used = mbrtowc(out, &byte, 1, &state);
        if (used == (size_t)-1)
            *out = L'?';
        if (used != (size_t)-2)
            return 1;
    }
    return 0;
}

static void happen(struct editline *e, enum editline_event event, const char *text, size_t len) {
    free(e->text);
    e->text = strndup(text, len);
    e->event = event;
    ev_io_stop(loop_get(), &e->keys);
    e->on_event(e->owner);
}

/* libedit has put ^D into the line and on the screen. */
static void happen_end(struct editline *e) {
    lib->deletestr(e->screen.el, 1);
    editline_screen_erase(&e->screen);
    editline_screen_draw(&e->screen);
    happen(e, EDITLINE_END, "", 0);
}

static void happen_tab(struct editline *e) {
    const LineInfo *line = lib->line(e->screen.el);
    happen(e, EDITLINE_COMPLETE, line->buffer, (size_t)(line->cursor - line->buffer));
}

static void serve_key(struct editline *e) {
    int len = 0;
    e->tabbed = false;
    const char *text = lib->gets(e->screen.el, &len);
    size_t n = text && len > 0 ? (size_t)len : 0;
    if (e->gone)
        happen(e, EDITLINE_END, "", 0);
    else if (n == 1 && text[0] == CTRL_D)
        happen_end(e);
    else if (e->tabbed)
        happen_tab(e);
    else if (n && text[n - 1] == '\n')
        happen(e, EDITLINE_LINE, text, n - 1);
}

/* -- a paste: the terminal brackets it, and it is taken as it is ----------------------------- */

static void serve_paste(struct editline *e) {
    char byte;
    while (!editline_paste_is_whole(&e->paste) && read_byte(e, &byte))
        editline_paste_add(&e->paste, byte);
    if (e->gone) {
        happen(e, EDITLINE_END, "", 0);
    } else if (editline_paste_is_whole(&e->paste)) {
        e->pasting = false;
        editline_screen_erase(&e->screen);
        lib->insertstr(e->screen.el, editline_paste_text(&e->paste));
        editline_paste_clear(&e->paste);
        editline_screen_draw(&e->screen);
    }
}

/* -- the search of what was typed before --------------------------------------------------- */

static void show_search(struct editline *e) {
    const char *match = editline_search_match(&e->search);
    editline_screen_erase(&e->screen);
    editline_screen_prompt(&e->screen, editline_search_prompt(&e->search));
    if (match)
        editline_screen_replace(&e->screen, match);
    editline_screen_draw(&e->screen);
}

/* From here on the line is edited, beginning with what was found or with what stood there. */
static void end_search(struct editline *e, bool accepted) {
    const char *match = editline_search_match(&e->search);
    const char *original = editline_search_original(&e->search);
    editline_screen_erase(&e->screen);
    editline_screen_prompt(&e->screen, editline_search_former_prompt(&e->search));
    editline_screen_replace(&e->screen, accepted && match ? match : original);
    editline_search_end(&e->search);
    e->searching = false;
    editline_screen_draw(&e->screen);
}

static void begin_search(struct editline *e) {
    editline_search_begin(&e->search, lib, e->history, lib->line(e->screen.el), e->screen.prompt);
    show_search(e);
}

/* Keys that edit what is looked for; any other ends the search and does what it is for. */
static void serve_search(struct editline *e) {
    wchar_t key;
    if (read_character(e->screen.el, &key) != 1) {
        if (e->gone)
            happen(e, EDITLINE_END, "", 0);
        return;
    }
    switch (editline_search_key(&e->search, key)) {
    case SEARCH_GOES_ON:
        show_search(e);
        break;
    case SEARCH_GIVEN_UP:
        end_search(e, false);
        break;
    case SEARCH_ACCEPTED:
        end_search(e, true);
        e->unread = key;
        serve_key(e);
        break;
    }
}

static void serve(struct editline *e) {
    bool searched = e->searching;
    if (e->pasting)
        serve_paste(e);
    else if (searched)
        serve_search(e);
    else
        serve_key(e);
    if (e->searching && !searched)
        begin_search(e);
    if (e->pasting)
        serve_paste(e);
}

static void on_key(struct ev_loop *l, ev_io *w, int events) {
    (void)l, (void)events;
    struct editline *e = w->data;
    locale_t outside = uselocale(e->locale);
    serve(e);
    uselocale(outside);
}

static void redraw(struct editline *e) {
    locale_t outside = uselocale(e->locale);
    editline_screen_erase(&e->screen);
    lib->resize(e->screen.el);
    editline_screen_draw(&e->screen);
    uselocale(outside);
}

static void on_resized(struct ev_loop *l, ev_signal *w, int events) {
    (void)l, (void)events;
    redraw(w->data);
}

/* Ctrl-Z: stop with the terminal as it was found, go on with it as it was left. */
static void on_stopped(struct ev_loop *l, ev_signal *w, int events) {
    (void)l, (void)events;
    struct termios raw;
    tcgetattr(STDIN_FILENO, &raw);
    terminal_put_back();
    raise(SIGSTOP);
    tcsetattr(STDIN_FILENO, TCSANOW, &raw);
    terminal_bracket_pastes();
    redraw(w->data);
}

/* -- the editor ---------------------------------------------------------------------------- */

static void set_up(struct editline *e) {
    HistEvent ignored;
    lib->history(e->history, &ignored, H_SETSIZE, HISTORY_LINES);
    lib->history(e->history, &ignored, H_SETUNIQUE, 1);
    lib->set(e->screen.el, EL_CLIENTDATA, e);
    lib->set(e->screen.el, EL_SIGNAL, 0);
    lib->set(e->screen.el, EL_EDITOR, "emacs");
    lib->set(e->screen.el, EL_PROMPT, prompt_of);
    lib->set(e->screen.el, EL_HIST, lib->history, e->history);
    lib->wset(e->screen.el, EL_GETCFN, read_character);
    lib->wset(e->screen.el, EL_ADDFN, L"p2pd-complete", L"Complete the name",
              on_tab); /* el_set() leaks */
    lib->set(e->screen.el, EL_BIND, "^I", "p2pd-complete", NULL);
    lib->wset(e->screen.el, EL_ADDFN, L"p2pd-search", L"Search what was typed before", on_search);
    lib->set(e->screen.el, EL_BIND, "^R", "p2pd-search", NULL);
    lib->wset(e->screen.el, EL_ADDFN, L"p2pd-paste", L"Take what is pasted as it is", on_paste);
    lib->set(e->screen.el, EL_BIND, PASTE_BEGIN, "p2pd-paste", NULL);
    lib->source(e->screen.el, NULL);
}

static void watch(struct editline *e) {
    ev_io_init(&e->keys, on_key, STDIN_FILENO, EV_READ);
    ev_signal_init(&e->resized, on_resized, SIGWINCH);
    ev_signal_init(&e->stopped, on_stopped, SIGTSTP);
    e->keys.data = e->resized.data = e->stopped.data = e;
}

void editline_leave(void) {
    terminal_leave();
}

int editline_columns(void) {
    return terminal_columns();
}

struct editline *editline_new(void (*on_event)(void *owner), void *owner) {
    errno = current ? EBUSY : ENOTTY;
    if (current || !terminal_is_usable())
        return NULL;
    errno = ELIBACC;
    lib = editline_library();
    if (!lib)
        return NULL;
    struct editline *e = calloc(1, sizeof *e);
    if (!e)
        abort();
    e->on_event = on_event;
    e->owner = owner;
    e->locale = newlocale(LC_CTYPE_MASK, "", (locale_t)0);
    if (!e->locale)
        e->locale = LC_GLOBAL_LOCALE;
    e->screen.lib = lib;
    editline_screen_prompt(&e->screen, "");
    locale_t outside = uselocale(e->locale);
    e->screen.el = lib->init("p2pd", stdin, stdout, stderr);
    e->history = lib->history_init();
    if (!e->screen.el || !e->history)
        abort();
    set_up(e);
    uselocale(outside);
    watch(e);
    current = e;
    loop_thread = pthread_self();
    return e;
}

void editline_start(struct editline *e, const char *prompt) {
    editline_stop(e);
    editline_screen_prompt(&e->screen, prompt);
    e->event = EDITLINE_NONE;
    fflush(stdout);
    terminal_take();
    e->shown = true;
    terminal_bracket_pastes();
    locale_t outside = uselocale(e->locale);
    lib->set(e->screen.el, EL_UNBUFFERED, 1);
    uselocale(outside);
    ev_io_start(loop_get(), &e->keys);
    ev_signal_start(loop_get(), &e->resized);
    ev_signal_start(loop_get(), &e->stopped);
    log_redirect(on_log);
}

/* What a paste or a search has begun is of the line that is over. */
static void forget_modes(struct editline *e) {
    editline_paste_clear(&e->paste);
    editline_search_end(&e->search);
    e->pasting = e->searching = false;
    e->unread = 0;
}

void editline_stop(struct editline *e) {
    if (!e->shown)
        return;
    log_redirect(NULL);
    ev_io_stop(loop_get(), &e->keys);
    ev_signal_stop(loop_get(), &e->resized);
    ev_signal_stop(loop_get(), &e->stopped);
    forget_modes(e);
    locale_t outside = uselocale(e->locale);
    lib->set(e->screen.el, EL_UNBUFFERED, 0);
    uselocale(outside);
    if (e->event == EDITLINE_NONE)
        terminal_leave();
    else
        terminal_put_back();
    terminal_forget();
    e->shown = false;
}

enum editline_event editline_event(const struct editline *e) {
    return e->event;
}

const char *editline_text(const struct editline *e) {
    return e->text ? e->text : "";
}

void editline_resume(struct editline *e, const char *text) {
    if (!e->shown || e->event != EDITLINE_COMPLETE)
        return;
    e->event = EDITLINE_NONE;
    locale_t outside = uselocale(e->locale);
    editline_screen_erase(&e->screen);
    if (*text)
        lib->insertstr(e->screen.el, text);
    editline_screen_draw(&e->screen);
    uselocale(outside);
    ev_io_start(loop_get(), &e->keys);
}

void editline_interrupt(struct editline *e) {
    if (!e->shown || e->event != EDITLINE_NONE)
        return;
    locale_t outside = uselocale(e->locale);
    if (e->searching)
        end_search(e, false);
    const LineInfoW *line = lib->wline(e->screen.el);
    editline_screen_erase(&e->screen);
    lib->cursor(e->screen.el, (int)(line->lastchar - line->cursor));
    editline_screen_draw(&e->screen);
    uselocale(outside);
    fputs("^C\r\n", stdout);
    happen(e, EDITLINE_INTERRUPT, "", 0);
}

void editline_add_history(struct editline *e, const char *line) {
    HistEvent ignored;
    locale_t outside = uselocale(e->locale);
    lib->history(e->history, &ignored, H_ENTER, line);
    uselocale(outside);
}

void editline_free(struct editline *e) {
    editline_stop(e);
    current = NULL;
    lib->end(e->screen.el);
    lib->history_end(e->history);
    if (e->locale != LC_GLOBAL_LOCALE)
        freelocale(e->locale);
    free(e->screen.prompt);
    free(e->text);
    free(e);
}
