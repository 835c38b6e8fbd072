/*
 * IPv4 addresses and what belongs to them come from ioctls (netdevice(7)), IPv6 ones from /proc,
 * and which of them lead out from sockets that are connected, but send nothing. Where all else is
 * denied, too, the sources of those stand for the one interface there is.
 */
#include "host/netif/plain.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "host/netif/way.h"

#define CONF_MAX 65536 /* bytes of an answer to SIOCGIFCONF: 1,600 addresses */
#define UNNAMED "net"

/* Root name servers (a.root-servers.net): addresses that every way out leads to. */
static const char *const OUTSIDE[] = {"198.41.0.4", "2001:503:ba3e::2:30"};

/* -- IPv4 ---------------------------------------------------------------------------------- */

static int count_bits(uint32_t mask) {
    return __builtin_popcount(mask);
}

static void describe(struct netif *nif, int fd) {
    struct ifreq request = {0};
    memcpy(request.ifr_name, nif->name, IF_NAMESIZE);
    if (ioctl(fd, SIOCGIFFLAGS, &request) == 0)
        netif_set_flags(nif, (unsigned short)request.ifr_flags);
    if (ioctl(fd, SIOCGIFMTU, &request) == 0)
        nif->mtu = request.ifr_mtu;
}

/* An IPv4 address may carry a label of its own ("eth0:1"): the interface is what stands before. */
static struct netif *interface_of(struct netif_table *t, int fd, const char *label) {
    char name[IF_NAMESIZE];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(label, ":"), label);
    struct netif *nif = netif_table_find(t, name);
    if (nif)
        return nif;
    nif = netif_table_add(t, name, if_nametoindex(name));
    if (nif)
        describe(nif, fd);
    return nif;
}

static int take_request(struct netif_table *t, int fd, const struct ifreq *entry) {
    struct sockaddr_in address, mask;
    struct ifreq request = *entry;
    if (entry->ifr_addr.sa_family != AF_INET)
        return 0;
    memcpy(&address, &entry->ifr_addr, sizeof address);
    int prefix = 32;
    if (ioctl(fd, SIOCGIFNETMASK, &request) == 0) {
        memcpy(&mask, &request.ifr_netmask, sizeof mask);
        prefix = count_bits(mask.sin_addr.s_addr);
    }
    struct netif *nif = interface_of(t, fd, entry->ifr_name);
    return nif && netif_add_addr(nif, AF_INET, &address.sin_addr, prefix) ? 0 : -ENOMEM;
}

static int list_ipv4(struct netif_table *t) {
    struct ifconf conf = {.ifc_len = CONF_MAX, .ifc_buf = malloc(CONF_MAX)};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int err = 0;
    if (fd >= 0 && conf.ifc_buf && ioctl(fd, SIOCGIFCONF, &conf) == 0)
        for (size_t i = 0; !err && i < (size_t)conf.ifc_len / sizeof(struct ifreq); i++)
            err = take_request(t, fd, &conf.ifc_req[i]);
    free(conf.ifc_buf);
    if (fd >= 0)
        close(fd);
    return err;
}

/* -- IPv6 ---------------------------------------------------------------------------------- */

static bool read_hex(const char *text, uint8_t bytes[16]) {
    for (int i = 0; i < 16; i++)
        if (sscanf(text + (ptrdiff_t)2 * i, "%2hhx", &bytes[i]) != 1)
            return false;
    return true;
}

static int list_ipv6(struct netif_table *t) {
    FILE *file = fopen("/proc/net/if_inet6", "re");
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), err = 0;
    char line[128], hex[33], name[IF_NAMESIZE];
    unsigned index, prefix, scope, flags;
    uint8_t bytes[16];
    while (file && !err && fgets(line, sizeof line, file)) {
        if (sscanf(line, "%32s %x %x %x %x %15s", hex, &index, &prefix, &scope, &flags, name) !=
                6 ||
            !read_hex(hex, bytes))
            continue;
        struct netif *nif = interface_of(t, fd, name);
        struct netif_addr *a = nif ? netif_add_addr(nif, AF_INET6, bytes, (int)prefix) : NULL;
        if (a)
            netif_set_addr_flags(a, flags);
        else
            err = -ENOMEM;
    }
    if (file)
        fclose(file);
    if (fd >= 0)
        close(fd);
    return err;
}

/* -- the way out --------------------------------------------------------------------------- */

static struct netif *unnamed(struct netif_table *t) {
    struct netif *nif = netif_table_find(t, UNNAMED);
    if (!nif && (nif = netif_table_add(t, UNNAMED, 0)))
        nif->up = true;
    return nif;
}

static int mark_way(struct netif_table *t, const char *outside) {
    struct inet_addr to, source;
    if (inet_parse(&to, outside, 0) < 0 || netif_source(&to, &source) < 0)
        return 0;
    struct netif *nif = netif_table_owner(t, &source);
    int family = source.any.sa_family;
    if (!nif) {
        const void *bytes = family == AF_INET6 ? (const void *)&source.v6.sin6_addr
                                               : (const void *)&source.v4.sin_addr;
        nif = unnamed(t);
        if (!nif || !netif_add_addr(nif, family, bytes, family == AF_INET6 ? 64 : 24))
            return -ENOMEM;
    }
    (family == AF_INET6 ? &nif->default6 : &nif->default4)->present = true;
    return 0;
}

int netif_list_plain(struct netif_table *t) {
    int err = list_ipv4(t);
    if (!err)
        err = list_ipv6(t);
    for (size_t i = 0; !err && i < sizeof OUTSIDE / sizeof *OUTSIDE; i++)
        err = mark_way(t, OUTSIDE[i]);
    netif_table_sort(t);
    return err;
}
