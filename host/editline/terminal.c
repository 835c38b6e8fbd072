#include "host/editline/terminal.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include "host/editline/paste.h"

#define COLUMNS_DEFAULT 80
#define ROWS_DEFAULT 24

static struct termios found; /* the terminal's state before we touched it */
static volatile sig_atomic_t touched;

bool terminal_is_usable(void) {
    const char *term = getenv("TERM");
    return isatty(STDIN_FILENO) && isatty(STDOUT_FILENO) && term && *term &&
           strcmp(term, "dumb") != 0;
}

static void tell_terminal(const char *sequence) {
    (void)!write(STDOUT_FILENO, sequence, strlen(sequence));
}

void terminal_put_back(void) {
    if (!touched)
        return;
    tell_terminal(PASTE_OFF);
    tcsetattr(STDIN_FILENO, TCSANOW, &found);
}

void terminal_leave(void) {
    terminal_put_back();
    if (touched)
        tell_terminal("\n");
}

static const int DEADLY[] = {SIGQUIT, SIGHUP, SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
#define DEADLY_COUNT (sizeof DEADLY / sizeof *DEADLY)
static struct sigaction former[DEADLY_COUNT];

static void on_deadly(int number) {
    terminal_leave();
    signal(number, SIG_DFL);
    raise(number);
}

/* Signals that somebody handles or ignores are theirs. */
static void catch_deadly(void) {
    struct sigaction ours = {.sa_handler = on_deadly};
    for (size_t i = 0; i < DEADLY_COUNT; i++) {
        sigaction(DEADLY[i], NULL, &former[i]);
        if (former[i].sa_handler == SIG_DFL)
            sigaction(DEADLY[i], &ours, NULL);
    }
}

static void release_deadly(void) {
    for (size_t i = 0; i < DEADLY_COUNT; i++)
        sigaction(DEADLY[i], &former[i], NULL);
}

void terminal_take(void) {
    static bool registered;
    if (!registered)
        registered = atexit(terminal_leave) == 0;
    tcgetattr(STDIN_FILENO, &found);
    touched = true;
    catch_deadly();
}

void terminal_bracket_pastes(void) {
    tell_terminal(PASTE_ON);
}

void terminal_forget(void) {
    release_deadly();
    touched = false;
}

int terminal_columns(void) {
    struct winsize size;
    bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0;
    return known ? size.ws_col : COLUMNS_DEFAULT;
}

int terminal_rows(void) {
    struct winsize size;
    bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_row > 0;
    return known ? size.ws_row : ROWS_DEFAULT;
}
