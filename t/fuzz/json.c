
/*
 * Any bytes as a JSON text.  It is judged as yajl judges it, with the same
 * reason, and the place where it is bad is told.  What is taken for JSON stays
 * JSON, slice by slice, and has the type that was told; the parts noted while
 * it was checked are those that a walk finds; the next text on the same handle
 * is judged as on a new one.  Any bytes quoted are JSON, and UTF-8 comes back.
 */


#include <stdlib.h>
#include <string.h>

#include "rtbus_json.h"
#include "rtbus_utf8.h"
#include "../unit/json_yajl.h"


#define FUZZ_DEPTH   16
#define FUZZ_VALUES  8


int LLVMFuzzerTestOneInput(const uint8_t *p, size_t len);


static rtbus_json_t  *json;


static void
assert_true(int cond)
{
    if (!cond) {
        abort();
    }
}


static void
check_value(const rtbus_json_value_t *value, const uint8_t *p, size_t len)
{
    int                  rc;
    rtbus_reason_e       reason;
    rtbus_json_value_t   again;

    assert_true(value->raw.len != 0);
    assert_true(value->raw.data >= p);
    assert_true(value->raw.data + value->raw.len <= p + len);

    rc = rtbus_json_value(json, value->raw.data, value->raw.len, &again,
                          &reason);

    assert_true(rc == RTBUS_OK);
    assert_true(again.type == value->type);
    assert_true(again.raw.data == value->raw.data);
    assert_true(again.raw.len == value->raw.len);
}


static void
check_string(const rtbus_str_t *raw)
{
    int                  rc;
    size_t               n, size;
    uint8_t             *text, *quoted;
    rtbus_reason_e       reason;
    rtbus_str_t          back;
    rtbus_json_value_t   value;

    n = rtbus_json_unquote(NULL, raw);
    assert_true(n <= raw->len - 2);

    text = malloc(n + 1);
    assert_true(text != NULL);
    assert_true(rtbus_json_unquote(text, raw) == n);
    assert_true(rtbus_utf8_check(RTBUS_UTF8_ACCEPT, text, n)
                == RTBUS_UTF8_ACCEPT);

    size = rtbus_json_quote(NULL, text, n);
    quoted = malloc(size);
    assert_true(quoted != NULL);
    assert_true(rtbus_json_quote(quoted, text, n) == size);

    rc = rtbus_json_value(json, quoted, size, &value, &reason);
    assert_true(rc == RTBUS_OK && value.type == RTBUS_JSON_STRING);

    /* what was decoded, quoted and decoded again is the same */

    back.data = quoted;
    back.len = size;

    assert_true(rtbus_json_unquote(NULL, &back) == n);

    memset(text, 0, n);
    (void) rtbus_json_unquote(text, &back);

    assert_true(rtbus_json_quote(NULL, text, n) == size);

    back.data = malloc(size);
    assert_true(back.data != NULL);
    (void) rtbus_json_quote(back.data, text, n);
    assert_true(memcmp(back.data, quoted, size) == 0);

    free(back.data);
    free(quoted);
    free(text);
}


static void
check_quote(const uint8_t *p, size_t len)
{
    int                  rc;
    size_t               n;
    uint8_t             *text;
    rtbus_reason_e       reason;
    rtbus_str_t          raw;
    rtbus_json_value_t   value;

    raw.len = rtbus_json_quote(NULL, p, len);
    raw.data = malloc(raw.len);
    assert_true(raw.data != NULL);
    assert_true(rtbus_json_quote(raw.data, p, len) == raw.len);

    rc = rtbus_json_value(json, raw.data, raw.len, &value, &reason);

    assert_true(rc == RTBUS_OK);
    assert_true(value.type == RTBUS_JSON_STRING);
    assert_true(value.raw.len == raw.len);

    if (rtbus_utf8_check(RTBUS_UTF8_ACCEPT, p, len) == RTBUS_UTF8_ACCEPT) {
        text = malloc(len + 1);
        assert_true(text != NULL);

        n = rtbus_json_unquote(text, &raw);

        assert_true(n == len && (len == 0 || memcmp(text, p, len) == 0));

        free(text);
    }

    free(raw.data);
}


/* good: it is an object; NULL: it is not */

