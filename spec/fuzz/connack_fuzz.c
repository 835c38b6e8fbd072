/* libFuzzer on what brokers say of themselves: CONNACK, or (when it begins with 'R') a reference.
 */
#include "host/mqtt/connack.h"
#include "spec/fuzz/fuzz.h"

static void check_reference(const uint8_t *data, size_t size) {
    char *text = calloc(1, size + 1), host[MQTT_REFERENCE_MAX + 1];
    int port = 1883;
    require(text != NULL);
    memcpy(text, data, size);
    if (mqtt_reference_parse(text, host, &port))
        require(host[0] && strlen(host) <= MQTT_REFERENCE_MAX && port > 0 && port <= UINT16_MAX);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct mqtt_connack connack;
    uint8_t *exact = copy_exactly(data, size);
    if (size > 0 && *data == 'R')
        check_reference(data + 1, size - 1);
    else if (!mqtt_connack_parse(exact, size, &connack))
        require(!connack.keepalive_s && !connack.packet_max && !connack.reference[0]);
    free(exact);
    return 0;
}
