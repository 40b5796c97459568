
#include <string.h>

#include "rtbus_slot.h"


/* CRC-16 with the polynomial 0x1021, as XMODEM has it, four bits at a time */

static const uint16_t  rtbus_slot_crc[] = {
    0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50a5, 0x60c6, 0x70e7,
    0x8108, 0x9129, 0xa14a, 0xb16b, 0xc18c, 0xd1ad, 0xe1ce, 0xf1ef
};


unsigned
rtbus_slot(const uint8_t *key, size_t len)
{
    unsigned        crc;
    const uint8_t  *p, *last, *open, *close;

    p = key;
    last = key + len;

    open = len ? memchr(p, '{', len) : NULL;

    if (open) {
        open++;
        close = memchr(open, '}', last - open);

        if (close && close > open) {
            p = open;
            last = close;
        }
    }

    crc = 0;

    while (p < last) {
        crc = (crc << 4) ^ rtbus_slot_crc[((crc >> 12) ^ (*p >> 4)) & 0xf];
        crc = (crc << 4) ^ rtbus_slot_crc[((crc >> 12) ^ *p) & 0xf];
        p++;
    }

    return crc % RTBUS_SLOTS;
}
