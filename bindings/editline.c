/***
The line editor on the terminal.
@module p2pd.core.editline
@pragma nostrip
*/
#include <errno.h>
#include <math.h>
#include <unistd.h>

#include "bindings/bind.h"
#include "bindings/scheduler.h"
#include "host/editline.h"

#define EDITLINE_CLASS "p2pd.editline"

struct lua_editline {
    struct editline *editor; /* NULL: closed */
    struct waitlist waiters;
};

static const char *const EVENTS[] = {NULL, "line", "end", "complete", "interrupt"};

static void on_event(void *owner) {
    struct lua_editline *self = owner;
    task_wake(&self->waiters);
}

static struct editline *check_open(lua_State *L) {
    struct lua_editline *self = luaL_checkudata(L, 1, EDITLINE_CLASS);
    luaL_argcheck(L, self->editor, 1, "an open editor expected, got a closed one");
    return self->editor;
}

/***
An editor on standard input and output.
@function open
@treturn p2pd.editline to be closed; or nil, message, code
*/
static int l_open(lua_State *L) {
    struct lua_editline *self = bind_new(L, EDITLINE_CLASS, sizeof *self);
    self->editor = editline_new(on_event, self);
    return self->editor ? 1 : push_error(L, errno, "open the line editor");
}

/***
Whether a descriptor is a terminal.
@function is_terminal
@tparam[opt=0] integer descriptor
@treturn boolean
*/
static int l_is_terminal(lua_State *L) {
    lua_pushboolean(L, isatty((int)luaL_optinteger(L, 1, STDIN_FILENO)));
    return 1;
}

/***
The terminal's width.
@function columns
@treturn integer
*/
static int l_columns(lua_State *L) {
    lua_pushinteger(L, editline_columns());
    return 1;
}

/***
Writes a file that only its owner can read, in place of the former one.
@function save
@tparam string path
@tparam string text
@return true; or nil, message, code
*/
static int l_save(lua_State *L) {
    const char *path = luaL_checkstring(L, 1);
    int err = editline_save(path, luaL_checkstring(L, 2));
    if (err < 0)
        return push_error(L, err, "save %s", path);
    lua_pushboolean(L, 1);
    return 1;
}

/***
Shows a prompt and begins to edit a line.
@function editline:start
@tparam string prompt
*/
static int m_start(lua_State *L) {
    editline_start(check_open(L), luaL_checkstring(L, 2));
    return 0;
}

/***
Stops editing; the terminal is as it was.
@function editline:stop
*/
static int m_stop(lua_State *L) {
    editline_stop(check_open(L));
    return 0;
}

static int wait_k(lua_State *L, int status, lua_KContext ctx);

static int look(lua_State *L, struct lua_editline *self, bool first_try) {
    enum editline_event event = self->editor ? editline_event(self->editor) : EDITLINE_END;
    if (event == EDITLINE_NONE)
        return first_try ? task_wait(L, &self->waiters, INFINITY, 0, wait_k)
                         : task_wait_again(L, &self->waiters, 0, wait_k);
    lua_pushstring(L, EVENTS[event]);
    lua_pushstring(L, self->editor ? editline_text(self->editor) : "");
    return 2;
}

static int wait_k(lua_State *L, int status, lua_KContext ctx) {
    (void)status, (void)ctx;
    return look(L, lua_touserdata(L, 1), false);
}

/***
Waits for what happens.
@function editline:wait
@treturn string "line", "end", "complete" or "interrupt"
@treturn string the text so far
*/
static int m_wait(lua_State *L) {
    check_open(L);
    task_prepare(L);
    return look(L, lua_touserdata(L, 1), true);
}

/***
Goes on editing after "complete".
@function editline:resume
@tparam[opt=""] string text to be inserted
*/
static int m_resume(lua_State *L) {
    editline_resume(check_open(L), luaL_optstring(L, 2, ""));
    return 0;
}

/***
Ends the line as Ctrl-C does.
@function editline:interrupt
*/
static int m_interrupt(lua_State *L) {
    editline_interrupt(check_open(L));
    return 0;
}

/***
Prints above the line that is edited.
@function editline:print
@tparam string text
*/
static int m_print(lua_State *L) {
    size_t len;
    const char *text = luaL_checklstring(L, 2, &len);
    editline_print(check_open(L), text, len);
    return 0;
}

/***
Adds a line to the history.
@function editline:add_history
@tparam string line
*/
static int m_add_history(lua_State *L) {
    editline_add_history(check_open(L), luaL_checkstring(L, 2));
    return 0;
}

/***
Ends the editor. It can be called twice.
@function editline:close
*/
static int m_close(lua_State *L) {
    struct lua_editline *self = luaL_checkudata(L, 1, EDITLINE_CLASS);
    struct editline *editor = self->editor;
    if (!editor)
        return 0;
    self->editor = NULL;
    editline_free(editor);
    task_wake_all(&self->waiters);
    return 0;
}

static int m_tostring(lua_State *L) {
    struct lua_editline *self = luaL_checkudata(L, 1, EDITLINE_CLASS);
    lua_pushfstring(L, "editline (%s): %p", self->editor ? "open" : "closed", (void *)self);
    return 1;
}

static const luaL_Reg METHODS[] = {{"start", m_start},
                                   {"stop", m_stop},
                                   {"wait", m_wait},
                                   {"resume", m_resume},
                                   {"interrupt", m_interrupt},
                                   {"print", m_print},
                                   {"add_history", m_add_history},
                                   {"close", m_close},
                                   {NULL, NULL}};
static const luaL_Reg META[] = {
    {"__gc", m_close}, {"__close", m_close}, {"__tostring", m_tostring}, {NULL, NULL}};
static const luaL_Reg FUNCTIONS[] = {{"open", l_open},
                                     {"is_terminal", l_is_terminal},
                                     {"columns", l_columns},
                                     {"save", l_save},
                                     {NULL, NULL}};

int bind_editline(lua_State *L) {
    bind_class(L, EDITLINE_CLASS, METHODS, META);
    luaL_newlib(L, FUNCTIONS);
    return 1;
}
