
/*
 * Any bytes as an envelope.  What is taken has a name that SSE can carry, and
 * slices of the input that are JSON of the right type; the same members
 * written anew make the same event.
 */


#include <stdlib.h>
#include <string.h>

#include "rtbus_event.h"
#include "rtbus_utf8.h"


int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);


static rtbus_json_t  *json;


static void
assert_true(int cond)
{
    if (!cond) {
        abort();
    }
}


static rtbus_json_type_e
slice_type(const rtbus_str_t *slice, const uint8_t *p, size_t len)
{
    int                  rc;
    rtbus_reason_e       reason;
    rtbus_json_value_t   value;

    if (slice->len == 0) {
        return RTBUS_JSON_NONE;
    }

    assert_true(slice->data >= p && slice->data + slice->len <= p + len);

    rc = rtbus_json_value(json, slice->data, slice->len, &value, &reason);
    assert_true(rc == RTBUS_OK && value.raw.len == slice->len);

    return value.type;
}


static uint8_t *
append(uint8_t *dst, const void *p, size_t len)
{
    memcpy(dst, p, len);

    return dst + len;
}


static int
same(const rtbus_str_t *a, const rtbus_str_t *b)
{
    return a->len == b->len
           && (a->len == 0 || memcmp(a->data, b->data, a->len) == 0);
}


static void
check_again(const rtbus_event_t *ev, size_t len)
{
    int             rc;
    uint8_t        *p, *start;
    rtbus_reason_e  reason;
    rtbus_event_t   again;

    start = malloc(len + 256);
    assert_true(start != NULL);

    p = append(start, "{\"event\":", 9);
    p = append(p, ev->name_json.data, ev->name_json.len);

    if (ev->data.len) {
        p = append(p, ",\"data\":", 8);
        p = append(p, ev->data.data, ev->data.len);
    }

    if (ev->args.len) {
        p = append(p, ",\"args\":", 8);
        p = append(p, ev->args.data, ev->args.len);
    }

    if (ev->attachments.len) {
        p = append(p, ",\"attachments\":", 15);
        p = append(p, ev->attachments.data, ev->attachments.len);
    }

    if (ev->pos.epoch || ev->pos.seq) {
        p = append(p, ",\"id\":\"", 7);
        p += rtbus_pos_write(p, ev->pos);
        p = append(p, "\"", 1);
    }

    p = append(p, "}", 1);

    rc = rtbus_event_parse(json, &again, start, p - start, &reason);

    assert_true(rc == RTBUS_OK);
    assert_true(same(&again.name, &ev->name));
    assert_true(same(&again.name_json, &ev->name_json));
    assert_true(same(&again.data, &ev->data));
    assert_true(same(&again.args, &ev->args));
    assert_true(same(&again.attachments, &ev->attachments));
    assert_true(rtbus_pos_cmp(again.pos, ev->pos) == 0);

    free(start);
}


int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
    int             rc;
    size_t          i;
    rtbus_reason_e  reason;
    rtbus_event_t   ev;

    if (json == NULL) {
        json = rtbus_json_create(RTBUS_EVENT_DEPTH);
        assert_true(json != NULL);
    }

    reason = RTBUS_REASON_NONE;

    rc = rtbus_event_parse(json, &ev, p, len, &reason);

    if (rc != RTBUS_OK) {
        assert_true(rc == RTBUS_ERROR && reason != RTBUS_REASON_NONE);
        return 0;
    }

    assert_true(ev.name.len >= 1 && ev.name.len <= RTBUS_EVENT_NAME_MAX);
    assert_true(ev.name.data == ev.name_buf
                || (ev.name.data >= p
                    && ev.name.data + ev.name.len <= p + len));
    assert_true(rtbus_utf8_check(RTBUS_UTF8_ACCEPT, ev.name.data, ev.name.len)
                == RTBUS_UTF8_ACCEPT);

    for (i = 0; i < ev.name.len; i++) {
        assert_true(ev.name.data[i] >= 0x20 && ev.name.data[i] != 0x7f);
    }

    assert_true(slice_type(&ev.name_json, p, len) == RTBUS_JSON_STRING);
    assert_true(ev.args.len == 0
                || slice_type(&ev.args, p, len) == RTBUS_JSON_ARRAY);
    assert_true(ev.attachments.len == 0
                || slice_type(&ev.attachments, p, len) == RTBUS_JSON_ARRAY);
    assert_true(ev.data.len == 0 || ev.args.len == 0);

    (void) slice_type(&ev.data, p, len);

    check_again(&ev, len);

    return 0;
}
