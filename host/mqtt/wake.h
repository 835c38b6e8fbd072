/* Ends the pause that paho makes between two polls. */
#ifndef P2PD_MQTT_WAKE_H
#define P2PD_MQTT_WAKE_H

/* Loop thread only. Does nothing when paho's receiving thread is not in its
 * pause. */
void mqtt_wake(void);

#endif
