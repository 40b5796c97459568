
/*
 * The binary data of an event, and its places.
 */


#include <string.h>

#include "rtbus_attachments.h"


static int rtbus_attachments_base64(const rtbus_str_t *raw);
static int rtbus_attachments_digit(const uint8_t **pos, const uint8_t *last);
static int rtbus_attachments_places(const rtbus_str_t *raw, size_t count);
static size_t rtbus_attachments_number(const rtbus_str_t *raw);
static int rtbus_attachments_is_place(const rtbus_str_t *raw,
    rtbus_json_value_t *num);


rtbus_reason_e
rtbus_attachments_check(const rtbus_str_t *attachments,
    const rtbus_str_t *data)
{
    size_t               n;
    const uint8_t       *pos;
    rtbus_json_value_t   value;

    if (attachments->data[0] != '[') {
        return RTBUS_REASON_ATTACHMENTS;
    }

    n = 0;
    pos = NULL;

    while (rtbus_json_next(&value, &pos, attachments) == RTBUS_OK) {

        if (value.type != RTBUS_JSON_STRING) {
            return RTBUS_REASON_ATTACHMENTS;
        }

        if (++n > RTBUS_ATTACHMENTS_MAX) {
            return RTBUS_REASON_ATTACHMENTS_MANY;
        }

        if (!rtbus_attachments_base64(&value.raw)) {
            return RTBUS_REASON_BASE64;
        }
    }

    /* without any the event is none with binary data, and a place is an object */

    if (n && data->len && !rtbus_attachments_places(data, n)) {
        return RTBUS_REASON_PLACEHOLDER;
    }

    return RTBUS_REASON_NONE;
}


static int
rtbus_attachments_base64(const rtbus_str_t *raw)
{
    int             c;
    size_t          n, padding;
    const uint8_t  *p, *last;

    p = raw->data + 1;
    last = raw->data + raw->len - 1;

    padding = 0;

    for (n = 0; p < last; n++) {
        c = rtbus_attachments_digit(&p, last);

        if (c == '=') {
            padding++;
            continue;
        }

        if (padding
            || !((c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z')
                 || (c >= '0' && c <= '9') || c == '+' || c == '/'))
        {
            return 0;
        }
    }

    return n % 4 == 0 && padding <= 2;
}


/* some that write JSON have "\/" for a slash, or escape "+" or "=" */

static int
rtbus_attachments_digit(const uint8_t **pos, const uint8_t *last)
{
    int             c, i, d;
    const uint8_t  *p;

    p = *pos;
    c = *p++;

    if (c == '\\') {
        c = *p++;

        if (c == 'u' && last - p >= 4) {

            for (c = 0, i = 0; i < 4; i++) {
                d = *p++;
                c = c * 16 + (d <= '9' ? d - '0' : (d | 0x20) - 'a' + 10);
            }

        } else if (c != '/') {
            c = 0;
        }
    }

    *pos = p;

    return c;
}


/* are all places in the value those of one of so many strings */

static int
rtbus_attachments_places(const rtbus_str_t *raw, size_t count)
{
    int                  object;
    const uint8_t       *pos;
    rtbus_json_value_t   value;

    object = (raw->data[0] == '{');

    if (!object && raw->data[0] != '[') {
        return 1;
    }

    if (object && rtbus_attachments_is_place(raw, &value)) {

        return value.type == RTBUS_JSON_NUMBER
               && rtbus_attachments_number(&value.raw) < count;
    }

    pos = NULL;

    while (rtbus_json_next(&value, &pos, raw) == RTBUS_OK) {

        /* of an object it is the name, and then the value */

        if (object && rtbus_json_next(&value, &pos, raw) != RTBUS_OK) {
            break;
        }

        if ((value.type == RTBUS_JSON_OBJECT || value.type == RTBUS_JSON_ARRAY)
            && !rtbus_attachments_places(&value.raw, count))
        {
            return 0;
        }
    }

    return 1;
}


/* RTBUS_ATTACHMENTS_MAX: it is none; a writer of doubles has "1.0" */

static size_t
rtbus_attachments_number(const rtbus_str_t *raw)
{
    size_t  i;

    if (raw->data[0] < '0' || (raw->len > 1 && raw->data[1] != '.')) {
        return RTBUS_ATTACHMENTS_MAX;
    }

    for (i = 2; i < raw->len; i++) {
        if (raw->data[i] != '0') {
            return RTBUS_ATTACHMENTS_MAX;
        }
    }

    return raw->data[0] - '0';
}


/* what is not just true is one for some clients, and none that has a string */

static int
rtbus_attachments_is_place(const rtbus_str_t *raw, rtbus_json_value_t *num)
{
    rtbus_json_member_t  m[] = { rtbus_json_member("_placeholder"),
                                 rtbus_json_member("num") };

    rtbus_json_members(raw, m, 2);

    if (m[0].value.type == RTBUS_JSON_NONE
        || m[0].value.type == RTBUS_JSON_NULL
        || (m[0].value.type == RTBUS_JSON_BOOL
            && m[0].value.raw.data[0] == 'f'))
    {
        return 0;
    }

    *num = m[1].value;

    if (m[0].value.type != RTBUS_JSON_BOOL) {
        num->type = RTBUS_JSON_NONE;
    }

    return 1;
}
