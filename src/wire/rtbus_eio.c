
/*
 * Engine.IO packets and polling payloads.
 */


#include <string.h>

#include "rtbus_eio.h"


int
rtbus_eio_parse(rtbus_eio_packet_t *packet, const uint8_t *p, size_t len)
{
    if (len == 0) {
        return RTBUS_ERROR;
    }

    if ((p[0] < RTBUS_EIO_OPEN || p[0] > RTBUS_EIO_NOOP)
        && p[0] != RTBUS_EIO_BINARY)
    {
        return RTBUS_ERROR;
    }

    packet->type = p[0];
    packet->data.data = (uint8_t *) p + 1;
    packet->data.len = len - 1;

    return RTBUS_OK;
}


int
rtbus_eio_next(rtbus_eio_packet_t *packet, const uint8_t **pos,
    const uint8_t *last)
{
    const uint8_t  *p, *end;

    p = *pos;

    if (p == last) {
        return RTBUS_AGAIN;
    }

    end = memchr(p, RTBUS_EIO_SEPARATOR, last - p);

    if (end == NULL) {
        end = last;

    } else if (end + 1 == last) {
        return RTBUS_ERROR;
    }

    if (rtbus_eio_parse(packet, p, end - p) != RTBUS_OK) {
        return RTBUS_ERROR;
    }

    *pos = (end == last) ? last : end + 1;

    return RTBUS_OK;
}
