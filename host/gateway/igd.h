/*
 * What an Internet Gateway Device (UPnP IGD 1 and 2) writes, read by libminiupnpc, which is loaded
 * when it is used and unloaded afterwards. The library only parses: what is read has been fetched
 * by somebody else, who bounds its size and says from whom it may come.
 */
#ifndef P2PD_HOST_GATEWAY_IGD_H
#define P2PD_HOST_GATEWAY_IGD_H

#include <stddef.h>

#define IGD_TEXT_MAX 128 /* with its NUL, as in the library */
#define IGD_NAME_MAX 64
#define IGD_DOCUMENT_MAX 65536 /* bytes that are parsed */
#define IGD_VALUES_MAX 32

struct igd_service {
    char type[IGD_TEXT_MAX], control[IGD_TEXT_MAX]; /* "" when there is none */
};

/* A device's description. */
struct igd_description {
    char url_base[IGD_TEXT_MAX];
    struct igd_service first, second, firewall; /* WAN connections; IPv6's firewall (IGD 2) */
};

/* The elements of an answer that have text: of SOAP, a call's results or a fault's fields. */
struct igd_reply {
    size_t count;
    struct {
        char name[IGD_NAME_MAX], value[IGD_TEXT_MAX];
    } values[IGD_VALUES_MAX];
};

/* 0, -ELIBACC when the library is not there, -EMSGSIZE for more than IGD_DOCUMENT_MAX bytes. */
int igd_parse_description(struct igd_description *d, const char *text, size_t len);
int igd_parse_reply(struct igd_reply *r, const char *text, size_t len);

#endif
