
/*
 * Channel names, positions and cursors.
 */


#include <string.h>

#include "rtbus_cursor.h"


static const uint8_t *rtbus_pos_number(uint64_t *n, const uint8_t *p,
    const uint8_t *last);
static size_t rtbus_pos_write_number(uint8_t *dst, uint64_t n);


int
rtbus_channel_check(const uint8_t *p, size_t len)
{
    uint8_t  c;
    size_t   i;

    if (len == 0 || len > RTBUS_CHANNEL_MAX) {
        return RTBUS_ERROR;
    }

    for (i = 0; i < len; i++) {
        c = p[i];

        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
            || (c >= '0' && c <= '9')
            || c == '_' || c == '.' || c == ':' || c == '-')
        {
            continue;
        }

        return RTBUS_ERROR;
    }

    return RTBUS_OK;
}


int
rtbus_pos_parse(rtbus_pos_t *pos, const uint8_t *p, size_t len)
{
    rtbus_pos_t     parsed;
    const uint8_t  *last;

    if (len == 0) {
        return RTBUS_ERROR;
    }

    last = p + len;

    p = rtbus_pos_number(&parsed.epoch, p, last);

    if (p == NULL || p == last || *p != '-') {
        return RTBUS_ERROR;
    }

    p = rtbus_pos_number(&parsed.seq, p + 1, last);

    if (p != last) {
        return RTBUS_ERROR;
    }

    *pos = parsed;

    return RTBUS_OK;
}


size_t
rtbus_pos_write(uint8_t *dst, rtbus_pos_t pos)
{
    size_t  n;

    n = rtbus_pos_write_number(dst, pos.epoch);
    dst[n++] = '-';

    return n + rtbus_pos_write_number(dst + n, pos.seq);
}


int
rtbus_pos_cmp(rtbus_pos_t a, rtbus_pos_t b)
{
    if (a.epoch != b.epoch) {
        return (a.epoch < b.epoch) ? -1 : 1;
    }

    if (a.seq != b.seq) {
        return (a.seq < b.seq) ? -1 : 1;
    }

    return 0;
}


int
rtbus_pos_next(rtbus_pos_t a, rtbus_pos_t b)
{
    if (a.epoch == 0 && a.seq == 0) {
        return b.seq == 1;
    }

    return a.epoch == b.epoch && a.seq != UINT64_MAX && a.seq + 1 == b.seq;
}


int
rtbus_cursor_next(rtbus_cursor_entry_t *entry, const uint8_t **pos,
    const uint8_t *last)
{
    rtbus_pos_t     position;
    const uint8_t  *p, *at, *end;

    p = *pos;

    if (p == last) {
        return RTBUS_AGAIN;
    }

    end = memchr(p, ',', last - p);

    if (end == NULL) {
        end = last;

    } else if (end + 1 == last) {
        return RTBUS_ERROR;
    }

    at = memchr(p, '@', end - p);

    if (at == NULL || rtbus_channel_check(p, at - p) != RTBUS_OK) {
        return RTBUS_ERROR;
    }

    if (rtbus_pos_parse(&position, at + 1, end - at - 1) != RTBUS_OK) {
        return RTBUS_ERROR;
    }

    entry->channel.data = (uint8_t *) p;
    entry->channel.len = at - p;
    entry->pos = position;

    *pos = (end == last) ? last : end + 1;

    return RTBUS_OK;
}


/*
 * Answers the end of the number, NULL if there is none.  No leading zeros, as
 * in Redis: a position has one spelling, so positions can be compared as text.
 */

static const uint8_t *
rtbus_pos_number(uint64_t *n, const uint8_t *p, const uint8_t *last)
{
    uint8_t         digit;
    uint64_t        value;
    const uint8_t  *start;

    value = 0;

    for (start = p; p < last && *p >= '0' && *p <= '9'; p++) {
        digit = *p - '0';

        if (value > (UINT64_MAX - digit) / 10) {
            return NULL;
        }

        value = value * 10 + digit;
    }

    if (p == start || (*start == '0' && p - start > 1)) {
        return NULL;
    }

    *n = value;

    return p;
}


static size_t
rtbus_pos_write_number(uint8_t *dst, uint64_t n)
{
    size_t    len;
    uint8_t  *p, buf[20];

    p = buf + sizeof(buf);

    do {
        *--p = '0' + n % 10;
        n /= 10;
    } while (n);

    len = buf + sizeof(buf) - p;
    memcpy(dst, p, len);

    return len;
}
