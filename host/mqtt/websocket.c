#include "host/mqtt/websocket.h"

#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

void websocket_new_key(char key[WEBSOCKET_KEY_SIZE]) {
    unsigned char bytes[16] = {0};
    if (getrandom(bytes, sizeof bytes, 0) < 0)
        abort();
    EVP_EncodeBlock((unsigned char *)key, bytes, sizeof bytes);
}

void websocket_accept_of(const char *key, char accept[WEBSOCKET_ACCEPT_SIZE]) {
    static const char GUID[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; /* RFC 6455 §1.3 */
    unsigned char digest[EVP_MAX_MD_SIZE];
    char text[WEBSOCKET_KEY_SIZE + sizeof GUID];
    strcpy(stpcpy(text, key), GUID);
    if (!EVP_Digest(text, strlen(text), digest, NULL, EVP_sha1(), NULL))
        abort();
    EVP_EncodeBlock((unsigned char *)accept, digest, 20);
}

const char *websocket_find_fault(const struct http_answer *answer, const char *key,
                                 const char *protocol) {
    char accept[WEBSOCKET_ACCEPT_SIZE];
    websocket_accept_of(key, accept);
    if (!http_has(answer, "upgrade", "websocket") || !http_has(answer, "connection", "upgrade"))
        return "the answer is no upgrade to a WebSocket";
    if (!http_is(answer, "sec-websocket-accept", accept))
        return "the answer is not to our WebSocket key";
    if (!http_has(answer, "sec-websocket-protocol", protocol))
        return "the server's WebSocket does not speak MQTT";
    return NULL;
}
