
/*
 * The first line is data, the rest a file.  Any bytes as a file are refused
 * with a text or make a schema; with one, any JSON is refused with a text or
 * taken, the same each time, and as the first of several arguments as well.
 */


#include <stdlib.h>
#include <string.h>

#include "rtbus_schema.h"
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


/* a text for people: it fits, and is whole characters */

static void
check_text(const char *err)
{
    size_t  i, len;

    len = strnlen(err, RTBUS_SCHEMA_ERROR);
    assert_true(len > 0 && len < RTBUS_SCHEMA_ERROR);

    for (i = 0; i < len; i++) {
        assert_true((uint8_t) err[i] >= 0x20 && err[i] != 0x7f);
    }

    assert_true(rtbus_utf8_check(RTBUS_UTF8_ACCEPT, (const uint8_t *) err, len)
                == RTBUS_UTF8_ACCEPT);
}


static void
check_args(const rtbus_schema_t *schema, const rtbus_str_t *name,
    const rtbus_str_t *data, int expected)
{
    char            err[RTBUS_SCHEMA_ERROR];
    uint8_t        *p;
    rtbus_event_t   ev;

    p = malloc(data->len + 4);
    assert_true(p != NULL);

    memset(&ev, 0, sizeof(rtbus_event_t));

    ev.name = *name;
    ev.args.data = p;
    ev.args.len = data->len + 4;

    p[0] = '[';
    memcpy(p + 1, data->data, data->len);
    memcpy(p + 1 + data->len, ",1]", 3);

    assert_true(rtbus_schema_event(schema, &ev, err) == expected);

    free(p);
}


int
LLVMFuzzerTestOneInput(const uint8_t *p, size_t len)
{
    int                  rc;
    char                 err[RTBUS_SCHEMA_ERROR], again[RTBUS_SCHEMA_ERROR];
    size_t               line, rest;
    rtbus_reason_e       reason;
    const uint8_t       *lf;
    rtbus_str_t          name, none;
    rtbus_schema_t      *schema;
    rtbus_json_value_t   value;

    if (json == NULL) {
        json = rtbus_json_create(RTBUS_EVENT_DEPTH);
        assert_true(json != NULL);
    }

    lf = len ? memchr(p, '\n', len) : NULL;
    line = lf ? (size_t) (lf - p) : len;
    rest = lf ? len - line - 1 : 0;

    memset(err, 'x', sizeof(err));

    rc = rtbus_schema_create(&schema, lf ? lf + 1 : NULL, rest, rest & 1, err);

    if (rc != RTBUS_OK) {
        assert_true(rc == RTBUS_ERROR);
        check_text(err);
        return 0;
    }

    name.data = (uint8_t *) "e";
    name.len = 1;

    none.data = NULL;
    none.len = 0;

    if (rtbus_schema_check(schema, &name, &none, err) != RTBUS_OK) {
        check_text(err);
    }

    if (rtbus_json_value(json, p, line, &value, &reason) == RTBUS_OK) {

        memset(err, 'x', sizeof(err));
        memset(again, 'y', sizeof(again));

        rc = rtbus_schema_check(schema, &name, &value.raw, err);

        assert_true(rtbus_schema_check(schema, &name, &value.raw, again)
                    == rc);

        if (rc != RTBUS_OK) {
            assert_true(rc == RTBUS_ERROR && strcmp(err, again) == 0);
            check_text(err);
        }

        check_args(schema, &name, &value.raw, rc);
    }

    rtbus_schema_destroy(schema);

    return 0;
}
