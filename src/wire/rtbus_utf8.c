
/*
 * Incremental check of UTF-8.
 *
 * RFC 3629 section 4 lists what may follow each lead byte.  Only the byte right
 * after the lead has a range of its own (that is where overlong forms,
 * surrogates and everything above U+10FFFF are kept out); the rest are plain
 * tails, 80..BF.  So the state in the middle of a character is just what comes
 * next: how many bytes, and the range of the first of them.
 */


#include <string.h>

#include "rtbus_utf8.h"


/* never ACCEPT nor REJECT: n is at least 1 */

#define rtbus_utf8_expect(n, low, high)                                       \
    ((uint32_t) (n) << 16 | (low) << 8 | (high))

#define rtbus_utf8_left(state)  ((state) >> 16)
#define rtbus_utf8_low(state)   ((state) >> 8 & 0xff)
#define rtbus_utf8_high(state)  ((state) & 0xff)


static inline size_t rtbus_utf8_length(const uint8_t *p, const uint8_t *last);
static inline uint32_t rtbus_utf8_lead(uint8_t c);


uint32_t
rtbus_utf8_check(uint32_t state, const uint8_t *p, size_t len)
{
    size_t          n;
    uint8_t         c;
    uint64_t        word;
    const uint8_t  *last;

    if (state == RTBUS_UTF8_REJECT || len == 0) {
        return state;
    }

    last = p + len;

    while (p < last) {

        if (state == RTBUS_UTF8_ACCEPT) {

            while (last - p >= 8) {
                memcpy(&word, p, 8);

                if (word & rtbus_eight(0x80)) {
                    break;
                }

                p += 8;
            }

            while (p < last && *p < 0x80) {
                p++;
            }

            while (p < last && *p >= 0x80) {
                n = rtbus_utf8_length(p, last);

                if (n == 0) {
                    break;
                }

                p += n;
            }

            if (p == last) {
                break;
            }

            if (*p < 0x80) {
                continue;
            }

            /* one that is bad or cut off: the bytes tell which */

            state = rtbus_utf8_lead(*p++);

            if (state == RTBUS_UTF8_REJECT) {
                break;
            }

            continue;
        }

        c = *p++;

        if (c < rtbus_utf8_low(state) || c > rtbus_utf8_high(state)) {
            return RTBUS_UTF8_REJECT;
        }

        if (rtbus_utf8_left(state) == 1) {
            state = RTBUS_UTF8_ACCEPT;

        } else {
            state = rtbus_utf8_expect(rtbus_utf8_left(state) - 1, 0x80, 0xbf);
        }
    }

    return state;
}


size_t
rtbus_utf8_character(const uint8_t *p, const uint8_t *last)
{
    return (*p < 0x80) ? 1 : rtbus_utf8_length(p, last);
}


/* of one that is not ASCII */

static inline size_t
rtbus_utf8_length(const uint8_t *p, const uint8_t *last)
{
    size_t    n;
    uint32_t  state;

    state = rtbus_utf8_lead(*p);

    if (state == RTBUS_UTF8_REJECT) {
        return 0;
    }

    n = rtbus_utf8_left(state) + 1;

    if ((size_t) (last - p) < n
        || p[1] < rtbus_utf8_low(state) || p[1] > rtbus_utf8_high(state))
    {
        return 0;
    }

    if ((n > 2 && (p[2] & 0xc0) != 0x80) || (n > 3 && (p[3] & 0xc0) != 0x80)) {
        return 0;
    }

    return n;
}


static inline uint32_t
rtbus_utf8_lead(uint8_t c)
{
    if (c < 0xc2) {
        /* a tail without a lead, or an overlong form of U+0000..U+007F */
        return RTBUS_UTF8_REJECT;
    }

    if (c < 0xe0) {
        return rtbus_utf8_expect(1, 0x80, 0xbf);
    }

    if (c < 0xf0) {

        switch (c) {

        case 0xe0:
            /* below U+0800 two bytes would do */
            return rtbus_utf8_expect(2, 0xa0, 0xbf);

        case 0xed:
            /* U+D800..U+DFFF are surrogates */
            return rtbus_utf8_expect(2, 0x80, 0x9f);

        default:
            return rtbus_utf8_expect(2, 0x80, 0xbf);
        }
    }

    switch (c) {

    case 0xf0:
        /* below U+10000 three bytes would do */
        return rtbus_utf8_expect(3, 0x90, 0xbf);

    case 0xf1:
    case 0xf2:
    case 0xf3:
        return rtbus_utf8_expect(3, 0x80, 0xbf);

    case 0xf4:
        /* the last one is U+10FFFF */
        return rtbus_utf8_expect(3, 0x80, 0x8f);

    default:
        return RTBUS_UTF8_REJECT;
    }
}
