
/*
 * Channel names, positions and cursors.
 */


#include <string.h>

#include "rtbus_cursor.h"
#include "rtbus_number.h"


static int rtbus_channel_plain(uint8_t c);
static int rtbus_channel_hex(uint8_t c);


int
rtbus_channel_check(const uint8_t *p, size_t len)
{
    size_t  i;

    if (len == 0 || len > RTBUS_CHANNEL_MAX) {
        return RTBUS_ERROR;
    }

    for (i = 0; i < len; i++) {

        if (rtbus_channel_plain(p[i])) {
            continue;
        }

        if (p[i] != '%' || len - i < 3 || !rtbus_channel_hex(p[i + 1])
            || !rtbus_channel_hex(p[i + 2]))
        {
            return RTBUS_ERROR;
        }

        i += 2;
    }

    return RTBUS_OK;
}


size_t
rtbus_channel_encode(uint8_t *dst, const uint8_t *p, size_t len)
{
    size_t  i, n;

    static const uint8_t  hex[] = "0123456789ABCDEF";

    n = 0;

    for (i = 0; i < len; i++) {

        if (rtbus_channel_plain(p[i])) {

            if (dst) {
                dst[n] = p[i];
            }

            n++;
            continue;
        }

        if (dst) {
            dst[n] = '%';
            dst[n + 1] = hex[p[i] >> 4];
            dst[n + 2] = hex[p[i] & 0xf];
        }

        n += 3;
    }

    return n;
}


static int
rtbus_channel_plain(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')
           || (c >= '0' && c <= '9')
           || c == '_' || c == '.' || c == ':' || c == '-';
}


/* upper case only, as all make it: else there were two names for one */

static int
rtbus_channel_hex(uint8_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'F');
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

    p = rtbus_number_parse(&parsed.epoch, p, last);

    if (p == NULL || p == last || *p != '-') {
        return RTBUS_ERROR;
    }

    p = rtbus_number_parse(&parsed.seq, p + 1, last);

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

    n = rtbus_number_write(dst, pos.epoch);
    dst[n++] = '-';

    return n + rtbus_number_write(dst + n, pos.seq);
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

    if (a.seq == UINT64_MAX) {
        return b.seq == 0 && a.epoch != UINT64_MAX && a.epoch + 1 == b.epoch;
    }

    return a.epoch == b.epoch && a.seq + 1 == b.seq;
}


size_t
rtbus_cursor_write(uint8_t *dst, const uint8_t *channel, size_t len,
    rtbus_pos_t pos)
{
    memcpy(dst, channel, len);
    dst[len++] = '@';

    return len + rtbus_pos_write(dst + len, pos);
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
