
/*
 * UTF-8 the slow and plain way, to judge rtbus_utf8 by.  It knows nothing of
 * states or ranges of bytes: it works with the code points that the bytes at
 * hand can still become, and asks whether a permitted one is among them.
 */


#ifndef _RTBUS_UTF8_PLAIN_H_INCLUDED_
#define _RTBUS_UTF8_PLAIN_H_INCLUDED_


#include <stddef.h>
#include <stdint.h>


typedef enum {
    PLAIN_WHOLE = 0,
    PLAIN_PART,         /* ends inside of a character */
    PLAIN_BAD
} plain_e;


static plain_e
plain_char(const uint8_t *p, size_t len, size_t *used)
{
    size_t    size, i;
    uint32_t  first, last;

    static const uint32_t  min[] = { 0, 0, 0x80, 0x800, 0x10000 };
    static const uint32_t  max[] = { 0, 0x7f, 0x7ff, 0xffff, 0x10ffff };

    if ((p[0] & 0x80) == 0) {
        size = 1;
        first = p[0];

    } else if ((p[0] & 0xe0) == 0xc0) {
        size = 2;
        first = p[0] & 0x1f;

    } else if ((p[0] & 0xf0) == 0xe0) {
        size = 3;
        first = p[0] & 0x0f;

    } else if ((p[0] & 0xf8) == 0xf0) {
        size = 4;
        first = p[0] & 0x07;

    } else {
        return PLAIN_BAD;
    }

    last = first;

    for (i = 1; i < size; i++) {
        first <<= 6;
        last <<= 6;

        if (i >= len) {
            last |= 0x3f;
            continue;
        }

        if ((p[i] & 0xc0) != 0x80) {
            return PLAIN_BAD;
        }

        first |= p[i] & 0x3f;
        last |= p[i] & 0x3f;
    }

    if (first < min[size]) {
        first = min[size];
    }

    if (last > max[size]) {
        last = max[size];
    }

    if (first > last || (first >= 0xd800 && last <= 0xdfff)) {
        return PLAIN_BAD;
    }

    if (size > len) {
        *used = len;
        return PLAIN_PART;
    }

    *used = size;

    return PLAIN_WHOLE;
}


static plain_e
plain_check(const uint8_t *p, size_t len)
{
    size_t   used;
    plain_e  rc;

    while (len) {
        rc = plain_char(p, len, &used);

        if (rc != PLAIN_WHOLE) {
            return rc;
        }

        p += used;
        len -= used;
    }

    return PLAIN_WHOLE;
}


#endif /* _RTBUS_UTF8_PLAIN_H_INCLUDED_ */
