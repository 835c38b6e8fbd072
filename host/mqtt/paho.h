/* paho's life in this process: it runs while there are clients, and a little longer. */
#ifndef P2PD_MQTT_PAHO_H
#define P2PD_MQTT_PAHO_H

/* Loop thread: a client has come; a client is gone. */
void mqtt_paho_enter(void);
void mqtt_paho_leave(void);

/* Worker threads, for a client that has entered and before it makes a handle: paho is initialised
 * and its threads stay. */
void mqtt_paho_start(void);

/* Before the process ends: turns the loop until closed clients are gone, for one second at most. */
void mqtt_paho_shutdown(void);

#endif
