/*
 * paho's two threads end with its last handle, which takes long, and begin with the next one. So
 * there is a handle of no client, the anchor, which keeps them until no client has been there for
 * a while; it is also the one that mqtt_nudge.c wakes the receiving thread through. Whatever paho
 * does with the anchor may block: worker threads do it, under a lock, since the job that drops the
 * anchor may run beside one that needs it.
 */
#include "host/mqtt/paho.h"

#include <MQTTAsync.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>

#include "host/loop.h"
#include "host/mqtt/nudge.h"
#include "host/worker.h"

#define IDLE_S 5.0
#define SHUTDOWN_S 1.0

static atomic_int clients;
static ev_timer idle;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static MQTTAsync anchor; /* under the lock */

/* -- on worker threads ----------------------------------------------------------------------- */

/* Under the lock. */
static void make_anchor(void) {
    MQTTAsync_init_options init = MQTTAsync_init_options_initializer;
    init.do_openssl_init = 0;
    if (anchor)
        return;
    MQTTAsync_global_init(&init);
    MQTTAsync_create(&anchor, "tcp://127.0.0.1:1", "p2pd", MQTTCLIENT_PERSISTENCE_NONE, NULL);
}

void mqtt_paho_start(void) {
    pthread_mutex_lock(&lock);
    make_anchor();
    pthread_mutex_unlock(&lock);
}

static void start_work(void *nudge_port) {
    char uri[32], *uris[] = {uri};
    int port = (int)(intptr_t)nudge_port;
    snprintf(uri, sizeof uri, "tcp://127.0.0.1:%d", port);
    MQTTAsync_connectOptions options = MQTTAsync_connectOptions_initializer;
    options.MQTTVersion = MQTTVERSION_3_1_1;
    options.keepAliveInterval = 0;
    options.serverURIs = uris;
    options.serverURIcount = 1;
    pthread_mutex_lock(&lock);
    make_anchor();
    if (anchor && port > 0)
        MQTTAsync_connect(anchor, &options);
    pthread_mutex_unlock(&lock);
}

static void stop_work(void *unused) {
    (void)unused;
    pthread_mutex_lock(&lock);
    if (anchor && atomic_load(&clients) == 0)
        MQTTAsync_destroy(&anchor);
    pthread_mutex_unlock(&lock);
}

/* -- on the loop's thread -------------------------------------------------------------------- */

static void nothing(void *unused) {
    (void)unused;
}

/* The timer does not keep the loop alive: its reference is given back while it runs. */
static void on_idle(struct ev_loop *loop, ev_timer *w, int events) {
    (void)w, (void)events;
    ev_ref(loop);
    worker_submit(stop_work, nothing, NULL);
}

static void start_idle(void) {
    ev_now_update(loop_get());
    ev_timer_init(&idle, on_idle, IDLE_S, 0);
    ev_timer_start(loop_get(), &idle);
    ev_unref(loop_get());
}

static void stop_idle(void) {
    if (!ev_is_active(&idle) && !ev_is_pending(&idle))
        return;
    ev_ref(loop_get());
    ev_timer_stop(loop_get(), &idle);
}

void mqtt_paho_enter(void) {
    if (atomic_fetch_add(&clients, 1) > 0)
        return;
    stop_idle();
    worker_submit(start_work, nothing, (void *)(intptr_t)mqtt_nudge_open());
}

void mqtt_paho_leave(void) {
    if (atomic_fetch_sub(&clients, 1) > 1)
        return;
    mqtt_nudge_close();
    start_idle();
}

void mqtt_paho_shutdown(void) {
    double deadline = loop_now() + SHUTDOWN_S;
    while (atomic_load(&clients) > 0 && loop_now() < deadline)
        loop_turn(deadline);
}
