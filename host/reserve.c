/* Another thread may take the place while it is free: then there is no reserve until the next
 * restore(). */
#include "host/reserve.h"

#include <fcntl.h>
#include <unistd.h>

static int holders;
static int spare = -1;

void reserve_restore(void) {
    if (spare < 0 && holders)
        spare = open("/dev/null", O_RDONLY | O_CLOEXEC);
}

void reserve_hold(void) {
    holders++;
    reserve_restore();
}

void reserve_release(void) {
    if (--holders == 0)
        reserve_spend();
}

bool reserve_spend(void) {
    if (spare < 0)
        return false;
    close(spare);
    spare = -1;
    return true;
}
