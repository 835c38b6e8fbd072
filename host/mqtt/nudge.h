/* Wakes paho's receiving thread, which else notices a new connection up to a second late. */
#ifndef P2PD_MQTT_NUDGE_H
#define P2PD_MQTT_NUDGE_H

/* All: loop thread only. Everything here may fail: then connecting is slow and still works. */

/* Opens the port that paho's idle handle is to connect to: the port, or -errno. */
int mqtt_nudge_open(void);
void mqtt_nudge_close(void);

/* Between begin and end paho is nudged again and again, at growing intervals. */
void mqtt_nudge_begin(void);
void mqtt_nudge_end(void);

#endif
