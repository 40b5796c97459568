
/*
 * Unsigned numbers of 64 bits in decimal digits.
 */


#include <string.h>

#include "rtbus_number.h"


#define RTBUS_NUMBER_PART  100000000         /* 8 digits, fits in 32 bits */


const uint8_t *
rtbus_number_parse(uint64_t *n, const uint8_t *p, const uint8_t *last)
{
    unsigned        digit;
    uint64_t        value;
    const uint8_t  *start, *safe;

    start = p;

    /* no 19 digits are too much */

    safe = (last - p < RTBUS_NUMBER_MAX) ? last : p + RTBUS_NUMBER_MAX - 1;

    for (value = 0; p < safe; p++) {
        digit = *p - '0';

        if (digit > 9) {
            break;
        }

        value = value * 10 + digit;
    }

    if (p == start || (*start == '0' && p - start > 1)) {
        return NULL;
    }

    for ( /* void */ ; p < last; p++) {
        digit = *p - '0';

        if (digit > 9) {
            break;
        }

        if (value > (UINT64_MAX - digit) / 10) {
            return NULL;
        }

        value = value * 10 + digit;
    }

    *n = value;

    return p;
}


size_t
rtbus_number_write(uint8_t *dst, uint64_t n)
{
    int        i;
    size_t     len;
    uint8_t   *p, buf[RTBUS_NUMBER_MAX];
    uint32_t   part;

    static const char  pairs[] =
        "00010203040506070809" "10111213141516171819"
        "20212223242526272829" "30313233343536373839"
        "40414243444546474849" "50515253545556575859"
        "60616263646566676869" "70717273747576777879"
        "80818283848586878889" "90919293949596979899";

    p = buf + sizeof(buf);

    /* divisions of 32 bits are cheaper */

    for ( /* void */ ; n >= RTBUS_NUMBER_PART; n /= RTBUS_NUMBER_PART) {
        part = n % RTBUS_NUMBER_PART;

        for (i = 0; i < 4; i++) {
            p -= 2;
            memcpy(p, &pairs[part % 100 * 2], 2);
            part /= 100;
        }
    }

    for (part = n; part >= 100; part /= 100) {
        p -= 2;
        memcpy(p, &pairs[part % 100 * 2], 2);
    }

    if (part >= 10) {
        p -= 2;
        memcpy(p, &pairs[part * 2], 2);

    } else {
        *--p = '0' + part;
    }

    len = buf + sizeof(buf) - p;

    if (dst) {
        memcpy(dst, p, len);
    }

    return len;
}
