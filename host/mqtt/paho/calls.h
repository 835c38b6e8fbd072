/* The system calls of paho that are ours instead: see calls.c. */
#ifndef P2PD_HOST_MQTT_PAHO_CALLS_H
#define P2PD_HOST_MQTT_PAHO_CALLS_H

/* The descriptor, non-blocking, that paho gets when it connects to 127.0.0.1 and the port that this
 * returns; it is used once. Any thread. */
int paho_calls_offer(int fd);

/* Closes the descriptor, unless paho has it already. Any thread. */
void paho_calls_withdraw(int port);

#endif