static void
check_object(const uint8_t *p, size_t len, const rtbus_str_t *good)
{
    int                   rc;
    size_t                i;
    rtbus_reason_e        reason;
    rtbus_json_member_t   members[] = {
        rtbus_json_member("a"),
        rtbus_json_member("event"),
        rtbus_json_member("data"),
        rtbus_json_member(""),
        rtbus_json_member("a")
    };
    rtbus_json_member_t   walked[] = {
        rtbus_json_member("a"),
        rtbus_json_member("event"),
        rtbus_json_member("data"),
        rtbus_json_member(""),
        rtbus_json_member("a")
    };

    rc = rtbus_json_object(json, p, len, members, 5, &reason);
    assert_true(rc == (good ? RTBUS_OK : RTBUS_ERROR));

    if (good) {
        rtbus_json_members(good, walked, 5);
    }

    for (i = 0; i < 5; i++) {
        assert_true(members[i].value.type == walked[i].value.type);
        assert_true(members[i].value.raw.data == walked[i].value.raw.data);
        assert_true(members[i].value.raw.len == walked[i].value.raw.len);

        if (members[i].value.type == RTBUS_JSON_NONE) {
            assert_true(members[i].value.raw.len == 0);

        } else {
            check_value(&members[i].value, p, len);
        }
    }
}


static void
check_array(const rtbus_str_t *raw, const uint8_t *p, size_t len)
{
    int                  rc;
    size_t               i, n;
    rtbus_reason_e       reason;
    const uint8_t       *pos;
    rtbus_json_value_t   element, values[FUZZ_VALUES];

    n = FUZZ_VALUES;
    rc = rtbus_json_array(json, p, len, values, &n, &reason);
    assert_true(rc == RTBUS_OK);

    pos = NULL;

    for (i = 0; i < n; i++) {
        assert_true(rtbus_json_next(&element, &pos, raw) == RTBUS_OK);

        if (i < FUZZ_VALUES) {
            assert_true(element.type == values[i].type);
            assert_true(element.raw.data == values[i].raw.data);
            assert_true(element.raw.len == values[i].raw.len);
            check_value(&element, raw->data, raw->len);
        }
    }

    assert_true(rtbus_json_next(&element, &pos, raw) == RTBUS_AGAIN);
}


int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
    int                  rc, fresh_rc;
    uint64_t             n;
    rtbus_reason_e       reason, fresh_reason;
    rtbus_json_t        *fresh;
    const char          *expected;
    const uint8_t       *failed;
    rtbus_json_value_t   value;

    if (json == NULL) {
        json = rtbus_json_create(FUZZ_DEPTH);
        assert_true(json != NULL);
    }

    reason = RTBUS_REASON_NONE;
    fresh_reason = RTBUS_REASON_NONE;

    rc = rtbus_json_value(json, p, len, &value, &reason);

    expected = judge_reason(p, len, FUZZ_DEPTH);
    failed = rtbus_json_failed(json);

    if (expected == NULL) {
        assert_true(rc == RTBUS_OK && failed == NULL);

    } else {
        assert_true(rc == RTBUS_ERROR && strcmp(rtbus_reason_text(reason), expected)
                                          == 0);
        assert_true(judge_failed(p, len, FUZZ_DEPTH, failed,
                                 rtbus_reason_text(reason)));
    }

    fresh = rtbus_json_create(FUZZ_DEPTH);
    assert_true(fresh != NULL);
    fresh_rc = rtbus_json_value(fresh, p, len, &value, &fresh_reason);
    rtbus_json_destroy(fresh);

    assert_true(rc == fresh_rc && reason == fresh_reason);

    if (rc == RTBUS_OK) {
        check_value(&value, p, len);

        switch (value.type) {

        case RTBUS_JSON_STRING:
            check_string(&value.raw);
            break;

        case RTBUS_JSON_OBJECT:
            check_object(p, len, &value.raw);
            break;

        case RTBUS_JSON_ARRAY:
            check_array(&value.raw, p, len);
            break;

        case RTBUS_JSON_NUMBER:
            (void) rtbus_json_uint(&value.raw, &n);
            break;

        default:
            break;
        }

    } else {
        check_object(p, len, NULL);
    }

    check_quote(p, len);

    return 0;
}
