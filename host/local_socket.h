/* Unix sockets: a path in the file system in place of an address and a port. */
#ifndef P2PD_HOST_LOCAL_SOCKET_H
#define P2PD_HOST_LOCAL_SOCKET_H

/* A connected descriptor or -errno; -EAGAIN: the listener's backlog is full at the moment. */
int local_socket_connect(const char *path);

/* A listener that this user alone can connect to, or -errno. What a dead process has left at the
 * path is replaced; -EADDRINUSE when somebody listens there, or it is no socket. */
int local_socket_listen(const char *path, int backlog);

#endif
